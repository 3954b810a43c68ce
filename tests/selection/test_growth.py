"""Plans of growth: who wakes, in which order, and who is left asleep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.heads import HeadGrid
from neural_plasticity.selection.growth import plan_growth
from neural_plasticity.selection.plan import Action
from neural_plasticity.selection.pruning import plan_pruning
from neural_plasticity.selection.strategies import growth_strategy_of
from tests.selection.enrolled import GROWTH
from tests.selection.models import models

NAN = np.nan
NAMES = st.sampled_from(sorted(GROWTH))


@given(model=models(), count=st.integers(0, 12), name=NAMES)
def test_only_sleepers_wake_and_no_more_than_asked_for(model, count, name):
    plan = plan_growth(model.grids(), count=count, strategy=name, dormant=model.asleep, newborn_cycles=3)
    assert len(plan) <= min(count, len(model.asleep))
    assert set(plan.heads) <= model.asleep
    assert len(set(plan.heads)) == len(plan)
    assert all(each.action is Action.REVIVE for each in plan)
    assert [each.rank for each in plan] == list(range(1, len(plan) + 1))
    assert bool(plan.shortfall) == (len(plan) < count)
    assert plan.newborn_cycles == 3
    sign = 1 if growth_strategy_of(name).wakes == "lowest" else -1
    assert all(sign * each.score <= sign * each.threshold for each in plan)


@given(model=models(), level=st.floats(0, 1))
def test_growth_leaves_the_level_that_was_asked_for(model, level):
    plan = plan_growth(model.grids(), level=level, strategy="balanced", dormant=model.asleep)
    still = min(len(model.asleep), round(level * len(model.heads)))
    assert plan.level == pytest.approx(still / len(model.heads))


@given(model=models(), data=st.data(), level=st.floats(0, 1), name=NAMES)
def test_those_that_rest_count_as_asleep_and_never_wake(model, data, level, name):
    resting = set(data.draw(st.lists(st.sampled_from(sorted(model.asleep)), max_size=3))) if model.asleep else set()
    grids = model.grids()
    plan = plan_growth(grids, level=level, strategy=name, dormant=model.asleep - resting, resting=resting)
    assert not set(plan.heads) & resting
    assert plan.level == pytest.approx((len(model.asleep) - len(plan)) / len(model.heads))
    for head in resting:  # what they were measured at last is of no weight
        grids = {signal: HeadGrid(np.where(mask(grid, head), 77.0, grid.values), grid.label) for signal, grid in grids.items()}
    again = plan_growth(grids, level=level, strategy=name, dormant=model.asleep - resting, resting=resting)
    assert again == plan


def mask(grid, head):
    marks = np.zeros(grid.values.shape, bool)
    marks[head] = True
    return marks


@given(model=models(), level=st.floats(0, 1), exchange=st.floats(0, 1))
def test_an_exchange_keeps_the_size(model, level, exchange):
    grids = model.grids()
    pruned = plan_pruning(grids, min(1.0, level + exchange), min_heads=0, dormant=model.asleep)
    asleep = model.asleep | set(pruned.heads)
    grown = plan_growth(grids, level=level, strategy="random", dormant=asleep, heads=model.heads)
    assert round(grown.level * len(model.heads)) == min(len(asleep), round(level * len(model.heads)))


def test_only_what_lowers_the_loss_wakes_by_gradient_sensitivity():
    scores = {"wake": HeadGrid([[-0.1, 0.0, NAN], [-0.3, 0.2, NAN]], "wake (nats)")}
    heads, dormant = [(layer, head) for layer in range(2) for head in range(3)], [(0, 0), (0, 1), (1, 0), (1, 1)]
    plan = plan_growth(scores, count=3, dormant=dormant, heads=heads)
    assert plan.heads == [(1, 0), (0, 0)]
    assert plan.shortfall == "Of the 3 heads asked for, 2 can wake: 2 have a wake of 0 or more."
    assert plan.decisions[0].reason == "wake -0.3 nats is rank 1 of 4, below the 0 beyond which none wakes"
    one = plan_growth(scores, count=1, dormant=dormant, heads=heads)
    assert one.decisions[0].reason == "wake -0.3 nats is rank 1 of 4, below the -0.1 of the first head left asleep"


def test_in_a_layer_that_sleeps_wholly_no_gap_is_made_up():
    scores = {"entropy": HeadGrid([[1.0, 2.0], [0.5, 2.5]])}
    plan = plan_growth(scores, count=3, strategy="entropy_gap", dormant=[(0, 0), (0, 1), (1, 0)])
    assert plan.heads == [(1, 0)]
    assert plan.decisions[0].score == 2.0
    assert plan.decisions[0].reason == "entropy gap 2 nats is rank 1 of 1, and no head is left asleep"
    assert plan.shortfall == "Of the 3 heads asked for, 1 can wake: 2 sleep in a layer with no head awake to compare with."


def test_balance_goes_by_number_where_nothing_else_is_known():
    heads = [(layer, head) for layer in range(3) for head in range(2)]
    plan = plan_growth({}, count=4, strategy="balanced", dormant=[(0, 0), (0, 1), (1, 1), (2, 0), (2, 1)], heads=heads)
    assert plan.heads == [(0, 0), (2, 0), (0, 1), (1, 1)]
    worth = {"taylor": HeadGrid([[1.0, 3.0], [9.0, 2.0], [NAN, 4.0]])}
    by_worth = plan_growth(worth, count=4, strategy="balanced", dormant=[(0, 0), (0, 1), (1, 1), (2, 0), (2, 1)], heads=heads)
    assert by_worth.heads == [(2, 1), (0, 1), (1, 1), (0, 0)]


def test_those_that_rest_make_their_layer_needier():
    heads = [(layer, head) for layer in range(2) for head in range(4)]
    plan = plan_growth({}, count=2, strategy="balanced", dormant=[(0, 3), (1, 3)], resting=[(1, 1), (1, 2)], heads=heads)
    assert [(each.head, each.score) for each in plan] == [((1, 3), 0.25), ((0, 3), 0.75)]


def test_nobody_asleep_is_no_error():
    plan = plan_growth({}, count=2, strategy="random", dormant=[], heads=[(0, 0)])
    assert not plan
    assert plan.shortfall == "Of the 2 heads asked for, 0 can wake: no others may wake."
    assert not plan_growth({}, level=0.5, strategy="random", dormant=[], heads=[(0, 0)]).shortfall


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scores": {"wake": [[NAN, 1.0]]}, "dormant": [(0, 1)]}, "Layer 0 head 0 has no wake value"),
        ({"scores": {"wake": [[1.0, NAN]]}, "dormant": [(0, 0)]}, "1 sleeping heads and none that is awake; pass heads="),
        ({"dormant": [(0, 0)], "heads": [(0, 0)]}, "needs wake, and the scores hold nothing"),
        ({"scores": {"wake": [[NAN, 1.0]]}, "dormant": [(0, 0)], "heads": [(0, 0), (0, 1)]}, "leave it out of dormant"),
        (
            {"scores": {"entropy": [[1.0, NAN]]}, "dormant": [(0, 0)], "heads": [(0, 0), (0, 1)], "strategy": "entropy_gap"},
            "head 1 has no entropy value .*entropy_gap compares with it",
        ),
        ({"dormant": [(5, 5)], "heads": [(0, 0)], "strategy": "random"}, "5.5 stands in dormant"),
        ({"dormant": [], "resting": [(5, 5)], "heads": [(0, 0)], "strategy": "random"}, "5.5 stands in resting"),
        ({"dormant": [], "heads": [(0, 0)], "strategy": "balance"}, "growth strategy 'balance'; choose one of balanced"),
        ({"dormant": [], "heads": [(0, 0)], "strategy": "random", "newborn_cycles": -1}, "newborn_cycles is -1"),
        ({"dormant": [], "heads": [(0, 0)], "strategy": "random", "count": None}, "neither was given"),
    ],
)
def test_what_gives_no_growth_is_refused(settings, said):
    with pytest.raises(SettingNotUsable, match=said):
        plan_growth(**{"scores": {}, "count": 1} | settings)
