"""A stranger's strategies, through an installed package and its entry point."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.heads import HeadGrid
from neural_plasticity.plugins import load_plugins
from neural_plasticity.selection import strategies as base
from neural_plasticity.selection.growth import plan_growth
from neural_plasticity.selection.pruning import plan_pruning

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "selection.md").read_text(encoding="utf-8")
(SHOWN,) = (block for block in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "@strategy" in block)

GROWING = '''
from neural_plasticity.selection.strategies import growth_strategy

@growth_strategy("loudest", signals="output_norm", wakes="highest", bound=1.0)
def loudest(grids, rng):
    """The heads that were heard best."""
    return grids["output_norm"]
'''


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package as pip leaves it behind, not looked at yet; afterwards all is as it was."""

    def install(code: str, entry: str = "stranger_strategies") -> None:
        (tmp_path / "stranger_strategies.py").write_text(code, encoding="utf-8")
        described = tmp_path / "stranger-1.0.dist-info"
        described.mkdir()
        (described / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
        (described / "entry_points.txt").write_text(f"[neural_plasticity.strategies]\ntheirs = {entry}\n")
        monkeypatch.syspath_prepend(tmp_path)
        load_plugins.cache_clear()

    base.strategies()
    known = dict(base.STRATEGIES), dict(base.GROWTH)
    yield install
    load_plugins.cache_clear()
    for registry, before in zip((base.STRATEGIES, base.GROWTH), known, strict=True):
        registry.clear()
        registry.update(before)
    sys.modules.pop("stranger_strategies", None)


def test_a_strangers_strategies_are_found_and_used_like_ours(installed):
    installed(SHOWN + GROWING)
    assert base.strategy_of("quiet").says == "The heads that say least, weighed by what it does to the loss."
    grids = {"output_norm": HeadGrid([[4.0, 1.0, 0.5]], "output_norm (activation)"), "taylor": HeadGrid([[1.0, 1.0, 8.0]])}
    plan = plan_pruning(grids, count=1, strategy="quiet")
    assert str(plan.decisions[0]) == "0.1 prune: loudness 1 is rank 1 of 3, below the 2 of the first head kept"
    grown = plan_growth(grids, count=3, strategy="loudest", dormant=[(0, 0), (0, 1)])
    assert grown.heads == [(0, 0)]
    assert grown.decisions[0].reason == "loudest 4 is rank 1 of 2, above the 1 beyond which none wakes"
    assert grown.shortfall == "Of the 3 heads asked for, 1 can wake: 1 has a loudest of 1 or less."
    with pytest.raises(SettingNotUsable, match="needs output_norm and taylor"):
        plan_pruning({"taylor": grids["taylor"]}, count=1, strategy="quiet")


@pytest.mark.parametrize(
    ("code", "entry", "seen"),
    [
        ("import no_such_module", "stranger_strategies", "no_such_module"),
        ("def f(): pass", "stranger_strategies:missing", "missing"),
        ("", "no_such_strategies", "no_such_strategies"),
        ("1 / 0", "stranger_strategies", "division"),
        ("def broken(:", "stranger_strategies", "syntax"),
    ],
)
def test_a_plugin_that_does_not_load_is_named_in_one_sentence(installed, code, entry, seen):
    installed(code, entry)
    with pytest.raises(SettingNotUsable, match="of stranger do not load") as raised:
        base.strategy_of("taylor")
    assert seen in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_end_that_does_not_exist_is_refused_as_it_is_declared():
    with pytest.raises(SettingNotUsable, match="declare 'lowest' or 'highest'"):
        base.strategy("odd", signals=(), prunes="smallest")(lambda grids, rng: grids.there * 1.0)
    assert "odd" not in base.STRATEGIES


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda grids, rng: np.zeros((1, 1)), r"answered with shape \(1, 1\) where the heads are \(1, 2\)"),
        (lambda grids, rng: np.log(grids["taylor"] * 0 - 1 + 0j).imag * np.nan, "Layer 0 head 0 has no odd score value"),
    ],
)
def test_an_answer_that_is_no_score_for_every_head_is_refused(monkeypatch, answer, said):
    odd = base.Strategy("odd", ("taylor",), "lowest", "Odd.", answer, "odd")
    monkeypatch.setitem(base.STRATEGIES, "odd", odd)
    with pytest.raises(SettingNotUsable, match=said):
        plan_pruning({"taylor": [[1.0, 2.0]]}, count=1, strategy="odd")


def test_a_strategy_cannot_write_into_the_scores(monkeypatch):
    def spoil(grids, rng):
        grids["taylor"] *= 0
        return grids["taylor"]

    monkeypatch.setitem(base.STRATEGIES, "odd", base.Strategy("odd", ("taylor",), "lowest", "Odd.", spoil, "odd"))
    with pytest.raises(ValueError, match="read-only"):
        plan_pruning({"taylor": [[1.0, 2.0]]}, count=1, strategy="odd")
