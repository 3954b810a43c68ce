"""What paired losses prove, against tables, plain loops, and numbers drawn from known means."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity.errors import NotMeasurable, SettingNotUsable
from neural_plasticity.experiment.evidence import evidence, interval
from neural_plasticity.student import student_t

losses = st.lists(st.floats(0, 20), min_size=2, max_size=30)


@pytest.mark.parametrize("values", [[-1.0, 1.0], [3.0, 5.0], [-2.0, -1.0, 1.0, 2.0], [0.0, 1.0, 2.0, 3.0, 4.0]])
def test_without_skewness_the_interval_is_students(values):
    mean, error = np.mean(values), np.std(values, ddof=1) / math.sqrt(len(values))
    reach = student_t(len(values) - 1) * error
    assert interval(np.array(values)) == pytest.approx((mean - reach, mean + reach))


def test_halls_bounds_solve_his_cubic():
    """The bound on the side of the tail, put back into Hall's polynomial, gives the quantile of t."""
    values = np.array([0.0, 0.1, 0.2, 0.1, 0.0, 0.3, 4.0, 0.2])
    count, mean, error = len(values), values.mean(), values.std(ddof=1) / math.sqrt(8)
    skew = (((values - mean) / values.std(ddof=1)) ** 3).sum() * count / ((count - 1) * (count - 2))
    t, b = (mean - interval(values)[1]) / error, skew / math.sqrt(count)
    assert t + b * t**2 / 3 + b**2 * t**3 / 27 + b / 6 == pytest.approx(-student_t(count - 1))


def drawn(kind: str, generator: np.random.Generator, *shape: int) -> tuple[np.ndarray, float]:
    """Differences of a kind, and their true mean."""
    if kind == "normal":
        return generator.normal(size=shape), 0.0
    if kind == "heavy tails":
        return generator.standard_t(3, size=shape), 0.0
    if kind == "skewed":
        return generator.exponential(size=shape), 1.0
    alike, harmed = generator.normal(0, 0.01, shape), generator.exponential(0.1, shape)
    return np.where(generator.random(shape) < 0.9, alike, harmed), 0.01


@pytest.mark.parametrize(
    ("kind", "count", "least"),
    [
        ("normal", 3, 0.94),
        ("normal", 10, 0.94),
        ("normal", 100, 0.93),
        ("heavy tails", 10, 0.94),
        ("heavy tails", 100, 0.93),
        ("skewed", 3, 0.90),
        ("skewed", 10, 0.93),
        ("skewed", 100, 0.94),
        ("a tenth harmed", 100, 0.93),
        ("a tenth harmed", 400, 0.94),
    ],
)
def test_the_interval_holds_the_true_mean_as_often_as_measured(kind, count, least):
    rows, mean = drawn(kind, np.random.default_rng(0), 1500, count)
    bounds = np.array([interval(row) for row in rows[: 1500 if count < 100 else 700]])
    assert least <= ((bounds[:, 0] <= mean) & (mean <= bounds[:, 1])).mean() <= 0.985


def test_on_skewed_differences_it_misses_less_often_than_students():
    rows, mean = drawn("skewed", np.random.default_rng(1), 1000, 10)
    plain = np.array([row.mean() + student_t(9) * row.std(ddof=1) / math.sqrt(10) for row in rows])
    assert np.mean([interval(row)[1] < mean for row in rows]) < 0.7 * np.mean(plain < mean)


@given(losses, st.floats(0.01, 100), st.floats(-50, 50))
def test_the_interval_moves_and_stretches_with_its_values(values, factor, shift):
    low, high = interval(np.array(values))
    rounding = 1e-6 * (1 + abs(shift) + max(map(abs, values)) * factor)
    moved = interval(np.array(values) * factor + shift)
    if np.std(values) > 1e-6:
        assert moved == pytest.approx((low * factor + shift, high * factor + shift), abs=rounding)
    assert low <= np.mean(values) + 1e-9
    assert high >= np.mean(values) - 1e-9


@given(losses)
def test_the_mirror_image_has_the_mirrored_interval(values):
    low, high = interval(np.array(values))
    assert interval(-np.array(values)) == pytest.approx((-high, -low), abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20), st.integers(1, 500)), min_size=1, max_size=20), st.integers(0, 4))
