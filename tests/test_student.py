"""Student's t, against the closed form of its distribution, printed tables, and the normal distribution that it ends in."""

import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.student import student_t

# From the printed tables of Student's t, two-sided 5 %.
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 10: 2.228, 18: 2.101, 29: 2.045, 120: 1.980}


def share_within(reach: float, freedom: int) -> float:
    """How often |t| is below this, by the finite sums that integrals of whole powers of the cosine come to."""
    angle = math.atan(reach / math.sqrt(freedom))
    odd = freedom % 2
    term, terms = math.cos(angle) if odd else 1.0, []
    for power in range(2 + odd, freedom + 1, 2):
        terms.append(term)
        term *= math.cos(angle) ** 2 * (power - 1) / power
    found = math.sin(angle) * math.fsum(terms)
    return 2 / math.pi * (angle + found) if odd else found


@pytest.mark.parametrize(("freedom", "expected"), TABLE.items())
def test_it_is_that_of_the_printed_tables(freedom, expected):
    assert student_t(freedom) == pytest.approx(expected, abs=6e-4)


def test_it_solves_the_distribution_where_that_has_a_closed_form():
    assert student_t(1) == pytest.approx(math.tan(0.95 * math.pi / 2), rel=1e-7)
    assert student_t(2) == pytest.approx(0.95 * math.sqrt(2 / (1 - 0.95**2)), rel=1e-7)


@given(st.integers(1, 400))
def test_19_of_20_numbers_lie_within_it_whatever_their_count(freedom):
    assert share_within(student_t(freedom), freedom) == pytest.approx(0.95, abs=1e-7)


@pytest.mark.parametrize("freedom", [10**6, 10**9, 10**15])
def test_of_very_many_numbers_it_is_the_normal_distributions(freedom):
    normal = NormalDist().inv_cdf(0.975)
    assert student_t(freedom) == pytest.approx(normal + (normal**3 + normal) / 4 / freedom, rel=1e-6)


@given(st.integers(1, 10**9))
def test_another_number_brings_it_closer(freedom):
    assert student_t(freedom + 1) <= student_t(freedom) * (1 + 1e-7)


@pytest.mark.parametrize("freedom", [0, -1])
def test_one_number_alone_has_none(freedom):
    with pytest.raises(SettingNotUsable, match=f"freedom={freedom}"):
        student_t(freedom)
