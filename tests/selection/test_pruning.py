"""Plans of pruning: within the budget, above the floors, past what is protected, and the same whatever heads are called."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity.heads import HeadGrid, HeadId
from neural_plasticity.selection.plan import Action
from neural_plasticity.selection.pruning import plan_pruning
from tests.selection.models import Model, models

NAMES = st.sampled_from(["taylor", "entropy", "fisher"])
FLOORS = st.integers(0, 3)


def per_layer(heads) -> Counter:
    return Counter(head.layer for head in heads)


@given(model=models(), level=st.floats(0, 1), floor=FLOORS, name=NAMES, levels=st.sampled_from([0, 3]))
def test_a_plan_takes_the_first_heads_that_it_may_and_all_that_it_may(model, level, floor, name, levels):
    grids = model.grids(levels)
    plan = plan_pruning(grids, level, strategy=name, min_heads=floor, protect=model.protected, dormant=model.asleep)
    gone = set(plan.heads)
    asked = max(0, round(level * len(model.heads)) - len(model.asleep))
    left = per_layer(head for head in model.awake if head not in gone)
    assert len(gone) == len(plan) <= asked
    assert gone <= set(model.awake) - model.protected
    assert all(left[layer] >= floor for layer in per_layer(gone))
    sign = -1 if name == "entropy" else 1
    last = max(((sign * grids[name][head], head) for head in gone), default=None)
    for head in set(model.awake) - gone - model.protected:
        held = left[head.layer] <= floor
        assert held or len(gone) == asked
        assert held or last is None or last < (sign * grids[name][head], head)
    assert bool(plan.shortfall) == (len(gone) < asked)
    assert plan.level == pytest.approx((len(model.asleep) + len(gone)) / len(model.heads))


@given(model=models(), count=st.integers(0, 20), floor=FLOORS, uniform=st.booleans(), name=NAMES)
def test_what_goes_lies_on_one_side_of_its_threshold_and_what_stays_on_the_other(model, count, floor, uniform, name):
    grids = model.grids(3)
    settings = {"strategy": name, "min_heads": floor, "protect": model.protected, "dormant": model.asleep}
    plan = plan_pruning(grids, count=count, uniform=uniform, **settings)
    sign = -1 if name == "entropy" else 1
    assert all(each.action is Action.PRUNE and sign * each.score <= sign * each.threshold for each in plan)
    assert [each.rank for each in plan] == sorted({each.rank for each in plan})
    left = per_layer(set(model.awake) - set(plan.heads))
    free = set(model.awake) - model.protected - set(plan.heads)
    for each in plan:
        kept = [
            sign * grids[name][head] for head in free if (head.layer == each.head.layer if uniform else left[head.layer] > floor)
        ]
        assert sign * each.threshold == min(kept, default=sign * each.threshold)


@given(model=models(), levels=st.tuples(st.floats(0, 1), st.floats(0, 1)), floor=FLOORS)
def test_levels_are_cumulative_so_that_two_plans_come_to_what_one_does(model, levels, floor):
    grids, (low, high) = model.grids(3), sorted(levels)
    settings = {"min_heads": floor, "protect": model.protected, "heads": model.heads}
    first = plan_pruning(grids, low, dormant=model.asleep, **settings)
    second = plan_pruning(grids, high, dormant=[*model.asleep, *first.heads], **settings)
    at_once = plan_pruning(grids, high, dormant=model.asleep, **settings)
    assert first.heads + second.heads == at_once.heads
    assert not plan_pruning(grids, low, dormant=[*model.asleep, *at_once.heads], **settings)


@given(model=models(grouped=True), count=st.integers(0, 20), floor=FLOORS)
def test_heads_that_share_keys_and_values_go_together(model, count, floor):
    grids = model.grids()
    settings = {"min_heads": floor, "protect": model.protected, "dormant": model.asleep, "groups": model.groups}
    plan = plan_pruning(grids, count=count, unit="kv_group", **settings)
    gone, units = set(plan.heads), {}
    for head in model.awake:
        units.setdefault((head.layer, model.groups[head.layer][head.head]), []).append(head)
    left, last = per_layer(set(model.awake) - gone), -float("inf")
    assert len(plan) <= count
    for unit in units.values():
        mean = sum(grids["taylor"][head] for head in unit) / len(unit)
        assert len(gone & set(unit)) in (0, len(unit))
        assert not (gone & set(unit) and model.protected & set(unit))
        for each in plan:
            if each.head in unit:
                assert each.score == pytest.approx(mean)
                last = max(last, mean)
    assert all(left[layer] >= floor for layer in per_layer(gone))
    for unit in units.values():
        if not gone & set(unit) and not model.protected & set(unit):
            mean = sum(grids["taylor"][head] for head in unit) / len(unit)
            assert mean >= last - 1e-9 or left[unit[0].layer] - len(unit) < floor


@pytest.mark.parametrize("grouped", [False, True], ids=["head", "kv_group"])
@given(data=st.data(), count=st.integers(0, 30), floor=FLOORS)
def test_layers_stay_alike_and_as_much_goes_as_that_allows(grouped, data, count, floor):
    model = data.draw(models(grouped=grouped, even=data.draw(st.booleans())))
    grids = model.grids()
    settings = {"min_heads": floor, "protect": model.protected, "dormant": model.asleep, "groups": model.groups}
    plan = plan_pruning(grids, count=count, unit="kv_group" if grouped else "head", uniform=True, **settings)
    layers = {layer: sorted_units(model, layer, grids) for layer in range(len(model.sizes))}
    best = []
    for keep in range(20):
        gone = taken_down(layers, keep, model, floor)
        if gone is not None and len(gone) <= count:
            best = max(best, gone, key=len)
    assert set(plan.heads) == set(best)
    left = {sum(not set(unit) <= set(plan.heads) for unit in units) for units in layers.values()}
    assert len(left) == 1 or plan.shortfall
    assert len(plan) == count or plan.shortfall


def sorted_units(model: Model, layer: int, grids) -> list[list[HeadId]]:
    """The awake units of a layer: first to go in front, those protected behind."""
    units: dict[int, list[HeadId]] = {}
    for head in model.awake:
        if head.layer == layer:
            units.setdefault(model.groups[layer][head.head], []).append(head)
    mean = {group: sum(grids["taylor"][head] for head in unit) / len(unit) for group, unit in units.items()}
    return [units[group] for group in sorted(units, key=lambda g: (bool(set(units[g]) & model.protected), mean[g], units[g]))]


def taken_down(layers, keep: int, model: Model, floor: int) -> list[HeadId] | None:
    gone: list[HeadId] = []
    for units in layers.values():
        chosen = units[: len(units) - keep] if len(units) >= keep else None
        if chosen is None or any(set(unit) & model.protected for unit in chosen):
            return None
        if chosen and sum(map(len, units)) - sum(map(len, chosen)) < floor:
            return None
        gone += [head for unit in chosen for head in unit]
    return gone


@pytest.mark.parametrize("unit", ["head", "kv_group"])
@given(data=st.data(), count=st.integers(0, 12), floor=FLOORS, uniform=st.booleans(), name=NAMES)
def test_the_plan_is_the_same_whatever_place_heads_and_layers_have(unit, data, count, floor, uniform, name):
    model = data.draw(models(grouped=unit == "kv_group"))
    new_layer = data.draw(st.permutations(range(len(model.sizes))))
    new_head = [data.draw(st.permutations(range(len(row)))) for row in model.groups]

    def moved(head: HeadId) -> HeadId:
        return HeadId(new_layer[head.layer], new_head[head.layer][head.head])

    def plan(grid, asleep, protected, groups):
        given = HeadGrid.from_layers([[grid[HeadId(a, b)] for b in range(len(row))] for a, row in enumerate(groups)])
        settings = {"min_heads": floor, "uniform": uniform, "unit": unit, "groups": groups}
        return plan_pruning(given, count=count, strategy=name, protect=protected, dormant=asleep, **settings)

    # powers of two, so that no two groups have the same mean
    numbers = {head: 2.0 ** model.grids()[name][head] for head in model.heads}
    groups = [[0] * len(model.groups[new_layer.index(layer)]) for layer in range(len(new_layer))]
    for head in model.heads:
        groups[moved(head).layer][moved(head).head] = model.groups[head.layer][head.head]
    here = plan(numbers, model.asleep, model.protected, model.groups)
    there = plan(
        {moved(head): number for head, number in numbers.items()}, map(moved, model.asleep), map(moved, model.protected), groups
    )
    assert {(moved(each.head), each.rank, each.score, each.threshold) for each in here} == {
        (each.head, each.rank, each.score, each.threshold) for each in there
    }


def test_ties_go_by_layer_and_head():
    plan = plan_pruning(HeadGrid([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), count=4, min_heads=0)
    assert plan.heads == [(0, 1), (1, 0), (1, 2), (0, 0)]
    assert "level with the 1 of the first head kept" in plan.decisions[3].reason


def test_everything_goes_only_where_no_floor_holds_it():
    grid = HeadGrid([[1.0, 2.0], [3.0, 4.0]])
    everything = plan_pruning(grid, level=1, min_heads=0)
    assert len(everything) == 4
    assert everything.level == 1.0
    assert everything.decisions[-1].threshold == 4.0
    floored = plan_pruning(grid, level=1)
    assert floored.heads == [(0, 0), (1, 0)]
    assert floored.shortfall == "Of the 4 heads asked for, 2 go: min_heads=1 keeps 2."


def test_reasons_are_plain_words():
    scores = {"taylor": HeadGrid([[0.0012, 0.5, 0.0004], [0.0031, 0.004, 0.7]], "taylor (nats)")}
    plan = plan_pruning(scores, count=3)
    assert str(plan.decisions[2]) == "1.0 prune: taylor 0.0031 nats is rank 3 of 6, below the 0.004 of the first head kept"
    floored = plan_pruning(scores, count=3, min_heads=2)
    assert floored.decisions[1].reason == (
        "taylor 0.0031 nats is rank 3 of 6, and no head is kept for its score; "
        "0.0 comes before it but stays, since layer 0 keeps its last 2 heads"
    )
    even = plan_pruning(scores, count=3, uniform=True)
    assert even.decisions[1].reason == (
        "taylor 0.0031 nats is rank 3 of 6, below the 0.004 of the first head kept in its layer; every layer keeps 2 heads"
    )
    assert even.shortfall == "Of the 3 heads asked for, 2 go: every layer keeps the same number of heads, 2."
    grouped = plan_pruning(scores, count=2, unit="kv_group", groups=[[0, 1, 0], [0, 0, 1]])
    assert grouped.decisions[0].reason == (
        "mean taylor of its group 0.0008 nats is rank 1 of 4, below the 0.00355 of the first group kept"
    )


def test_numbers_that_look_alike_are_told_to_the_digit_that_differs():
    plan = plan_pruning({"taylor": [[0.12341, 0.12342]]}, count=1, min_heads=0)
    assert "taylor 0.12341 is rank 1 of 2, below the 0.12342 of" in plan.decisions[0].reason


def test_the_weights_of_combined_ranks_stand_in_plan_and_reasons():
    grids = {"entropy": [[1.0, 2.0, 3.0]], "gradient": [[3.0, 1.0, 2.0]]}
    plan = plan_pruning(grids, count=1, strategy="combined")
    assert plan.score == "combined rank (0.6 entropy, 0.4 gradient)"
    assert plan.decisions[0].reason == f"{plan.score} 1.4 is rank 1 of 3, below the 1.6 of the first head kept"


def test_sleepers_take_no_part_in_combined_ranks():
    grids = {"entropy": [[9.0, 2.0, 3.0]], "gradient": [[0.0, 1.0, 2.0]]}
    plan = plan_pruning(grids, count=3, strategy="combined", dormant=[(0, 0)], min_heads=0)
    assert [(each.head, each.score) for each in plan] == [((0, 2), 1.4), ((0, 1), 1.6)]


def test_one_protected_head_protects_its_group_and_the_plan_says_why():
    grid = HeadGrid([[1.0, 2.0, 3.0, 4.0]])
    plan = plan_pruning(grid, count=2, unit="kv_group", groups=[[0, 0, 1, 1]], protect={HeadId(0, 1): "it is newborn"})
    assert plan.heads == [(0, 2), (0, 3)]
    assert plan.protected == {
        HeadId(0, 0): "shares keys and values with 0.1: it is newborn",
        HeadId(0, 1): "it is newborn",
    }
    assert plan_pruning(grid, count=1, protect=[(0, 0)]).protected == {HeadId(0, 0): "protected by hand"}


def test_an_uneven_start_is_evened_out_or_the_plan_says_why_not():
    grid = HeadGrid([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    assert plan_pruning(grid, count=2, uniform=True, dormant=[(0, 0), (0, 1)]).heads == [(1, 0), (1, 1)]
    short = plan_pruning(grid, count=1, uniform=True, dormant=[(0, 0), (0, 1)])
    assert not short
    assert short.shortfall == (
        "Nothing goes: the layers have 2 to 4 heads awake, and to leave each with 2 takes 2 heads, 1 more than asked for."
    )
    held = plan_pruning(grid, count=4, uniform=True, dormant=[(0, 0), (0, 1)], protect=[(1, 0), (1, 1), (1, 2)])
    assert not held
    assert "does not let them all come down to the same number" in held.shortfall


def test_groups_that_were_cut_before_are_told_of_where_all_is_to_be_even():
    grid = HeadGrid([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    plan = plan_pruning(grid, count=4, unit="kv_group", groups=[[0, 0, 1, 1]] * 2, uniform=True, dormant=[(0, 3)])
    assert plan.heads == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert plan.shortfall == "Groups had lost heads before and have 1 to 2, so that no configuration describes them."


def test_a_group_that_does_not_fit_ends_the_plan():
    plan = plan_pruning(HeadGrid([[1.0, 1.0, 2.0, 2.0, 3.0]]), count=3, unit="kv_group", groups=[[0, 0, 1, 1, 2]])
    assert plan.heads == [(0, 0), (0, 1)]
    assert plan.shortfall == "Of the 3 heads asked for, 2 go: groups go whole, and the next one has 2 heads."
