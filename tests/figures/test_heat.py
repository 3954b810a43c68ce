"""Heat maps read back: the numbers, the colours, the annotations and the marks."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from matplotlib.colors import to_hex, to_rgb

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.canvas import Look
from neural_plasticity.figures.coerce import grid_of
from neural_plasticity.figures.entropy import visualize_entropy_heatmap, visualize_normalized_entropy
from neural_plasticity.figures.gradients import visualize_gradient_norms
from neural_plasticity.figures.heat import Overlay, Shades, draw_grid, heat_figure
from neural_plasticity.figures.scale import colours_of
from neural_plasticity.figures.theme import MARKS
from neural_plasticity.heads import HeadId, HeadState
from tests.figures.reading import bar_label, colour_of, limits_of, marks, values_of, words

RNG = np.random.default_rng(0)
MODEL = RNG.gamma(3.0, 0.6, (4, 6))


def numbers_in(axes) -> dict[tuple[int, int], str]:
    return {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in axes.texts}


def test_cells_hold_the_numbers_and_the_colour_bar_says_what_they_are():
    figure = visualize_entropy_heatmap(MODEL)
    np.testing.assert_array_equal(values_of(figure.axes[0]), MODEL)
    assert limits_of(figure.axes[0]) == (0.0, MODEL.max())
    assert bar_label(figure) == "entropy (nats)"
    assert figure.axes[0].get_xlabel() == "head"
    assert figure.axes[0].get_ylabel() == "layer"


def test_layers_go_downwards_and_heads_to_the_right():
    figure = visualize_entropy_heatmap({3: [1.0, 2.0], 9: [3.0, 4.0]})
    axes = figure.axes[0]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row on top
    assert [text.get_text() for text in axes.get_yticklabels()] == ["3", "9"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1"]


def test_annotations_are_the_numbers_in_their_cells():
    axes = visualize_entropy_heatmap(MODEL).axes[0]
    assert numbers_in(axes) == {place: f"{value:.2f}" for place, value in np.ndenumerate(MODEL)}
    assert not visualize_entropy_heatmap(MODEL, annotate=False).axes[0].texts


@pytest.mark.parametrize(
    ("largest", "said"),
    [(3e-7, "3e-7"), (0.02, "0.0200"), (0.3, "0.300"), (7.0, "7.00"), (31.0, "31.0"), (512.0, "512"), (2e7, "2e7")],
)
def test_annotations_have_as_many_digits_as_tell_them_apart(largest, said):
    assert said in words(visualize_gradient_norms([[largest, largest / 2]]))


def test_annotations_are_black_or_white_by_contrast():
    axes = visualize_entropy_heatmap(MODEL).axes[0]
    image = axes.images[0]
    for text in axes.texts:
        column, row = text.get_position()
        ground = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
            for part in image.cmap(image.norm(MODEL[row, column]))[:3]
        ]
        light = np.dot(ground, [0.2126, 0.7152, 0.0722])
        ink = 1.0 if to_hex(text.get_color()) == "#ffffff" else 0.0
        contrast = (max(light, ink) + 0.05) / (min(light, ink) + 0.05)
        assert contrast >= 4.5  # what the web's guidelines ask of small letters


@pytest.mark.parametrize("figsize", [None, (3.4, 2.6)])
def test_annotations_fit_their_cells_or_are_left_out(figsize):
    for shape in ((1, 1), (6, 8), (12, 12), (24, 16), (96, 128)):
        figure = visualize_entropy_heatmap(RNG.random(shape), figsize=figsize)
        figure.canvas.draw()
        renderer, axes = figure.canvas.get_renderer(), figure.axes[0]
        cell = axes.get_window_extent().width / shape[1], axes.get_window_extent().height / shape[0]
        for text in axes.texts:
            box = text.get_window_extent(renderer)
            assert box.width <= cell[0]
            assert box.height <= cell[1]
            assert text.get_fontsize() >= 5.5
        assert bool(axes.texts) == (shape[0] <= (24 if figsize is None else 8))


@pytest.mark.parametrize("figsize", [None, (3.4, 2.6)])
def test_96_layers_of_128_heads_have_ticks_apart_at_round_numbers(figsize):
    figure = visualize_gradient_norms(RNG.random((96, 128)), [(95, 127)], figsize=figsize)
    figure.canvas.draw()
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        labels = axis.get_ticklabels()
        boxes = [label.get_window_extent() for label in labels]
        assert 4 <= len(labels) <= 50
        assert not any(one.overlaps(other) for one, other in pairwise(boxes))
        steps = {int(b.get_text()) - int(a.get_text()) for a, b in pairwise(labels)}
        assert len(steps) == 1
    assert marks(figure.axes[0], "pruned") == [(127, 95)]


def test_gaps_are_hatched_and_said_to_be_gaps():
    values = np.array([[1.0, np.nan], [np.inf, 2.0]])
    figure = visualize_entropy_heatmap(values)
    axes = figure.axes[0]
    np.testing.assert_array_equal(values_of(axes), [[1.0, np.nan], [np.nan, 2.0]])
    assert axes.images[0].cmap(np.ma.masked)[3] == 0  # one sees through to the hatches
    assert axes.patch.get_hatch()
    assert "no value" in words(figure)
    assert "no value" not in words(visualize_entropy_heatmap([[1.0, 2.0]]))


def test_a_grid_of_gaps_alone_can_be_drawn():
    assert np.isnan(values_of(visualize_gradient_norms(np.full((2, 2), np.nan)).axes[0])).all()


def test_marks_stand_over_their_heads_in_the_colours_of_their_states():
    figure = visualize_gradient_norms(MODEL, [(0, 1), (3, 5)], [(3, 5)])
    axes = figure.axes[0]
    assert marks(axes, "pruned") == [(1, 0), (5, 3)]
    assert marks(axes, "revived") == [(5, 3)]
    assert (colour_of(axes, "pruned"), colour_of(axes, "revived")) == ("#d55e00", "#56b4e9")
    assert {"pruned", "revived"} <= set(words(figure))
    assert marks(visualize_gradient_norms({4: [1.0], 8: [2.0]}, [(8, 0)]).axes[0], "pruned") == [(0, 1)]


@pytest.mark.parametrize("theme", ["light", "dark", "paper"])
def test_every_state_keeps_its_colour_and_marker_in_every_theme(theme):
    wanted = {"active": "#332288", "dormant": "#8a8a8a", "removed": "#d55e00", "revived": "#56b4e9", "grown": "#f0e442"}
    assert set(wanted) == set(HeadState)
    look = Look.of(theme=theme)
    grid = grid_of([[1.0] * 5], "x")
    figure, axes = heat_figure(grid, look)
    overlays = [Overlay(state, [HeadId(0, place)]) for place, state in enumerate(wanted)]
    draw_grid(axes, grid, Shades(colours_of(grid.values), look.map("viridis"), "x"), overlays)
    figure.finished(look)
    assert {state: colour_of(axes, state) for state in wanted} == wanted
    assert len({MARKS[state].marker for state in wanted}) == 5


def test_marks_in_cells_with_numbers_stay_in_the_cell_and_off_the_number():
    figure = visualize_gradient_norms(MODEL, [(1, 2)], [(1, 2)])
    figure.canvas.draw()
    axes = figure.axes[0]
    (number,) = [text for text in axes.texts if text.get_position() == (2, 1)]
    corner, opposite = axes.transData.transform([(1.5, 1.5), (2.5, 0.5)])
    for drawn in axes.collections:
        (place,) = drawn.get_offset_transform().transform(drawn.get_offsets())
        radius = np.sqrt(drawn.get_sizes()[0]) / 2 * figure.dpi / 72
        assert (place - radius >= corner).all()
        assert (place + radius <= opposite).all()
        box = number.get_window_extent()
        assert not (box.x0 < place[0] < box.x1 and box.y0 < place[1] < box.y1)


def test_colours_leave_out_what_is_far_off_and_say_so():
    values = np.append(RNG.random(63), 1000.0).reshape(8, 8)
    figure = visualize_gradient_norms(values)
    assert limits_of(figure.axes[0])[1] == np.sort(values.ravel())[-2]
    assert figure.axes[0].images[0].colorbar.extend == "max"
    assert values_of(figure.axes[0]).max() == 1000
    assert "1e3" in words(figure) or "1000" in words(figure)


def test_numbers_with_a_sign_have_0_in_the_middle_of_their_colours():
    figure = visualize_gradient_norms([[-2.0, 1.0], [0.5, 0.0]])
    low, high = limits_of(figure.axes[0])
    assert (low, high) == (-2, 2)
    middle = figure.axes[0].images[0].cmap(0.5)
    assert min(middle[:3]) > 0.9


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.floats(-1e300, 1e300)), st.booleans())
@settings(max_examples=200)
def test_limits_of_colours_are_in_order_and_name_every_side_with_values_beyond(values, signed):
    limits = colours_of(values, signed=signed)
    assert limits.low < limits.high
    slack = 1e-6 * (limits.high - limits.low)
    assert (values < limits.low - slack).any() <= (limits.beyond in ("min", "both"))
    assert (values > limits.high + slack).any() <= (limits.beyond in ("max", "both"))
    inside = ((values >= limits.low - slack) & (values <= limits.high + slack)).mean()
    assert inside >= 0.5 or signed


def test_the_scale_of_entropy_begins_where_it_is_told_to():
    assert limits_of(visualize_entropy_heatmap(MODEL, min_value=0.5).axes[0]) == (0.5, MODEL.max())
    assert limits_of(visualize_entropy_heatmap(MODEL, min_value=None).axes[0]) == (MODEL.min(), MODEL.max())
    flat = visualize_entropy_heatmap(np.zeros((2, 2))).axes[0]
    assert limits_of(flat) == (0.0, 1.0)


def test_uniform_causal_attention_has_all_the_entropy_there_can_be():
    keys = 7
    uniform = np.tril(np.ones((keys, keys))) / np.arange(1, keys + 1)[:, None]
    entropy = -sum(p * np.log(p) for p in uniform.ravel() if p > 0) / keys
    axes = visualize_normalized_entropy([[entropy, 0.0]], keys=keys).axes[0]
    np.testing.assert_allclose(values_of(axes), [[100, 0]])
    assert limits_of(axes) == (0, 100)
    assert numbers_in(axes) == {(0, 0): "100", (0, 1): "0"}
    np.testing.assert_allclose(values_of(visualize_normalized_entropy([[np.log(9)]], keys=9, causal=False).axes[0]), [[100]])


def test_the_most_possible_entropy_may_be_one_number_or_one_a_head():
    np.testing.assert_allclose(values_of(visualize_normalized_entropy([[1.0, 2.0]], 4.0).axes[0]), [[25, 50]])
    np.testing.assert_allclose(values_of(visualize_normalized_entropy([[1.0, 2.0]], [[2.0, 2.0]]).axes[0]), [[50, 100]])
    above = visualize_normalized_entropy([[3.0]], 2.0).axes[0]
    assert limits_of(above) == (0, 100)
    assert numbers_in(above) == {(0, 0): "150"}


@pytest.mark.parametrize(
    "most",
    [
        {},
        {"max_entropy": 0.0},
        {"max_entropy": -1},
        {"max_entropy": [[1.0]]},
        {"keys": 0},
        {"keys": 1},
        {"max_entropy": 1, "keys": 2},
    ],
)
def test_a_most_that_is_no_most_is_refused(most):
    with pytest.raises(SettingNotUsable):
        visualize_normalized_entropy([[1.0, 2.0]], **most)


def test_colours_of_marks_are_what_they_are_called():
    assert to_rgb(MARKS["vulnerable"].colour) == to_rgb(MARKS["active"].colour)
    assert MARKS["pruned"].colour == MARKS["removed"].colour
