"""Which heads were pruned and why, and what heads are worth by each strategy."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.decisions import visualize_pruning_decisions
from neural_plasticity.figures.importance import visualize_head_importance
from neural_plasticity.heads import HeadGrid, HeadId
from tests.figures.reading import colour_of, limits_of, marks, titled, values_of, words

NORMS = np.array([[0.5, 0.02, 0.004], [0.03, 0.001, 0.2]])
LOWEST = NORMS < 0.01


def test_pruned_heads_are_marked_on_the_map_and_in_the_order_of_all_heads():
    figure = visualize_pruning_decisions(NORMS, LOWEST)
    np.testing.assert_array_equal(values_of(figure.axes[0]), NORMS)
    assert marks(figure.axes[0], "pruned") == [(2, 0), (1, 1)]
    ordered = titled(figure, "all heads by gradient norm")
    assert marks(ordered, "pruned") == [(1, 0.001), (2, 0.004)]
    assert marks(ordered, "active") == [(3, 0.02), (4, 0.03), (5, 0.2), (6, 0.5)]
    assert (colour_of(ordered, "pruned"), colour_of(ordered, "active")) == ("#d55e00", "#332288")
    low, high = ordered.get_ylim()
    assert low < 0.001 < 0.5 < high


def test_it_says_whether_the_gradient_alone_decided():
    assert any(
        "2 of 6 heads pruned: those with the smallest gradient norms, up to 0.004" in text
        for text in words(visualize_pruning_decisions(NORMS, LOWEST))
    )
    other = LOWEST | (NORMS == 0.5)
    assert any(
        "3 of 6 heads pruned; 1 of them not among the 3 smallest" in text
        for text in words(visualize_pruning_decisions(NORMS, other))
    )
    alike = np.full((1, 3), 0.5)
    assert any("those with the smallest" in text for text in words(visualize_pruning_decisions(alike, [[False, False, True]])))


def test_each_pruned_head_has_its_reason():
    said = words(visualize_pruning_decisions(NORMS, LOWEST))
    assert {"head 1.1", "0.001, place 1 of 6", "head 0.2", "0.004, place 2 of 6"} <= set(said)


@dataclass
class Choice:
    head: HeadId
    reason: str


@dataclass
class Choices:
    decisions: list[Choice]


@pytest.mark.parametrize("kind", [dict, list, Choices])
def test_reasons_are_those_of_the_plan(kind):
    choices = [Choice(HeadId(1, 1), "rank 1 of 6, below 0.1")]
    reasons = {dict: {(1, 1): "rank 1 of 6, below 0.1"}, list: choices, Choices: Choices(choices)}[kind]
    assert "rank 1 of 6, below 0.1" in words(visualize_pruning_decisions(NORMS, LOWEST, reasons=reasons))


LONG = "taylor 0.00123 nats is rank 1 of 48, below the 0.0144 of the first head kept, which the settings protect in every cycle"


@pytest.mark.parametrize("figsize", [(11.0, 4.4), (7.0, 4.4), (3.4, 6.0)])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_long_reasons_are_broken_into_lines_within_their_panel(figsize, count):
    grid = np.arange(1.0, 13).reshape(3, 4)
    gone = [(layer, head) for layer in range(3) for head in range(4)][:count]
    mask = np.zeros_like(grid, dtype=bool)
    for head in gone:
        mask[head] = True
    figure = visualize_pruning_decisions(grid, mask, reasons=dict.fromkeys(gone, LONG), figsize=figsize)
    figure.canvas.draw()
    panel = titled(figure, "why")
    said = [text for text in panel.texts if text.get_text().startswith("taylor")]
    assert len(said) == count
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in said]
    around = panel.get_window_extent(renderer)
    for text, box in zip(said, boxes, strict=True):
        assert box.x1 <= around.x1 + 2
        if count < 8 and figsize[0] > 3.4:  # there is room for every word
            assert " ".join(text.get_text().split()) == LONG
    assert all(above.y0 >= below.y1 - 1 for above, below in pairwise(boxes))
    assert boxes[-1].y0 >= around.y0 - 1


@pytest.mark.parametrize(
    "mask", [LOWEST, torch.tensor(LOWEST), LOWEST.tolist(), HeadGrid(LOWEST.astype(float)), dict(enumerate(LOWEST))]
)
def test_masks_come_in_many_kinds(mask):
    assert marks(visualize_pruning_decisions(NORMS, mask).axes[0], "pruned") == [(2, 0), (1, 1)]


@pytest.mark.parametrize("mask", [LOWEST[:1], LOWEST * 2, LOWEST * 0.5, [(0, 1), (1, 2)]])
def test_masks_that_do_not_fit_are_refused(mask):
    with pytest.raises(SettingNotUsable, match="pruning_mask"):
        visualize_pruning_decisions(NORMS, mask)


def test_reasons_without_heads_are_refused():
    with pytest.raises(SettingNotUsable, match="reasons"):
        visualize_pruning_decisions(NORMS, LOWEST, reasons=["because"])


def test_nothing_everything_and_the_unknown_may_be_pruned():
    assert "no head was pruned" in words(visualize_pruning_decisions(NORMS, np.zeros_like(LOWEST)))
    assert len(marks(visualize_pruning_decisions(NORMS, np.ones_like(LOWEST)).axes[0], "pruned")) == 6
    unknown = visualize_pruning_decisions([[np.nan, 1.0]], [[True, False]])
    assert "no gradient norm" in words(unknown)
    many = visualize_pruning_decisions(np.arange(1.0, 97).reshape(8, 12), np.ones((8, 12), bool))
    assert "and 88 more" in words(many)


SCORES = {"entropy": [(0, 0, 1.5), (1, 2, 0.5)], "wake": [(0, 1, -2.0), (1, 1, 1.0)]}


def test_every_strategy_has_a_map_of_its_scores_and_a_bar_of_its_own():
    figure = visualize_head_importance("a model", SCORES, 2, 3)
    for strategy, scores in SCORES.items():
        wanted = np.full((2, 3), np.nan)
        for layer, head, score in scores:
            wanted[layer, head] = score
        np.testing.assert_array_equal(values_of(titled(figure, strategy)), wanted)
    assert limits_of(titled(figure, "wake")) == (-2, 2)
    assert limits_of(titled(figure, "entropy")) == (0.5, 1.5)
    assert "Head importance in a model" in words(figure)


def test_sizes_follow_from_the_scores_if_they_are_not_given_and_grids_are_taken_too():
    assert values_of(visualize_head_importance("m", {"a": SCORES["entropy"]}).axes[0]).shape == (2, 3)
    grid = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(values_of(visualize_head_importance("m", {"a": torch.tensor(grid)}).axes[0]), grid)


@pytest.mark.parametrize("wrong", [{}, [], {"a": [(0, 5, 1.0)]}, {"a": [(0.5, 0, 1.0)]}, {"a": [(0, 1)]}, {"a": []}, {"a": "text"}])
def test_scores_that_do_not_fit_are_refused(wrong):
    with pytest.raises(SettingNotUsable, match="importance_scores"):
        visualize_head_importance("m", wrong, 2, 3)
