"""Histories: thinned without losing an extreme, drawn without clipping one."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.lines import smoothed, thinned
from neural_plasticity.figures.training import visualize_training_progress
from tests.figures.examples import HISTORY
from tests.figures.reading import curve, line, posts, titled, words


def test_every_column_is_drawn_over_its_steps():
    figure = visualize_training_progress(HISTORY)
    for panel, label, key in (
        ("loss", "train", "train_loss"),
        ("perplexity", "perplexity", "perplexity"),
        ("heads", "pruned", "pruned_heads"),
        ("heads", "revived", "revived_heads"),
        ("sparsity", "sparsity", "sparsity"),
    ):
        steps, values = curve(titled(figure, panel), label)
        np.testing.assert_array_equal(steps, HISTORY["step"])
        np.testing.assert_array_equal(values, HISTORY[key])


def test_what_is_measured_now_and_then_is_joined_at_its_steps():
    steps, values = curve(titled(visualize_training_progress(HISTORY), "loss"), "eval")
    assert steps.tolist() == [20, 40]
    assert values.tolist() == [3.1, 2.6]


def test_numbers_that_are_missing_among_many_leave_a_gap():
    loss = [5.0, 4.0, np.nan, 3.0, 2.0]
    steps, values = curve(visualize_training_progress({"train_loss": loss}).axes[0], "train")
    assert steps.tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(values, loss)


def test_heads_have_the_colours_of_their_states_and_change_in_steps():
    axes = titled(visualize_training_progress(HISTORY), "heads")
    assert line(axes, "pruned").get_color() == "#D55E00"
    assert line(axes, "revived").get_color() == "#56B4E9"
    assert line(axes, "pruned").get_drawstyle() == "steps-post"
    assert axes.get_ylim()[0] == 0


def test_epochs_begin_at_the_steps_where_they_began_also_where_these_are_not_drawn():
    steps = np.arange(0, 5000, 5)
    history = {"step": steps, "epoch": steps / 1234, "train_loss": np.sin(steps)}
    figure = visualize_training_progress(history, max_display_points=10)
    assert posts(figure.axes[0]) == [1235, 2470, 3705, 4940]
    assert "epoch 1" in words(figure)


@pytest.mark.parametrize("kind", ["dict", "rows", "table", "unsorted", "heads by name"])
def test_histories_come_in_many_kinds(kind):
    rows = [dict(zip(HISTORY, row, strict=True)) for row in zip(*HISTORY.values(), strict=True)]
    history = {
        "dict": HISTORY,
        "rows": rows,
        "table": pd.DataFrame(HISTORY),
        "unsorted": rows[::-1],
        "heads by name": HISTORY | {"pruned_heads": [[], [(0, 1)], [(0, 1), (1, 1)], {(0, 1), (1, 1)}]},
    }[kind]
    figure = visualize_training_progress(history)
    steps, values = curve(titled(figure, "heads"), "pruned")
    assert steps.tolist() == [10, 20, 30, 40]
    assert values.tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize("empty", [{}, [], None, {"step": [], "train_loss": []}, {"train_loss": [None, None]}, {"loss": [1.0]}])
def test_an_empty_history_says_that_it_is_empty(empty):
    assert "nothing recorded yet" in words(visualize_training_progress(empty))


def test_optional_columns_may_be_missing():
    figure = visualize_training_progress({"perplexity": [9.0, 8.0]})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["perplexity"]


def test_perplexities_of_500_to_900_stand_upright_and_whole():
    axes = titled(visualize_training_progress(HISTORY), "perplexity")
    low, high = axes.get_ylim()
    assert low < 500 < 900 < high
    assert axes.get_yscale() == "linear"


@given(
    arrays(
        np.float64, st.integers(1, 60), elements=st.one_of(st.floats(-1e9, 1e9), st.sampled_from([0.0, 3.0, np.nan, np.inf, 1e6]))
    ),
    st.sampled_from(["train_loss", "perplexity", "pruned_heads", "sparsity"]),
)
@settings(max_examples=20, phases=(Phase.explicit, Phase.generate))
def test_no_number_is_ever_clipped_and_no_axis_inverted(values, key):
    axes = visualize_training_progress({key: values}).axes[0]
    low, high = axes.get_ylim()
    assert low < high
    known = values[np.isfinite(values)]
    assert ((known >= low) & (known <= high)).all()
    infinite = [each for each in axes.lines if each.get_label() == "infinite"]
    assert sum(len(each.get_xdata()) for each in infinite) == np.isposinf(values).sum()


def test_one_spike_does_not_flatten_the_rest():
    loss = np.append(np.linspace(3, 2, 50), 1e5)
    axes = visualize_training_progress({"train_loss": loss}).axes[0]
    assert axes.get_yscale() == "log"
    pixels = axes.transData.transform(np.column_stack([np.arange(51), loss]))[:, 1]
    assert pixels[0] - pixels[49] > 5


@given(arrays(np.float64, st.integers(0, 400), elements=st.floats(-1e6, 1e6) | st.just(np.nan)), st.integers(2, 120))
def test_thinning_keeps_the_extremes_the_order_and_the_number(values, most):
    kept = thinned(values, most)
    assert len(kept) <= most or len(kept) == len(values) <= most
    assert kept == sorted(set(kept))
    known = values[~np.isnan(values)]
    if known.size:
        assert np.nanmin(values[kept]) == known.min()
        assert np.nanmax(values[kept]) == known.max()
    if most >= 5 and len(values):
        assert {kept[0], kept[-1]} == {0, len(values) - 1}


def test_a_long_history_is_thinned_with_its_spikes_in_place():
    loss = np.sin(np.arange(10_000) / 700)
    loss[[1234, 8765]] = 9.0, -9.0
    steps, values = curve(visualize_training_progress({"step": np.arange(10_000), "train_loss": loss}).axes[0], "train")
    assert len(steps) <= 100
    assert dict(zip(steps, values, strict=True))[1234] == 9
    assert dict(zip(steps, values, strict=True))[8765] == -9
    np.testing.assert_array_equal(values, loss[steps.astype(int)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": [1, 2], "train_loss": [1.0]},
        {"step": [1, np.nan], "train_loss": [1.0, 2.0]},
        {"train_loss": ["a"]},
        "text",
        7,
        [1, 2],
    ],
)
def test_histories_that_do_not_fit_are_refused(wrong):
    with pytest.raises(SettingNotUsable, match="metrics_history"):
        visualize_training_progress(wrong)


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True])
def test_a_number_of_points_must_be_one(wrong):
    with pytest.raises(SettingNotUsable, match="max_display_points"):
        visualize_training_progress(HISTORY, wrong)


@given(arrays(np.float64, st.integers(0, 30), elements=st.floats(-100, 100) | st.just(np.nan)), st.sampled_from([1, 3, 5, 9, 51]))
def test_smoothing_is_the_mean_of_the_neighbours_that_there_are(values, window):
    half = window // 2
    for place, value in enumerate(smoothed(values, window)):
        near = values[max(0, place - half) : place + half + 1]
        near = near[~np.isnan(near)]
        np.testing.assert_allclose(value, near.mean() if near.size else np.nan, atol=1e-9)
