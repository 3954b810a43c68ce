"""Schedules: how the level is reached over cycles."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.selection.schedules import SCHEDULES, Stage, stages
from tests.selection.enrolled import SHARES


@pytest.mark.parametrize("name", SHARES)
@given(level=st.floats(0, 0.9), cycles=st.integers(1, 12))
def test_each_schedule_reaches_its_levels(name, level, cycles):
    found = stages(name, level, cycles)
    assert [stage.level for stage in found] == pytest.approx(SHARES[name](level, cycles), abs=1e-12)
    assert found[-1].level == level
    assert all(before.level <= after.level + 1e-15 for before, after in pairwise(found))
    assert all(0 <= stage.level + stage.exchange <= 1 for stage in found)


@pytest.mark.parametrize("name", SCHEDULES)
def test_nothing_and_everything_are_levels_too(name):
    assert {stage.level for stage in stages(name, 0, 3)} == {0}
    if name != "drop_and_grow":
        assert stages(name, 1, 3)[-1] == Stage(1.0)


def test_only_drop_and_grow_exchanges_heads_and_not_in_its_first_cycle():
    assert stages("drop_and_grow", 0.25, 3, exchange=0.125) == (Stage(0.25), Stage(0.25, 0.125), Stage(0.25, 0.125))
    assert all(stage.exchange == 0 for name in set(SCHEDULES) - {"drop_and_grow"} for stage in stages(name, 0.5, 4, 0.1))


@given(level=st.floats(0, 0.99), rounding=st.floats(0, 5e-10))
def test_an_exchange_of_all_that_is_left_never_exceeds_the_whole(level, rounding):
    exchange = min(1.0, 1 - level + rounding)
    assert all(stage.level + stage.exchange <= 1 for stage in stages("drop_and_grow", level, 2, exchange))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lineal", 0.5, 3), "no schedule 'lineal'; choose one of linear"),
        (("linear", 1.5, 3), "level is 1.5"),
        (("linear", 0.5, 0), "cycles is 0; it is a whole number of at least 1"),
        (("linear", 0.5, 2.0), "cycles is 2.0"),
        (("drop_and_grow", 0.5, 3, 0.6), "above 0 and up to 0.5, not 0.6"),
        (("drop_and_grow", 0.5, 3, 0.0), "above 0 and up to 0.5, not 0"),
        (("drop_and_grow", 0.5, 3, -1), "exchange is -1"),
    ],
)
def test_what_is_no_schedule_is_refused(arguments, said):
    with pytest.raises(SettingNotUsable, match=said):
        stages(*arguments)
