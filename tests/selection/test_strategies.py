"""Every strategy, whoever wrote it: its order is what it says, and the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_plasticity.heads import HeadGrid, HeadId
from neural_plasticity.selection.growth import plan_growth
from neural_plasticity.selection.pruning import plan_pruning
from neural_plasticity.selection.strategies import (
    DEFAULT,
    DEFAULT_GROWTH,
    PruningStrategy,
    growth_strategies,
    growth_strategy_of,
    strategies,
    strategy_of,
)
from neural_plasticity.signals.base import signals
from tests.selection.enrolled import GROWTH, PRUNING, Sleep
from tests.selection.models import models

BY_NUMBERS = [name for name, key in PRUNING.items() if key]
WAKING_BY_NUMBERS = [name for name, key in GROWTH.items() if key]


def known(grids, heads):
    return {name: {head: grid[head] for head in heads} for name, grid in grids.items()}


@pytest.mark.parametrize("name", PRUNING)
def test_the_names_are_the_built_in_ones_and_each_says_what_it_needs(name):
    assert set(PRUNING) == set(PruningStrategy)
    assert strategy_of(PruningStrategy(name)) is strategies()[name]
    assert set(strategy_of(name).signals) <= set(signals())
    assert strategy_of(name).says.endswith(".")
    assert strategy_of(DEFAULT)
    assert growth_strategy_of(DEFAULT_GROWTH)


@pytest.mark.parametrize("name", BY_NUMBERS)
@settings(max_examples=30)
@given(model=models(), levels=st.sampled_from([0, 3]))
def test_heads_go_in_the_order_that_the_strategy_declares(name, model, levels):
    grids = model.grids(levels)
    plan = plan_pruning(grids, level=1, strategy=name, min_heads=0, dormant=model.asleep, heads=model.heads)
    numbers = known(grids, model.awake)
    assert plan.heads == sorted(model.awake, key=lambda head: (PRUNING[name](numbers, head), head))
    scores = [each.score for each in plan]
    assert scores == sorted(scores, reverse=strategy_of(name).prunes == "highest")


@pytest.mark.parametrize("name", WAKING_BY_NUMBERS)
@settings(max_examples=30)
@given(model=models(), levels=st.sampled_from([0, 3]))
def test_heads_wake_as_if_they_were_chosen_one_by_one(name, model, levels):
    grids = model.grids(levels)
    first = now = Sleep(sorted(model.asleep), model.awake, known(grids, model.heads))
    expected = []
    while now.asleep and (head := GROWTH[name](now, first)) is not None:
        expected.append(head)
        now = now.woken(head)
    plan = plan_growth(grids, count=len(model.heads), strategy=name, dormant=model.asleep)
    assert plan.heads == expected
    assert plan.level == pytest.approx((len(model.asleep) - len(expected)) / len(model.heads))


@pytest.mark.parametrize("name", PRUNING)
@settings(max_examples=30)
@given(model=models(), seed=st.integers(0, 100))
def test_the_same_scores_settings_and_seed_give_the_same_plan(name, model, seed):
    def plan():
        return plan_pruning(model.grids(2), level=0.5, strategy=name, seed=seed, dormant=model.asleep)

    assert plan() == plan()


@pytest.mark.parametrize("name", GROWTH)
@settings(max_examples=30)
@given(model=models(), seed=st.integers(0, 100))
def test_the_same_heads_wake_for_the_same_seed(name, model, seed):
    def plan():
        return plan_growth(model.grids(2), count=2, strategy=name, seed=seed, dormant=model.asleep)

    assert plan() == plan()


@settings(max_examples=30)
@given(model=models(), seed=st.integers(0, 1000))
def test_chance_draws_for_each_head_whoever_sleeps(model, seed):
    def drawn(**settings):
        plan = plan_pruning(model.grids(), count=99, strategy="random", seed=seed, min_heads=0, **settings)
        return {each.head: each.score for each in plan}

    everyone = drawn()
    rest = drawn(dormant=model.asleep, heads=model.heads)
    assert rest == {head: everyone[head] for head in model.awake}
    woken = plan_growth(model.grids(), count=99, strategy="random", seed=seed, dormant=model.asleep)
    assert {each.head: each.score for each in woken} == {head: everyone[head] for head in model.asleep}


def test_chance_is_fair():
    grid = HeadGrid(np.ones((2, 3)))
    first = [plan_pruning(grid, count=1, strategy="random", seed=seed).heads[0] for seed in range(600)]
    counts = [first.count(HeadId(layer, head)) for layer in range(2) for head in range(3)]
    assert sum(counts) == 600
    assert sum((count - 100) ** 2 / 100 for count in counts) < 20.5  # chi squared of 5 degrees, once in a thousand


def test_the_growth_strategies_are_those_enrolled():
    assert set(growth_strategies()) == set(GROWTH)
