"""Figures of a run, read back: each shows the numbers that were recorded, at the steps, cycles and heads they belong to."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from neural_plasticity.figures.catalogue import CATALOGUE, figure
from neural_plasticity.figures.theme import MARKS
from neural_plasticity.record import Attention, HeadsMeasured, Run, Writer
from tests.figures import runs
from tests.figures.reading import bars, colour_of, curve, limits_of, line, marks, posts, shown, titled, values_of, words


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return runs.recorded(tmp_path_factory.mktemp("runs") / "told")


def panels(drawn):
    return [axes for axes in drawn.axes if axes.images]


@pytest.mark.parametrize("cycle", [1, 2])
def test_maps_of_one_cycle_show_what_was_measured_in_it(run, cycle):
    for name, grid in (
        ("entropy", runs.ENTROPY),
        ("gradient", runs.GRADIENT),
        ("normalized_entropy", {each: 100 * grid / 3 for each, grid in runs.ENTROPY.items()}),
        ("ablation", {each: grid - 0.3 for each, grid in runs.TAYLOR.items()}),
    ):
        drawn = figure(run, name, cycle=cycle)
        np.testing.assert_allclose(values_of(drawn.axes[0]), grid[cycle], rtol=1e-6)
        assert any(f"cycle {cycle}" in text for text in words(drawn))


def test_without_a_cycle_it_is_the_last(run):
    np.testing.assert_allclose(values_of(figure(run, "entropy").axes[0]), runs.ENTROPY[2], rtol=1e-6)


def test_the_silence_of_a_head_that_harms_lies_on_the_other_side_of_0(run):
    low, high = limits_of(figure(run, "ablation", cycle=1).axes[0])
    assert low == pytest.approx(-high)
    assert low < 0 < high


@pytest.mark.parametrize("name", ["gradient", "entropy", "normalized_entropy"])
def test_maps_of_a_cycle_mark_who_went_in_it_who_slept_and_who_came_back(run, name):
    first, second = (figure(run, name, cycle=cycle) for cycle in (1, 2))
    at = {state: marks(first.axes[0], state) for state in ("pruned", "dormant", "revived")}
    assert at == {"pruned": [(0, 0), (1, 1)], "dormant": [], "revived": []}
    at = {state: marks(second.axes[0], state) for state in ("pruned", "dormant", "revived")}
    assert at == {"pruned": [(1, 0)], "dormant": [(1, 1)], "revived": [(0, 0)]}
    assert any(said.startswith("measured as the cycle began") for said in words(first))


def test_heads_that_nothing_befell_bear_no_marks(tmp_path):
    drawn = figure(runs.only_measured(tmp_path / "looked"), "entropy")
    assert not drawn.axes[0].collections
    assert not any("cycle" in said for said in words(drawn))
    assert not any("cycle" in said for said in words(figure(tmp_path / "looked", "maps")))


def test_measures_beside_each_other_are_of_the_same_cycle(tmp_path):
    with Writer(tmp_path / "run", {"settings": {"model": "small"}}) as writer:
        for cycle, signals in ((1, ("taylor", "entropy", "gradient")), (2, ("taylor", "entropy"))):
            grids = {"taylor": runs.TAYLOR[cycle], "entropy": runs.ENTROPY[cycle], "gradient": runs.GRADIENT[cycle]}
            writer.write(HeadsMeasured(signals=signals, cycle=cycle), {name: grids[name] for name in signals})
    run = Run(tmp_path / "run")
    assert [axes.get_title(loc="left") for axes in panels(figure(run, "importance"))] == ["taylor"]
    assert len(panels(figure(run, "importance", cycle=1))) == 2
    both = figure(run, "importance", signals=["taylor", "gradient"])
    np.testing.assert_allclose(values_of(titled(both, "taylor")), runs.TAYLOR[1], rtol=1e-6)
    points = figure(run, "entropy_vs_gradient").axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(points[:, 0], runs.ENTROPY[1].ravel(), rtol=1e-6)


def test_attention_that_belongs_to_no_cycle_names_none(tmp_path):
    with Writer(tmp_path / "run", {"settings": {"model": "small"}}) as writer:
        for stage, cycle in (("before", None), ("fine_tuned", None), ("pruned", 2), ("fine_tuned", 2), ("other", 1)):
            maps = {str(runs.HELD): runs.MAPS[1]}
            writer.write(Attention(heads=(runs.HELD,), tokens=runs.TOKENS, stage=stage, cycle=cycle), maps)
    found = [axes.get_title(loc="left") for axes in panels(figure(Run(tmp_path / "run"), "attention_change"))]
    assert found == ["before", "fine-tuned", "pruned in cycle 2", "after cycle 2", "other", "last less first"]


def test_importance_has_a_map_for_each_measure(run):
    drawn = figure(run, "importance", cycle=1)
    np.testing.assert_allclose(values_of(titled(drawn, "taylor")), runs.TAYLOR[1], rtol=1e-6)
    np.testing.assert_allclose(values_of(titled(drawn, "gradient")), runs.GRADIENT[1], rtol=1e-6)
    only = figure(run, "importance", signals=["entropy"])
    np.testing.assert_allclose(values_of(titled(only, "entropy")), runs.ENTROPY[2], rtol=1e-6)


def test_entropy_stands_across_and_gradient_upwards(run):
    points = figure(run, "entropy_vs_gradient", cycle=1).axes[0].collections[0].get_offsets()
    expected = np.stack([runs.ENTROPY[1].ravel(), runs.GRADIENT[1].ravel()], 1)
    np.testing.assert_allclose(points, expected, rtol=1e-6)


def test_decisions_show_the_signal_that_decided_and_the_recorded_reasons(run):
    drawn = figure(run, "pruning_decisions", cycle=1)
    np.testing.assert_allclose(values_of(drawn.axes[0]), runs.TAYLOR[1], rtol=1e-6)
    assert marks(drawn.axes[0], "pruned") == [(0, 0), (1, 1)]
    assert {runs.reason("prune", head, 1) for head in runs.CHANGES[1]["prune"]} <= set(words(drawn))
    assert drawn.axes[1].get_ylabel() == "taylor"


def test_losses_stand_at_steps_counted_over_the_whole_run(run):
    loss = titled(figure(run, "training_progress"), "loss")
    steps, losses = curve(loss, "train")
    known = np.isfinite(losses)
    every = dict(zip(steps[known].tolist(), losses[known].tolist(), strict=True))
    assert every == dict(enumerate([*runs.WARM, *runs.TUNED[1], *runs.TUNED[2]], 1))
    steps, losses = curve(loss, "eval")
    judged = [("baseline", 0), ("warm", 3), ("pruned 1", 3), ("fine_tuned 1", 5), ("pruned 2", 5), ("fine_tuned 2", 7)]
    assert steps.tolist() == [step for _, step in judged]
    np.testing.assert_allclose(losses, [np.log(runs.PERPLEXITY[stage]) for stage, _ in judged])


def test_heads_are_counted_where_they_were_pruned(run):
    drawn = figure(run, "training_progress")
    steps, pruned = curve(titled(drawn, "heads"), "pruned")
    assert dict(zip(steps.tolist(), pruned.tolist(), strict=True)) == {0: 0, 3: 2, 5: 2, 7: 2}
    steps, back = curve(titled(drawn, "heads"), "revived")
    assert dict(zip(steps.tolist(), back.tolist(), strict=True)) == {0: 0, 3: 0, 5: 1, 7: 1}
    assert curve(titled(drawn, "sparsity"), "sparsity")[1].max() == pytest.approx(1 / 3)


def test_the_warm_up_ends_where_the_record_says_that_it_settled(run):
    drawn = figure(run, "warmup")
    assert curve(titled(drawn, "loss"), "loss")[1].tolist() == runs.WARM
    assert posts(titled(drawn, "loss")) == [3]
    assert line(titled(drawn, "loss"), "stable").get_xdata().tolist() == [3]


def test_the_whole_run_has_every_phase_and_its_perplexities(run):
    drawn = figure(run, "complete")
    tuned = [each.get_ydata().tolist() for each in titled(drawn, "loss").lines if each.get_label() == "fine-tuning"]
    assert tuned == [runs.TUNED[1], runs.TUNED[2]]
    assert bars(titled(drawn, "perplexity"), "perplexity") == [18, 40, 29]
    assert bars(titled(drawn, "heads by layer"), "pruned") == [1, 1]
    assert bars(titled(drawn, "heads by layer"), "revived") == [1, 0]


def lives(axes):
    """The stretches of each head by state: (from, to) by row."""
    found = {}
    for each in axes.collections:
        if isinstance(each, LineCollection):
            for (begin, row), (end, _) in each.get_segments():
                found.setdefault(int(row), []).append((each.get_label().removeprefix("_"), begin, end))
    return {row: sorted(stretches, key=lambda each: each[1]) for row, stretches in found.items()}


def test_life_lines_change_at_the_cycles_in_which_heads_did(run):
    drawn = figure(run, "life")
    axes = drawn.axes[0]
    assert lives(axes) == {
        0: [("active", 0, 1), ("dormant", 1, 2), ("revived", 2, 2.5)],
        1: [("active", 0, 2), ("dormant", 2, 2.5)],
        2: [("active", 0, 2.5)],
        3: [("active", 0, 2.5)],
        4: [("active", 0, 1), ("dormant", 1, 2.5)],
        5: [("active", 0, 2.5)],
    }
    assert marks(axes, "pruned") == [(1, 0), (2, 1), (1, 4)]
    assert marks(axes, "revived") == [(2, 0)]
    assert colour_of(axes, "pruned") == MARKS["pruned"].colour.lower()
    assert colour_of(axes, "revived") == MARKS["revived"].colour.lower()
    said = " ".join(words(drawn))
    assert "revived in 2: revive 0.0 for reason 2" in said
    assert "pruned in 2: prune 0.1 for reason 2" in said
    assert "2 of 6 heads sleep at the end; 1 came back" in said


def test_of_many_heads_those_that_changed_are_shown(run):
    drawn = figure(run, "life", most=2)
    assert set(lives(drawn.axes[0])) == {0, 1}
    assert "2 of those that changed are shown" in " ".join(words(drawn))
    names = {label.get_text() for label in drawn.axes[0].get_yticklabels()}
    assert names == {"0.0", "0.1"}


def test_maps_of_all_cycles_share_their_colours_and_mark_the_states(run):
    first, second = panels(figure(run, "maps"))
    np.testing.assert_allclose(values_of(first), runs.TAYLOR[1], rtol=1e-6)
    np.testing.assert_allclose(values_of(second), runs.TAYLOR[2], rtol=1e-6)
    assert limits_of(first) == limits_of(second) == pytest.approx((0.1, 0.7))
    assert marks(first, "pruned") == [(0, 0), (1, 1)]
    assert (marks(second, "pruned"), marks(second, "dormant"), marks(second, "revived")) == ([(1, 0)], [(1, 1)], [(0, 0)])
    assert {colour_of(second, state) for state in ("pruned", "dormant", "revived")} == {
        to_hex(MARKS[state].colour) for state in ("pruned", "dormant", "revived")
    }


def test_growth_counts_the_heads_at_work_and_shows_what_waking_promised(run):
    drawn = figure(run, "growth")
    assert curve(titled(drawn, "heads at work"), "at work")[1].tolist() == [6, 4, 4]
    assert bars(titled(drawn, "heads at work"), "pruned") == [0, 2, 1]
    assert bars(titled(drawn, "heads at work"), "revived") == [0, 0, 1]
    promise = titled(drawn, "loss for waking a head")
    heights = {state: [round(y, 6) for _, y in marks(promise, state)] for state in ("revived", "pruned", "dormant")}
    assert heights == {"revived": [-0.3], "pruned": [-0.1], "dormant": [-0.05]}


def test_attention_is_that_of_the_moment_with_its_tokens(run):
    drawn = figure(run, "attention")
    np.testing.assert_allclose(values_of(drawn.axes[0]), runs.MAPS[2])
    assert limits_of(drawn.axes[0]) == (0, 1)
    assert {"a", "·b", "\\n"} <= {text.get_text() for text in shown(drawn)}
    before = figure(run, "attention", head=(1, 2), moment=0)
    np.testing.assert_allclose(values_of(before.axes[0]), runs.MAPS[1], rtol=1e-6)


def test_attention_change_shows_every_moment_and_the_last_less_the_first(run):
    drawn = figure(run, "attention_change")
    assert [axes.get_title(loc="left") for axes in panels(drawn)] == ["before", "after cycle 1", "after cycle 2", "last less first"]
    np.testing.assert_allclose(values_of(titled(drawn, "before")), runs.MAPS[1], rtol=1e-6)
    change = titled(drawn, "last less first")
    np.testing.assert_allclose(values_of(change), runs.MAPS[2] - runs.MAPS[1], atol=1e-6)
    low, high = limits_of(change)
    assert low == -high
    moved = np.abs(runs.MAPS[2] - runs.MAPS[1]).sum(-1).mean() / 2 * 100
    assert any(text.startswith(f"{moved:.3g} %") for text in words(drawn))


def test_quality_and_speed_stand_at_what_was_measured_with_the_intervals_that_there_are(run):
    drawn = figure(run, "quality_speed")
    for name, speed, across in (("reading a text", 1.5, [[[1.2, 0.5], [1.9, 0.5]]]), ("writing a text", 1.1, [])):
        axes = titled(drawn, name)
        (dot,) = [each for each in axes.lines if each.get_label() == "taylor 50 %"]
        assert (dot.get_xdata().tolist(), dot.get_ydata().tolist()) == ([speed], [0.5])  # against the model as it was given
        drawn_ends = [each.get_segments()[0].tolist() for each in axes.collections]
        assert drawn_ends == [*across, [[speed, 0.4], [speed, 0.6]]]
        assert "baseline" in axes.get_ylabel()


def test_strategies_of_several_runs_stand_beside_each_other(tmp_path):
    several = [
        runs.recorded(tmp_path / name, strategy=strategy, seed=seed)
        for name, strategy, seed in (("a", "taylor", 0), ("b", "taylor", 1), ("c", "random", 0))
    ]
    drawn = figure(several, "strategies")
    assert bars(titled(drawn, "perplexity"), "pruned") == [40, 40]
    assert bars(titled(drawn, "perplexity"), "baseline") == [18, 18]
    assert [label.get_text() for label in titled(drawn, "perplexity").get_xticklabels()] == ["taylor", "random"]
    assert any("2 seeds" in text for text in words(drawn))
    assert bars(titled(figure(tmp_path, "strategies"), "perplexity"), "fine-tuned") == [29, 29]


def test_the_summary_of_one_run_shows_what_each_cycle_did_to_the_model_it_began_with(run):
    drawn = figure(run, "summary")
    perplexity = titled(drawn, "perplexity")
    assert [each.tolist() for each in curve(perplexity, "pruned")] == [[1, 2], [30, 40]]
    assert [each.tolist() for each in curve(perplexity, "fine-tuned")] == [[1, 2], [24, 29]]
    assert set(line(perplexity, "baseline").get_ydata()) == {18}
    effects = titled(drawn, "change of perplexity in each cycle")
    assert bars(effects, "by pruning") == [30 - 18, 40 - 24]
    assert bars(effects, "by fine-tuning") == [24 - 30, 29 - 40]
    recovery = titled(drawn, "harm undone in each cycle")
    assert bars(recovery, "recovery") == pytest.approx([100 * (30 - 24) / (30 - 18), 100 * (40 - 29) / (40 - 24)])
    assert bars(titled(drawn, "heads asleep, of 6"), "asleep") == [2, 2]
    assert any("perplexity 18 before the first cycle, 29 after the last" in said for said in words(drawn))


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != "strategies"])
def test_no_word_of_a_figure_leaves_the_picture(run, name):
    drawn = figure(run, name, theme="paper" if len(name) % 2 else "dark")  # wider letters, and other inks
    drawn.canvas.draw()
    renderer = drawn.canvas.get_renderer()
    for text in shown(drawn):
        box = text.get_window_extent(renderer)
        assert box.x0 > -2, text.get_text()
        assert box.y0 > -2, text.get_text()
        assert box.x1 < drawn.bbox.width + 2, text.get_text()
        assert box.y1 < drawn.bbox.height + 2, text.get_text()


COLUMN = {"maps": (3.4, 3.0), "growth": (3.4, 4.6), "attention": (3.4, 3.0), "attention_change": (3.4, 5.0), "life": (3.4, 3.0)}


@pytest.mark.parametrize("name", COLUMN)
def test_figures_fit_the_column_of_a_paper(run, name):
    drawn = figure(run, name, figsize=COLUMN[name])
    drawn.canvas.draw()
    renderer = drawn.canvas.get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer).shrunk(0.9, 0.8)) for text in shown(drawn)]
    pairs = ((a, b) for place, (a, one) in enumerate(boxes) for b, other in boxes[place + 1 :] if one.overlaps(other))
    assert not [(a, b) for a, b in pairs if a != b]
