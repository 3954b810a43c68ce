"""A plan is data: it is read, compared, written and read back."""

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.heads import HeadGrid, HeadId
from neural_plasticity.selection.growth import plan_growth
from neural_plasticity.selection.plan import Action, Decision, Plan
from neural_plasticity.selection.pruning import plan_pruning
from tests.selection.models import models


@given(model=models(), count=st.integers(0, 6))
def test_a_plan_comes_back_from_json_as_it_was(model, count):
    for plan in (
        plan_pruning(model.grids(), count=count, dormant=model.asleep, protect=model.protected),
        plan_growth(model.grids(), count=count, dormant=model.asleep),
    ):
        assert Plan.from_dict(json.loads(json.dumps(plan.as_dict(), allow_nan=False))) == plan
        assert pickle.loads(pickle.dumps(plan)) == plan == copy.deepcopy(plan)


def test_a_plan_comes_back_from_its_file(tmp_path):
    plan = plan_pruning(HeadGrid([[0.1, 0.2 + 1e-17, 1 / 3]]), level=0.5, protect={HeadId(0, 0): "kept for × reasons"})
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    assert "kept for × reasons" in (tmp_path / "plan.json").read_text(encoding="utf-8")


def test_a_plan_is_read_as_a_table():
    scores = {"taylor": HeadGrid([[0.5, 2.0], [10.0, 0.25]], "taylor (nats)")}
    assert str(plan_pruning(scores, count=4, protect=[(0, 1)])) == (
        "prune 2 heads by taylor: 50.0% of the original heads are pruned when this is done\n"
        "rank  head  action  reason\n"
        "1     1.1   prune   taylor 0.25 nats is rank 1 of 3, and no head is kept for its score\n"
        "2     0.0   prune   taylor 0.5 nats is rank 2 of 3, and no head is kept for its score\n"
        "protected 0.1: protected by hand\n"
        "Of the 4 heads asked for, 2 go: 1 is protected and min_heads=1 keeps 1."
    )
    assert str(plan_pruning(scores, count=0)) == (
        "nothing to do by taylor: 0.0% of the original heads are pruned when this is done"
    )


def test_a_plan_is_false_when_there_is_nothing_to_do():
    grid = HeadGrid([[1.0, 2.0]])
    assert not plan_pruning(grid, count=0)
    plan = plan_pruning(grid, count=1)
    assert plan
    assert [each.head for each in plan] == plan.heads == [HeadId(0, 0)]


def test_a_difference_is_what_only_one_of_two_plans_does():
    grid = HeadGrid([[1.0, 2.0, 3.0, 4.0]])
    low, high = plan_pruning(grid, count=2), plan_pruning(HeadGrid(-grid.values), count=3)
    assert [each.head for each in low.difference(high).only_here] == [(0, 0)]
    assert [each.head for each in low.difference(high).only_there] == [(0, 3), (0, 2)]
    assert str(low.difference(high)) == "only here: 0.0 prune\nonly there: 0.3 prune, 0.2 prune"
    assert str(low.difference(low)) == "only here: nothing\nonly there: nothing"
    woken = Plan((Decision(HeadId(0, 0), Action.REVIVE, 0.0, 1, 0.0, "why"),), "random", 0.0)
    assert [each.action for each in woken.difference(low).only_here] == ["revive"]


def test_the_pieces_of_difference_make_the_one_plan_of_the_other():
    grid = HeadGrid([[1.0, 2.0, 3.0, 4.0]])
    here, there = plan_pruning(grid, count=3), plan_pruning(grid, count=2, protect=[(0, 1)])
    only = here.difference(there)
    shared = set(here.heads) - {each.head for each in only.only_here}
    assert shared | {each.head for each in only.only_there} == set(there.heads)


WHOLE = plan_pruning(HeadGrid([[1.0, 2.0]]), count=1, protect=[(0, 1)]).as_dict()

BROKEN = {
    "no json": "{",
    "a list": "[]",
    "a word": '"plan"',
    "another file": "{}",
    "nan": json.dumps(WHOLE | {"level": float("nan")}),
    "newer": json.dumps(WHOLE | {"schema": 2}),
    "a word for a level": json.dumps(WHOLE | {"level": "half"}),
    "a number for a name": json.dumps(WHOLE | {"strategy": 3}),
    "no decisions": json.dumps(WHOLE | {"decisions": None}),
    "half a head": json.dumps(WHOLE | {"decisions": [WHOLE["decisions"][0] | {"head": [0]}]}),
    "a head before the first": json.dumps(WHOLE | {"decisions": [WHOLE["decisions"][0] | {"head": [0, -1]}]}),
    "an unknown action": json.dumps(WHOLE | {"decisions": [WHOLE["decisions"][0] | {"action": "paint"}]}),
    "a true rank": json.dumps(WHOLE | {"decisions": [WHOLE["decisions"][0] | {"rank": True}]}),
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_no_plan_is_refused_by_its_name(name, tmp_path):
    (tmp_path / "plan.json").write_text(BROKEN[name])
    with pytest.raises(SettingNotUsable, match=r"plan\.json") as raised:
        Plan.load(tmp_path / "plan.json")
    assert "\n" not in str(raised.value)


def test_files_that_cannot_be_reached_are_named(tmp_path):
    plan = plan_pruning(HeadGrid([[1.0, 2.0]]), count=1)
    with pytest.raises(SettingNotUsable, match="cannot be written"):
        plan.save(tmp_path / "no such folder" / "plan.json")
    with pytest.raises(SettingNotUsable, match=r"missing\.json does not hold a plan"):
        Plan.load(tmp_path / "missing.json")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingNotUsable, match="bytes does not hold a plan"):
        Plan.load(tmp_path / "bytes")
