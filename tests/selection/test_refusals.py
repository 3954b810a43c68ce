"""What makes no plan is refused in one sentence that names it."""

from functools import partial

import numpy as np
import pytest

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.heads import HeadGrid, HeadId
from neural_plasticity.selection.pruning import plan_pruning

NAN, INF = np.nan, np.inf
GRID = HeadGrid([[1.0, 2.0], [3.0, 4.0]], "taylor (nats)")

REFUSED = {
    "nothing": ({}, "neither was given"),
    "both": ({"level": 0.1, "count": 1}, "level=0.1 and count=1"),
    "true": ({"level": True}, "level is True; it is a share from 0 to 1"),
    "nan": ({"level": NAN}, "level is nan"),
    "below": ({"level": -0.1}, "level is -0.1"),
    "percent": ({"level": 30}, "level is 30"),
    "word": ({"level": "half"}, "level is 'half'"),
    "fraction": ({"count": 1.5}, "count is 1.5; it is a whole number of at least 0"),
    "debt": ({"count": -1}, "count is -1"),
    "yes": ({"count": True}, "count is True"),
    "floor": ({"count": 1, "min_heads": -1}, "min_heads is -1"),
    "seed": ({"count": 1, "strategy": "random", "seed": -1}, "seed is -1"),
    "unit": ({"count": 1, "unit": "group"}, "no unit 'group'; choose one of kv_group"),
    "strategy": ({"count": 1, "strategy": "Tailor"}, "no strategy 'Tailor'; choose one of taylor, "),
    "no strategy": ({"count": 1, "strategy": None}, "no strategy 'None'"),
    "signal": ({"count": 1, "scores": {"taylor": GRID}, "strategy": "combined"}, "measure entropy and gradient too"),
    "no groups": ({"count": 1, "unit": "kv_group"}, "needs groups="),
    "few groups": ({"count": 1, "unit": "kv_group", "groups": [[0, 1], [0]]}, "nothing of layer 1 head 1"),
    "no group": ({"count": 1, "unit": "kv_group", "groups": [["a", "b"]] * 2}, "group is 'a'"),
    "stranger": ({"count": 1, "protect": [(2, 0)]}, "Head 2.0 stands in protect, but is none of the 4"),
    "named stranger": ({"count": 1, "dormant": [(0, 2)], "heads": [(0, 0), (0, 1)]}, "Head 0.2 stands in dormant"),
    "behind": ({"count": 1, "protect": [(-1, 0)]}, "Head -1.0 in protect counts from the end"),
    "no pair": ({"count": 1, "protect": [3]}, "protect names heads as pairs"),
    "half a head": ({"count": 1, "dormant": [(0, 0.5)]}, "dormant names heads as pairs"),
    "one row": ({"count": 1, "scores": {"taylor": [1.0, 2.0]}}, "scores of taylor are not layers × heads"),
    "words": ({"count": 1, "scores": {"taylor": [["a"]]}}, "scores of taylor are not layers × heads"),
    "empty": ({"count": 1, "scores": {"taylor": np.zeros((0, 0))}}, "the scores hold none"),
    "no heads": ({"count": 1, "heads": []}, "the scores hold none"),
    "gap": ({"count": 1, "scores": {"taylor": [[1.0, NAN, 2.0]]}}, "Layer 0 head 1 has no taylor value"),
    "row": ({"count": 1, "scores": {"taylor": [[1.0, 1.0], [NAN, NAN]]}}, "Layer 1 has no taylor value"),
    "infinite": ({"count": 1, "scores": {"taylor": [[1.0, INF]]}}, r"Layer 0 head 1 has no taylor value \(inf\)"),
    "named": ({"count": 1, "heads": [(0, 0), (4, 2)]}, r"Layer 4 head 2 has no taylor value \(nan\)"),
    "two": ({"count": 1, "scores": {"taylor": [[INF, -INF]]}}, r"\(inf\), nor does another one; measure it again"),
    "three": ({"count": 1, "scores": {"taylor": [[INF, INF, INF]]}}, "nor do 2 others"),
    "half measured": (
        {"count": 1, "scores": {"entropy": [[1.0, 2.0]], "gradient": [[1.0]]}, "strategy": "combined"},
        "Layer 0 head 1 has no gradient value",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_gives_no_plan_is_refused_in_one_sentence(name):
    settings, said = REFUSED[name]
    with pytest.raises(SettingNotUsable, match=said) as raised:
        plan_pruning(**{"scores": {"taylor": GRID}} | settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("missing", [NAN, INF, -INF])
def test_a_head_without_a_number_may_be_protected_or_asleep(missing):
    plan = partial(plan_pruning, HeadGrid([[1.0, missing, 2.0], [4.0, 5.0, missing]]), level=1, min_heads=0)
    rest = [(0, 0), (0, 2), (1, 0), (1, 1)]
    assert plan(dormant=[(0, 1), (1, 2)]).heads == rest
    assert plan(protect={HeadId(0, 1): "", HeadId(1, 2): ""}).heads == rest
    assert plan(dormant=[(0, 1)], protect=[(1, 2)]).level == pytest.approx(5 / 6)


def test_a_layer_may_be_shorter_or_wholly_asleep():
    assert plan_pruning(HeadGrid([[1.0, NAN], [2.0, 3.0]]), level=1, min_heads=0).level == 1.0
    asleep = plan_pruning(HeadGrid([[NAN, NAN], [2.0, 3.0]]), level=0.75, min_heads=0, dormant=[(0, 0), (0, 1)])
    assert asleep.heads == [(1, 0)]
    beyond = plan_pruning({"taylor": [[1.0, 2.0]]}, level=0.5, dormant=[(0, 2), (1, 0)])  # heads that no grid has room for
    assert not beyond
    assert beyond.level == 0.5


def test_heads_that_are_not_named_are_left_alone():
    plan = plan_pruning(GRID, level=1, min_heads=0, heads=[(1, 0), (1, 1)])
    assert plan.heads == [(1, 0), (1, 1)]


def test_numbers_of_numpy_are_numbers():
    assert plan_pruning(GRID, level=np.float32(0.5)).heads == plan_pruning(GRID, count=np.int64(2)).heads


def test_of_one_half_head_the_even_number_goes():
    assert [len(plan_pruning(HeadGrid(np.arange(5.0)[None]), level=level)) for level in (0.1, 0.3, 0.5)] == [0, 2, 2]
