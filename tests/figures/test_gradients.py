"""Entropy against gradient, bars of gradients, and what is vulnerable."""

import numpy as np
import pytest

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.entropy import visualize_entropy_vs_gradient
from neural_plasticity.figures.gradients import (
    plot_head_gradients_with_overlays,
    visualize_gradient_norms,
    visualize_head_gradients,
)
from tests.figures.reading import bar_label, colour_of, marks, values_of, words

RNG = np.random.default_rng(1)
NORMS = np.array([[0.5, 0.02, 0.004], [0.03, 0.001, 0.2]])


def heights(axes) -> np.ndarray:
    (bars,) = [each for each in axes.collections if each.get_label() == "gradient norm"]
    return np.array([segment[1] for segment in bars.get_segments()])


def test_a_bar_for_every_head_ends_at_its_norm():
    axes = plot_head_gradients_with_overlays(NORMS).axes[0]
    np.testing.assert_allclose(heights(axes), list(zip(range(6), NORMS.ravel(), strict=True)))
    low, high = axes.get_ylim()
    assert low <= NORMS.min() < NORMS.max() <= high


def test_vulnerable_are_those_below_the_threshold_that_are_not_pruned():
    axes = plot_head_gradients_with_overlays(NORMS, pruned_heads=[(1, 1)]).axes[0]
    assert marks(axes, "vulnerable") == [(2, 0.004)]
    assert marks(axes, "pruned") == [(4, 0.001)]
    assert marks(plot_head_gradients_with_overlays(NORMS, vulnerable_threshold=0.0).axes[0], "vulnerable") == []
    named = plot_head_gradients_with_overlays(NORMS, vulnerable_heads=[(0, 0)], revived_heads=[(1, 2)]).axes[0]
    assert marks(named, "vulnerable") == [(0, 0.5)]
    assert marks(named, "revived") == [(5, 0.2)]
    assert (colour_of(named, "vulnerable"), colour_of(named, "revived")) == ("#332288", "#56b4e9")


def test_the_threshold_is_drawn_where_it_lies_and_named():
    figure = plot_head_gradients_with_overlays(NORMS, vulnerable_threshold=0.025)
    (line,) = [each for each in figure.axes[0].lines if str(each.get_label()).startswith("threshold")]
    assert set(line.get_ydata()) == {0.025}
    assert "threshold 0.025" in words(figure)


def test_layers_are_named_beneath_the_middle_of_their_bars():
    axes = plot_head_gradients_with_overlays({2: [1.0, 2.0, 3.0], 5: [1.0, 2.0, 3.0]}).axes[0]
    assert list(axes.get_xticks()) == [1.0, 4.0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2", "5"]


@pytest.mark.parametrize(
    "norms", [np.zeros((2, 2)), np.full((2, 2), 0.3), [[np.nan, 1.0]], [[1e-30, 1e30]], [[-1.0, 2.0]], [[np.inf, 1.0]]]
)
def test_flat_missing_and_extreme_norms_have_bars_within_the_axis(norms):
    axes = plot_head_gradients_with_overlays(norms, vulnerable_heads=[(0, 0)]).axes[0]
    low, high = axes.get_ylim()
    assert low < high
    ends = heights(axes)[:, 1]
    assert ((ends >= low) & (ends <= high)).all()


def test_96_layers_of_128_heads_can_be_seen_head_by_head():
    norms = RNG.lognormal(-4, 1, (96, 128))
    axes = plot_head_gradients_with_overlays(norms, pruned_heads=[(0, 0), (95, 127)]).axes[0]
    np.testing.assert_allclose(heights(axes)[:, 1], norms.ravel())
    assert marks(axes, "pruned") == [(0, norms[0, 0]), (96 * 128 - 1, norms[-1, -1])]


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf")])
def test_a_threshold_that_is_no_norm_is_refused(wrong):
    with pytest.raises(SettingNotUsable, match="vulnerable_threshold"):
        plot_head_gradients_with_overlays(NORMS, vulnerable_threshold=wrong)


@pytest.mark.parametrize("draw", [visualize_gradient_norms, visualize_head_gradients])
def test_gradient_maps_hold_the_norms(draw):
    figure = draw(NORMS)
    np.testing.assert_array_equal(values_of(figure.axes[0]), NORMS)
    assert bar_label(figure) == "gradient norm"


def points(axes) -> tuple[np.ndarray, np.ndarray]:
    (drawn,) = axes.collections
    return np.asarray(drawn.get_offsets()), np.asarray(drawn.get_array())


def test_a_point_for_every_head_in_the_colour_of_its_layer():
    entropy = RNG.random((3, 4))
    norms = RNG.random((3, 4))
    figure = visualize_entropy_vs_gradient(entropy, norms)
    places, layers = points(figure.axes[0])
    np.testing.assert_array_equal(places, np.column_stack([entropy.ravel(), norms.ravel()]))
    np.testing.assert_array_equal(layers, np.repeat([0, 1, 2], 4))
    assert bar_label(figure) == "layer"
    (low, high), (left, right) = figure.axes[0].get_ylim(), figure.axes[0].get_xlim()
    assert low <= norms.min() <= norms.max() <= high
    assert left <= entropy.min() <= entropy.max() <= right


def test_the_rank_correlation_is_that_of_the_ranks():
    entropy = np.array([[1.0, 2.0, 3.0, 4.0]])
    assert any("correlation 1.00 over 4 heads" in text for text in words(visualize_entropy_vs_gradient(entropy, np.exp(entropy))))
    assert any("correlation -1.00" in text for text in words(visualize_entropy_vs_gradient(entropy, 1 / entropy)))
    assert not any("correlation" in text for text in words(visualize_entropy_vs_gradient(entropy, entropy * 0)))


def test_heads_without_both_numbers_are_left_out_and_counted():
    figure = visualize_entropy_vs_gradient([[1.0, np.nan, 3.0]], [[1.0, 2.0, np.inf]])
    places, _ = points(figure.axes[0])
    assert places.tolist() == [[1.0, 1.0]]
    assert any("2 heads without a value" in text for text in words(figure))


def test_grids_of_other_shapes_are_refused_with_both_shapes():
    with pytest.raises(SettingNotUsable, match=r"2 × 1 .*1 × 2"):
        visualize_entropy_vs_gradient([[1.0, 2.0]], [[1.0], [2.0]])
