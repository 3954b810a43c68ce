"""Warm-ups and whole experiments: every marker at its true step."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.phases import visualize_complete_training_process
from neural_plasticity.figures.warmup import visualize_warmup_dashboard
from neural_plasticity.training.stabilisation import stabilisation
from tests.figures.examples import PRUNING, TUNING, WARMUP
from tests.figures.reading import bars, curve, line, posts, titled, words

LOSSES = WARMUP["losses"]


def test_losses_trend_and_stabilisation_stand_at_their_steps():
    axes = titled(visualize_warmup_dashboard(WARMUP), "loss")
    steps, losses = curve(axes, "loss")
    assert steps.tolist() == [1, 2, 3, 4, 5, 6]
    assert losses.tolist() == LOSSES
    _, trend = curve(axes, "mean of 3 neighbours")
    np.testing.assert_allclose(trend[1:-1], [sum(LOSSES[i : i + 3]) / 3 for i in range(4)])
    assert posts(axes) == [4]
    (at,), (height,) = curve(axes, "stable")
    assert at == 4
    assert height == pytest.approx(trend[3])


def test_steps_that_are_named_are_those_that_are_drawn():
    axes = titled(visualize_warmup_dashboard(WARMUP | {"steps": [10, 20, 30, 40, 50, 60], "stabilization_step": 45}), "loss")
    assert curve(axes, "loss")[0].tolist() == [10, 20, 30, 40, 50, 60]
    assert posts(axes) == [45]


def test_results_of_our_own_detector_are_drawn_as_they_are():
    rng = np.random.default_rng(0)
    losses = (2 + 3 * np.exp(-np.arange(200) / 20) + rng.normal(0, 0.02, 200)).tolist()
    found = stabilisation(losses)
    figure = visualize_warmup_dashboard(found.as_results(losses, 12.5))
    np.testing.assert_allclose(curve(titled(figure, "loss"), "trend")[1], found.smoothed)
    np.testing.assert_allclose(curve(titled(figure, "polynomial fit"), "fit")[1], found.fit)
    assert posts(titled(figure, "loss")) == [found.step]
    stretches = titled(figure, "mean loss of each stretch")
    drawn = [(*each.get_xdata(), each.get_ydata()[0]) for each in stretches.lines]
    np.testing.assert_allclose(drawn, [(each.start, each.end, each.mean) for each in found.segments])
    assert {"12.5 s", "200", "yes"} <= set(words(figure))


def test_the_polynomial_is_the_one_of_least_squares():
    axes = titled(visualize_warmup_dashboard({"losses": LOSSES}), "polynomial fit")
    steps, fitted = curve(axes, "degree 3")
    np.testing.assert_allclose(fitted, np.polyval(np.polyfit(steps, LOSSES, 3), steps))


def test_stretches_without_an_analysis_are_four_of_as_many_losses():
    axes = titled(visualize_warmup_dashboard({"losses": [8.0, 6.0, 4.0, 4.0, 3.0, 3.0, 2.0, 4.0]}), "mean loss of each stretch")
    assert [each.get_ydata()[0] for each in axes.lines] == [7, 4, 3, 3]


def test_a_shorter_trend_ends_where_the_losses_end():
    axes = titled(visualize_warmup_dashboard({"losses": LOSSES, "smoothed_losses": [4.0, 3.5, 3.2, 3.0]}), "loss")
    np.testing.assert_array_equal(curve(axes, "trend")[1], [np.nan, np.nan, 4.0, 3.5, 3.2, 3.0])


@pytest.mark.parametrize(
    "results",
    [{}, {"losses": []}, {"losses": [3.0]}, {"losses": [3.0] * 9}, {"losses": [3.0, np.nan, 2.0]},
     {"losses": torch.tensor([3.0, 2.0])},
     {"losses": [np.nan, np.nan]}, {"losses": [2.0, np.inf]}, {"losses": [3.0, 2.0], "stabilization_step": 90, "is_stable": False}],
)  # fmt: skip
def test_short_flat_and_broken_warm_ups_can_be_drawn(results):
    figure = visualize_warmup_dashboard(results)
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert low < high
    if "stabilization_step" in results:
        assert posts(titled(figure, "loss")) == [90]


@pytest.mark.parametrize(
    "wrong",
    [None, [1.0], {"losses": "text"}, {"losses": [1.0], "steps": [1, 2]}, {"losses": [1.0], "smoothed_losses": [1.0, 2.0]},
     {"losses": [1.0], "polynomial_fit": [1.0, 2.0]}, {"losses": [1.0], "segment_analysis": [{"start": 1}]}],
)  # fmt: skip
def test_warm_ups_that_do_not_fit_are_refused(wrong):
    with pytest.raises(SettingNotUsable):
        visualize_warmup_dashboard(wrong)


def test_phases_that_count_for_themselves_follow_each_other():
    figure = visualize_complete_training_process({"warmup": WARMUP, "pruning": PRUNING, "fine_tuning": TUNING})
    course = titled(figure, "loss")
    assert curve(course, "warm-up")[0].tolist() == [1, 2, 3, 4, 5, 6]
    assert curve(course, "fine-tuning")[0].tolist() == [7, 8, 9]
    assert curve(course, "fine-tuning")[1].tolist() == TUNING["losses"]
    assert posts(course) == [1, 4, 6, 7]  # warm-up, stable, pruning, fine-tuning
    low, high = course.get_ylim()
    assert low < 3.0 < 5.0 < high


def test_phases_at_steps_of_the_whole_experiment_stay_there():
    tuning = {"step": [120, 130, 140], "train_loss": [3.4, 3.2, 3.1]}
    course = titled(visualize_complete_training_process({"warmup": WARMUP, "pruning": PRUNING, "fine_tuning": tuning}), "loss")
    assert curve(course, "fine-tuning")[0].tolist() == [120, 130, 140]
    assert posts(course) == [1, 4, 6, 120]


def test_cycles_each_have_a_pruning_and_a_fine_tuning():
    pruning = PRUNING | {"training_metrics": {"warm-up": LOSSES, "fine-tuning 1": [3.3, 3.2], "fine-tuning 2": [3.4, 3.1]}}
    course = titled(visualize_complete_training_process({"warmup": WARMUP, "pruning": pruning}), "loss")
    tuned = [each.get_xdata().tolist() for each in course.lines if each.get_label() == "fine-tuning"]
    assert tuned == [[7, 8], [9, 10]]
    assert posts(course) == [1, 4, 6, 7, 8, 9]


def test_an_experiment_with_results_is_as_good_as_dicts():
    ran = SimpleNamespace(warmup_results=WARMUP, pruning_results=PRUNING | {"training_metrics": {"fine-tuning": TUNING["losses"]}})
    figure = visualize_complete_training_process(ran)
    assert curve(titled(figure, "loss"), "fine-tuning")[1].tolist() == TUNING["losses"]


def test_details_statistics_and_summary_say_what_was_done():
    figure = visualize_complete_training_process({"warmup": WARMUP, "pruning": PRUNING, "fine_tuning": TUNING})
    by_layer = titled(figure, "heads by layer")
    assert bars(by_layer, "pruned") == [1, 2]
    assert bars(by_layer, "revived") == [0, 1]
    assert bars(titled(figure, "perplexity"), "perplexity") == [20, 30, 22]
    assert line(titled(figure, "fine-tuning"), "loss").get_ydata().tolist() == TUNING["losses"]
    assert {"combined", "0.2", "pruned", "3", "perplexity, baseline", "20", "perplexity, fine-tuned", "22"} <= set(words(figure))


def test_a_quote_and_quiet_are_there_when_asked_for():
    loud = visualize_complete_training_process({"warmup": WARMUP}, show_quote=True)
    assert any("comes back" in text for text in words(loud))
    assert loud._repr_png_() is not None
    assert visualize_complete_training_process({"warmup": WARMUP}, show_plot=False)._repr_png_() is None


@pytest.mark.parametrize(
    "part", [{"warmup": {}}, {"pruning": {}}, {"warmup": WARMUP}, {"pruning": PRUNING}, {"fine_tuning": TUNING}]
)
def test_experiments_may_be_unfinished(part):
    assert visualize_complete_training_process(part).drawn("png")


@pytest.mark.parametrize("wrong", [{}, None, 7, {"warm": WARMUP}, {"warmup": [1.0]}, {"pruning": {"pruned_heads": [1, 2]}}])
def test_what_is_no_experiment_is_refused(wrong):
    with pytest.raises(SettingNotUsable):
        visualize_complete_training_process(wrong)
