"""Odd input: whatever it is, there is a picture that can be drawn, or an error in one sentence."""

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.canvas import Figure
from neural_plasticity.heads import HeadGrid
from tests.figures.examples import COLUMN, FIGURES, drawn

DRAWN = (Phase.explicit, Phase.generate)  # pictures take too long to make a failing example small
NUMBERS = st.floats(-1e12, 1e12) | st.sampled_from([0.0, np.nan, np.inf, -np.inf, 1e-300, 1e300])
GRIDS = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=7), elements=NUMBERS)
KINDS = st.sampled_from(
    [
        lambda grid: grid,
        HeadGrid,
        lambda grid: torch.tensor(grid, requires_grad=True),
        lambda grid: torch.tensor(grid).bfloat16(),
        lambda grid: grid.tolist(),
        lambda grid: {layer + 3: row for layer, row in enumerate(grid)},
    ]
)
OF_A_GRID = ["visualize_entropy_heatmap", "visualize_gradient_norms", "plot_head_gradients_with_overlays"]
SIZES = st.sampled_from([None, (3.4, 2.6), (2.4, 2.0), (20, 2.0)])


@pytest.mark.parametrize("name", OF_A_GRID)
@given(GRIDS, KINDS, SIZES)
@settings(max_examples=4, phases=DRAWN)
def test_any_grid_of_any_kind_and_size_can_be_drawn(name, grid, kind, figsize):
    figure = drawn(name, kind(grid), figsize=figsize)
    assert isinstance(figure, Figure)
    assert figure.drawn("png")


@given(GRIDS, st.data())
@settings(max_examples=4, phases=DRAWN)
def test_any_two_grids_of_one_shape_can_be_set_against_each_other(grid, data):
    other = data.draw(arrays(np.float64, grid.shape, elements=NUMBERS))
    assert drawn("visualize_entropy_vs_gradient", grid, other).drawn("png")
    mask = data.draw(arrays(bool, grid.shape))
    assert drawn("visualize_pruning_decisions", grid, mask).drawn("png")


@pytest.mark.parametrize("shape", [(1, 1), (1, 128), (96, 1), (96, 128)])
@pytest.mark.parametrize("name", ["visualize_entropy_heatmap", "plot_head_gradients_with_overlays", "visualize_pruning_decisions"])
def test_the_smallest_and_the_largest_models_can_be_drawn(name, shape):
    grid = np.random.default_rng(0).random(shape)
    arguments = (grid, grid < 0.3) if name == "visualize_pruning_decisions" else (grid,)
    assert drawn(name, *arguments).drawn("png")


PERPLEXITIES = st.floats(1, 1e12) | st.sampled_from([np.nan, np.inf])
ROWS = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["m", None]),
        "strategy": st.sampled_from(["a", "b $x$"]),
        "pruning_level": st.sampled_from([0.0, 0.1, 0.5, np.nan]),
        "stage": st.sampled_from(["baseline", "pruned", "fine_tuned"]),
        "perplexity": PERPLEXITIES,
    }
)


@given(st.lists(ROWS, max_size=12))
@settings(max_examples=3, phases=DRAWN)
def test_any_results_can_be_summed_up(rows):
    assert drawn("plot_experiment_summary", rows).drawn("png")


@given(st.lists(st.tuples(st.sampled_from("ab"), PERPLEXITIES, PERPLEXITIES, PERPLEXITIES), max_size=5))
@settings(max_examples=3, phases=DRAWN)
def test_any_comparison_can_be_drawn(rows):
    columns = ("Strategy", "Baseline Perplexity", "Pruned Perplexity", "Fine-tuned Perplexity")
    table = {column: [row[place] for row in rows] for place, column in enumerate(columns)}
    for name in ("plot_strategy_comparison", "plot_recovery_comparison"):
        assert drawn(name, table).drawn("png")


SERIES = st.lists(st.none() | st.floats(0, 1e9) | st.sampled_from([np.nan, np.inf]), max_size=8)


@given(SERIES, SERIES, st.none() | st.integers(0, 500))
@settings(max_examples=3, phases=DRAWN)
def test_any_losses_can_be_drawn(losses, others, step):
    warmup = {"losses": losses, "stabilization_step": step}
    assert drawn("visualize_warmup_dashboard", warmup).drawn("png")
    assert drawn("visualize_complete_training_process", {"warmup": warmup, "fine_tuning": {"losses": others}}).drawn("png")
    assert drawn("visualize_training_progress", {"train_loss": losses}).drawn("png")


@pytest.mark.parametrize("name", ["visualize_training_progress", "visualize_warmup_dashboard", "plot_experiment_summary"])
def test_panels_that_would_be_too_small_to_read_are_refused_with_the_height_they_need(name):
    with pytest.raises(SettingNotUsable, match="inches"):
        drawn(name, figsize=(3.4, 2.6))


@pytest.mark.parametrize("name", [name for name, (_, _, size) in FIGURES.items() if size == COLUMN])
def test_the_smallest_pictures_have_room_for_long_titles(name):
    assert drawn(name, title="A title that is much longer than the picture is wide " * 5, figsize=(2.4, 2.0)).drawn("png")


def test_a_figsize_of_something_else_is_refused():
    for wrong in ((3,), (3, 3, 3), "ab", (2.0, 2.0), (3, 200), 5):
        with pytest.raises(SettingNotUsable, match="figsize"):
            drawn("visualize_entropy_heatmap", figsize=wrong)
