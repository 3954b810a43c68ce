"""Settling, held to lines drawn by numpy and to losses whose end is known."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.training.stabilisation import DOUBT, FARTHEST, PATIENCE, SHARED, WINDOW, Settling, stabilisation

CHECKLIST_KEYS = {
    "losses",
    "smoothed_losses",
    "total_steps",
    "duration",
    "initial_loss",
    "final_loss",
    "improvement_percent",
    "is_stable",
    "stabilization_step",
    "segment_analysis",
}
STEPS = np.arange(400)


def noise(share: float, steps: int = 400, seed: int = 0):
    return 1 + share * np.random.default_rng(seed).standard_normal(steps)


def first_stable(losses, **options) -> int | None:
    settling = Settling(**options)
    return next((step for step, loss in enumerate(losses, 1) if settling.add(loss)), None)


def brute_force(losses, window=WINDOW, tolerance=0.01, patience=PATIENCE) -> bool:
    """The rule again, from the losses so far at each of the last steps, with numpy's own lines and their covariance."""

    def level(so_far) -> bool:
        medians = [float(np.median(so_far[at - 2 : at + 1])) for at in range(2, len(so_far))][-FARTHEST * window :]
        for times in (1, 1.5, 2, 3, 4, 6, 8, 12, 16):
            length = int(times * window)
            if length > len(medians):
                return False
            recent = np.array(medians[-length:])
            (slope, _), covariance = np.polyfit(np.arange(length), recent, 1, cov=True)
            change, doubt = abs(slope) * window, DOUBT * math.sqrt(SHARED * covariance[0, 0]) * window
            allowed = tolerance * abs(recent.mean())
            if change + doubt <= allowed or change - doubt > allowed:
                return bool(change + doubt <= allowed)
        return False

    return len(losses) >= patience and all(level(losses[: len(losses) - back]) for back in range(patience))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    share=st.floats(0.0005, 0.03),
    fall=st.floats(0, 1),
    pace=st.floats(3, 60),
    steps=st.integers(1, 150),
)
def test_the_verdict_is_that_of_lines_drawn_anew_at_every_step(seed, share, fall, pace, steps):
    losses = list((2 + fall * np.exp(-STEPS[:steps] / pace)) * noise(share, steps, seed))
    assert stabilisation(losses).is_stable == brute_force(losses)


@given(losses=st.lists(st.floats(0.1, 10), max_size=60) | st.lists(st.sampled_from([1.0, 1.001, 1.002, 5.0]), max_size=60))
def test_asked_after_every_loss_it_says_what_the_losses_so_far_say(losses):
    settling = Settling(window=5, patience=2)
    for count, loss in enumerate(losses, 1):
        told = settling.add(loss)
        whole = stabilisation(losses[:count], window=5, patience=2)
        assert (told, settling.step) == (whole.is_stable, whole.step)


@given(losses=st.lists(st.sampled_from([1.0, 1.001, 1.002, 5.0]), min_size=1, max_size=60))
def test_the_step_is_the_first_of_those_that_called_it_settled_ever_since(losses):
    verdicts = [stabilisation(losses[:count], window=4, patience=2).is_stable for count in range(1, len(losses) + 1)]
    unsettled = [step for step, verdict in enumerate(verdicts, 1) if not verdict]
    expected = max(unsettled, default=0) + 1 if verdicts[-1] else None
    assert stabilisation(losses, window=4, patience=2).step == expected


@pytest.mark.parametrize("level", [3.0, 0.0, 1e-9, -2.0])
def test_a_constant_loss_settles_as_soon_as_it_has_been_seen_long_enough(level):
    assert first_stable([level] * 200) == WINDOW + 2 + PATIENCE - 1


@pytest.mark.parametrize("seed", range(5))
def test_pure_noise_settles_and_the_noisier_it_is_the_later(seed):
    at = [first_stable(3 * noise(share, seed=seed)) for share in (0.002, 0.02, 0.05)]
    assert all(at)
    assert at[0] <= at[1] <= at[2]


def test_a_fall_that_ends_is_settled_after_its_end_and_not_before():
    at = first_stable((3 + np.exp(-STEPS / 15)) * noise(0.005))
    assert at is not None
    left = np.exp(-(at - WINDOW) / 15) / 3  # of the fall, when the last line began
    assert left < 0.02
    assert at < 150


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.0, 0.01, 0.04])
def test_a_slow_steady_fall_is_never_settled(share, seed):
    """By 2 % over a window of steps, twice the tolerance."""
    assert first_stable(3 * np.exp(-0.001 * STEPS) * noise(share, seed=seed)) is None