def test_every_number_is_that_of_a_plain_loop(rows, worst):
    before, after, weights = (list(column) for column in zip(*rows, strict=True))
    names = [f"d{number}" for number in range(len(rows))]
    found = evidence(names, before, after, weights, worst=worst)
    differences = [b - a for a, b, _ in rows]
    assert found.documents == len(rows)
    assert found.mean_difference == pytest.approx(sum(differences) / len(rows))
    assert found.overall_difference == pytest.approx(
        sum(d * w for d, (*_, w) in zip(differences, rows, strict=True)) / sum(weights)
    )
    assert found.worse_share == sum(d > 0 for d in differences) / len(rows)
    harmed = sorted((d for d in differences if d > 0), reverse=True)[:worst]
    assert [each.difference for each in found.worst] == harmed
    for each in found.worst:
        place = names.index(each.document)
        assert (each.before, each.after) == rows[place][:2]


def test_documents_without_a_loss_on_either_side_are_left_out():
    found = evidence(["a", "b", "c"], [1, math.nan, 2], [2, math.nan, 4], [1, 0, 1])
    whole = evidence(["a", "c"], [1, 2], [2, 4], [1, 1])
    assert found == whole
    assert [each.document for each in found.worst] == ["c", "a"]


@pytest.mark.parametrize(
    ("before", "after", "stage"),
    [([1, 2], [1, math.nan], "after"), ([math.nan, 2], [1, 2], "before"), ([1, 2], [1, math.inf], "after")],
)
def test_a_loss_that_is_lost_on_one_side_is_an_error_that_names_the_document(before, after, stage):
    lost = "a" if stage == "before" else "b"
    with pytest.raises(NotMeasurable, match=f"The document {lost} has a loss of (nan|inf) {stage} the change, as 1 of 2 have"):
        evidence(["a", "b"], before, after)


def test_one_document_has_no_interval_and_says_so():
    found = evidence(["a"], [1.0], [1.25])
    assert (found.mean_difference, found.worse_share, found.overall_difference) == (0.25, 1.0, None)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert "no interval" in found.method
    assert str(found) == (
        "The loss is 0.25 nats a token higher (one gives no interval) on one document; 100% became worse; worst: a (+0.25)."
    )


def test_losses_that_stay_the_same_are_the_same():
    found = evidence(["a", "b", "c"], [1, 2, 3], [1, 2, 3])
    assert (found.mean_difference, found.low, found.high, found.worse_share, found.worst) == (0, 0, 0, 0, ())
    assert str(found) == "The loss is the same (95 % between 0 and 0) on 3 documents; 0% became worse."


def test_it_reads_as_two_plain_lines_and_goes_into_an_event():
    found = evidence(["a.py", "b.py", "c.py"], [2, 2, 2], [2.5, 1.75, 2.125], [3, 1, 4], worst=1, unit="nats a sample")
    first, second = str(found).splitlines()
    assert first.startswith("The loss is 0.12 nats a sample higher (95 % between -")
    assert first.endswith(") on 3 documents; 67% became worse; worst: a.py (+0.5).")
    assert second == "Over all tokens it is 0.22 nats a sample higher."
    assert found.values() == {
        "documents": 3,
        "mean_difference": 0.125,
        "low": found.low,
        "high": found.high,
        "overall_difference": (3 * 0.5 - 0.25 + 4 * 0.125) / 8,
        "worse_share": 2 / 3,
    }
    assert "overall_difference" not in evidence(["a"], [1], [1]).values()


def test_a_hundred_thousand_documents_are_no_work():
    generator = np.random.default_rng(0)
    differences, mean = drawn("a tenth harmed", generator, 10**5)
    found = evidence([""] * 10**5, np.zeros(10**5), differences)
    assert found.low < mean < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * differences.std() / math.sqrt(10**5), rel=0.01)


@pytest.mark.parametrize(
    ("names", "before", "after", "weights", "error", "message"),
    [
        (["a", "b"], [1], [1, 2], None, SettingNotUsable, r"before= has shape \(1,\) for 2 documents"),
        (["a"], [1], [[1]], None, SettingNotUsable, "after= has shape"),
        (["a"], [1], [1], [1, 2], SettingNotUsable, "weights= has shape"),
        (["a", "b"], [1, 1], [1, 1], [1, -1], SettingNotUsable, "weights= holds"),
        (["a"], [1], [1], [0], SettingNotUsable, "nothing but 0"),
        ([], [], [], None, NotMeasurable, "No document has a loss"),
        (["a"], [math.nan], [math.nan], None, NotMeasurable, "No document has a loss"),
    ],
)
def test_what_proves_nothing_is_refused(names, before, after, weights, error, message):
    with pytest.raises(error, match=message):
        evidence(names, before, after, weights)