@pytest.mark.parametrize("share", [0.0, 0.01, 0.04])
def test_a_rising_loss_is_not_settled(share):
    assert first_stable(3 * np.exp(0.001 * STEPS) * noise(share)) is None


def test_a_staircase_whose_treads_are_shorter_than_a_look_is_never_settled_but_its_last_tread_is():
    treads = np.repeat([5.0, 4.5, 4.0, 3.6, 3.3, 3.0], WINDOW + 5)
    assert first_stable(treads) is None
    assert first_stable([*treads, *[3.0] * 60]) is not None


def test_a_loss_that_falls_again_is_settled_no_more():
    losses = [*[4.0] * 60, *(4.0 - 0.02 * STEPS[:60])]
    assert stabilisation(losses[:60]).is_stable
    assert not stabilisation(losses).is_stable
    assert stabilisation(losses).step is None


@pytest.mark.parametrize("odd", [0.0, 30.0, 1e6])
@pytest.mark.parametrize("at", [0, 15, 30, 31, 59, 99])
def test_one_loss_that_stands_alone_changes_nothing(odd, at):
    losses = list(3 * noise(0.002, 100))
    spiked = [*losses[:at], odd, *losses[at + 1 :]]
    assert stabilisation(losses).is_stable
    assert stabilisation(spiked).is_stable
    falling = list(3 * np.exp(-0.002 * STEPS[:100]))
    assert not stabilisation([*falling[:at], odd, *falling[at + 1 :]]).is_stable


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_refused_by_its_place(bad):
    with pytest.raises(SettingNotUsable, match="Loss 3 is"):
        stabilisation([1.0, 1.0, bad])


@pytest.mark.parametrize("options", [{"window": 3}, {"tolerance": 0.0}, {"tolerance": math.nan}, {"patience": 0}, {"window": 7.5}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(SettingNotUsable, match=next(iter(options))):
        Settling(**options)


@pytest.mark.parametrize("count", range(6))
def test_few_losses_have_a_shape_but_have_not_settled(count):
    found = stabilisation([2.0] * count)
    assert not found.is_stable
    assert found.smoothed == pytest.approx([2.0] * count)
    assert found.fit == pytest.approx([2.0] * count)
    assert len(found.segments) == min(5, count)


def test_smoothing_and_fit_leave_a_line_and_a_cubic_as_they_are():
    line, cubic = 5 - 0.01 * STEPS, 1e-7 * (STEPS - 200.0) ** 3 + 2
    assert np.allclose(stabilisation(list(line)).smoothed, line)
    assert np.allclose(stabilisation(list(cubic)).fit, cubic)


def test_segments_follow_each_other_and_have_the_slopes_that_are_there():
    found = stabilisation([*(5 - 0.1 * STEPS[:20]), *[3.0] * 80]).segments
    assert (found[0].start, found[-1].end) == (1, 100)
    assert all(one.end + 1 == other.start for one, other in pairwise(found))
    assert [each.slope for each in found] == pytest.approx([-0.1, 0, 0, 0, 0], abs=1e-12)
    assert [each.deviation for each in found] == pytest.approx([0] * 5, abs=1e-9)


def test_the_results_have_every_key_that_the_seeds_name():
    losses = [4.0, 3.5, *[3.0] * 60]
    results = stabilisation(losses).as_results(losses, 2.5)
    assert results.keys() >= CHECKLIST_KEYS
    assert (results["initial_loss"], results["final_loss"], results["improvement_percent"]) == (4.0, 3.0, 25.0)
    assert (results["total_steps"], results["duration"], results["is_stable"]) == (62, 2.5, True)
    assert results["stabilization_step"] == stabilisation(losses).step
    assert results["segment_analysis"][0]["start"] == 1
    assert math.isnan(stabilisation([]).as_results([], 0.0)["initial_loss"])


@pytest.mark.parametrize("seed", range(4))
def test_what_lies_behind_the_farthest_look_back_has_no_say_and_so_no_cost(seed):
    recent = list(noise(0.04, FARTHEST * WINDOW + 2 + PATIENCE, seed))
    verdicts = {stabilisation([*before, *recent]).is_stable for before in ([], [50.0] * 300, list(9 - 0.01 * STEPS))}
    assert len(verdicts) == 1
