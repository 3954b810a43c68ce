"""What stands side by side was measured in the same cycle, and nothing stands in for what was not measured."""

import numpy as np
import pytest

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.catalogue import figure
from neural_plasticity.figures.chronicle import Chronicle
from neural_plasticity.figures.experiments import plot_experiment_summary
from neural_plasticity.figures.phases import visualize_complete_training_process
from neural_plasticity.figures.results import load_results_from_file, rounds_of
from neural_plasticity.figures.told import results
from neural_plasticity.heads import HeadId
from neural_plasticity.record import DecisionMade, Evaluation, Finished, Notice, Operation, Run, RunStarted, Writer
from tests.figures import runs
from tests.figures.examples import PRUNING, WARMUP
from tests.figures.reading import bars, line, titled, words

BEFORE = (("baseline", None, 20.0), ("warm", None, 18.0))
SETTINGS = {"model": "small", "strategy": "taylor", "level": 0.5, "seed": 0}


def judged(folder, *stages, ended=True, operations=()):
    """A run that evaluated these stages of these cycles, and changed these heads."""
    with Writer(folder, {"schema": 1, "settings": SETTINGS, "anatomy": {"sites": runs.SITES}}) as writer:
        writer.write(RunStarted(name=folder.name, job="run"))
        for action, heads, cycle in operations:
            writer.write(Operation(action=action, mode="remove", heads=tuple(HeadId(*head) for head in heads), cycle=cycle))
        for stage, cycle, perplexity in (*BEFORE, *stages):
            values = {"loss_nats": float(np.log(perplexity)), "perplexity": perplexity}
            writer.write(Evaluation(stage=stage, values=values, cycle=cycle))
        if ended:
            writer.write(Finished())
    return Run(folder)


def perplexities(run):
    return {row["stage"]: row["perplexity"] for row in load_results_from_file(run.folder).to_dict("records")}


CUT = (("prune", [(0, 0)], 1), ("prune", [(1, 1)], 2))


def test_a_run_without_recovery_has_no_number_after_it(tmp_path):
    run = judged(tmp_path / "run", ("pruned", 1, 30.0), operations=CUT[:1])
    assert "final_metrics" not in results(Chronicle.of(run))["pruning"]
    assert perplexities(run) == {"baseline": 18, "pruned": 30}
    assert bars(titled(figure(run, "complete"), "perplexity"), "perplexity") == [18, 30]
    assert not any("fine-tuned" in said for said in words(figure(run, "complete")))


def test_an_experiment_whose_end_is_its_pruned_model_was_not_fine_tuned():
    same = PRUNING | {"final_metrics": PRUNING["pruned_metrics"]}
    drawn = visualize_complete_training_process({"warmup": WARMUP, "pruning": same})
    assert bars(titled(drawn, "perplexity"), "perplexity") == [20, 30]
    tuned = visualize_complete_training_process({"pruning": same, "fine_tuning": {"losses": [3.4, 3.4]}})
    assert bars(titled(tuned, "perplexity"), "perplexity") == [20, 30, 30]


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        # stopped before the second recovery: the first one is none of it
        ([("pruned", 1, 30.0), ("fine_tuned", 1, 24.0), ("pruned", 2, 40.0)], {"pruned": 40}),
        # nothing was left to prune in the second cycle, so what it learned undid no harm
        ([("pruned", 1, 30.0), ("fine_tuned", 1, 24.0), ("fine_tuned", 2, 16.0)], {"pruned": 30, "fine_tuned": 24}),
    ],
)
def test_recovery_is_that_of_the_cycle_that_pruned(tmp_path, stages, expected):
    run = judged(tmp_path / "run", *stages, operations=CUT)
    assert perplexities(run) == {"baseline": 18} | expected
    told = results(Chronicle.of(run))["pruning"]
    assert told["pruned_metrics"]["perplexity"] == expected["pruned"]
    assert told.get("final_metrics", {}).get("perplexity") == expected.get("fine_tuned")


def test_each_cycle_begins_with_the_model_that_the_one_before_left(tmp_path):
    stages = [("pruned", 1, 30.0), ("fine_tuned", 1, 24.0), ("fine_tuned", 2, 16.0), ("pruned", 3, 40.0)]
    rounds = rounds_of(Chronicle.of(judged(tmp_path / "run", *stages, operations=CUT)))
    known = [(each.cycle, each.baseline, each.before, each.pruned) for each in rounds]
    assert known == [(1, 18, 18, 30), (3, 18, 16, 40)]
    assert rounds[0].fine_tuned == 24
    assert np.isnan(rounds[1].fine_tuned)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_summary_without_recovery_says_so_where_its_panel_is_empty(tmp_path, theme):
    drawn = figure(judged(tmp_path / "run", ("pruned", 1, 30.0), operations=CUT[:1]), "summary", theme=theme)
    assert "nothing was fine-tuned after pruning" in words(drawn)
    assert bars(titled(drawn, "change of perplexity in each cycle"), "by pruning") == [12]
    assert bars(titled(drawn, "heads asleep, of 6"), "asleep") == [1]


def test_a_head_that_came_back_and_went_again_sleeps(tmp_path):
    turns = [
        ("prune", [(0, 0), (1, 0)], 1),
        ("revive", [(0, 0), (1, 0)], 2),
        ("prune", [(0, 0), (0, 1)], 3),
        ("revive", [(0, 1)], 4),
        ("prune", [(0, 1)], 5),
        ("revive", [(0, 1)], 6),
    ]
    run = judged(tmp_path / "run", ("pruned", 6, 30.0), operations=turns)
    told = results(Chronicle.of(run))["pruning"]
    assert (told["pruned_heads"], told["revived_heads"]) == ([(0, 0)], [(0, 1), (1, 0)])
    drawn = figure(run, "complete")
    assert bars(titled(drawn, "heads by layer"), "pruned") == [1, 0]
    assert bars(titled(drawn, "heads by layer"), "revived") == [1, 1]


def test_a_head_that_is_named_twice_is_one_head():
    twice = PRUNING | {"revived_heads": [(1, 1), (1, 1), (0, 0)]}
    drawn = visualize_complete_training_process({"pruning": twice})
    assert bars(titled(drawn, "heads by layer"), "revived") == [1, 1]
    assert "2" in words(drawn)


def test_a_sleeper_whose_weights_are_forgotten_counts_among_the_gone(tmp_path):
    turns = [("prune", [(0, 0), (1, 1)], 1), ("forget", [(0, 0)], 1)]
    run = judged(tmp_path / "run", ("pruned", 1, 30.0), ("fine_tuned", 1, 24.0), operations=turns)
    assert bars(titled(figure(run, "summary"), "heads asleep, of 6"), "asleep") == [2]


def test_the_star_stands_at_the_step_that_found_the_loss_settled(tmp_path):
    with Writer(tmp_path / "run", {"schema": 1, "settings": SETTINGS}) as writer:
        runs.Teller(writer).learned("warm-up", None, [5.0, 4.0, 3.5, 3.4])
        writer.write(Notice(message="settled", about="settled", step=3))
    assert line(titled(figure(Run(tmp_path / "run"), "warmup"), "loss"), "stable").get_xdata().tolist() == [3]


def test_a_warm_up_without_losses_has_no_first_and_last_one(tmp_path):
    with Writer(tmp_path / "run", {"schema": 1, "settings": SETTINGS}) as writer:
        runs.Teller(writer).learned("warm-up", None, [0.0, 1.0])
    known = results(Chronicle.of(tmp_path / "run"))["warmup"]
    assert (known["initial_loss"], known["final_loss"]) == (0, 1)
    assert "improvement_percent" not in known
    assert "stabilization_step" not in known


@pytest.fixture
def several(tmp_path):
    """Two whole runs, one that was stopped after its first cycle, and one that only looked."""
    made = [runs.recorded(tmp_path / "runs" / name, seed=seed) for name, seed in (("a", 0), ("b", 1))]
    stopped = judged(tmp_path / "runs" / "stopped", ("pruned", 1, 30.0), ("fine_tuned", 1, 24.0), ended=False)
    return [*made, stopped, runs.only_measured(tmp_path / "runs" / "looked")]


@pytest.mark.parametrize("name", ["summary", "strategies", "quality_speed"])
def test_runs_that_cannot_be_compared_are_named_in_the_figure(several, name):
    said = " ".join(" ".join(words(figure(several, name))).split())
    assert "2 runs are left out: stopped (without " in said
    assert "looked (without " in said
    assert "left out" not in " ".join(words(figure(several[:2], name)))


def test_a_run_that_was_stopped_is_no_seed_of_those_that_came_to_their_end(several):
    perplexity = titled(figure(several, "strategies"), "perplexity")
    assert bars(perplexity, "pruned") == [40]
    with pytest.raises(SettingNotUsable, match=r"needs the end of the run, and stopped holds .*; wait until it has finished"):
        figure(several[1:3], "strategies")
    assert figure(several[2], "summary")  # alone it is drawn as far as it came


def test_results_of_a_folder_name_the_runs_that_are_not_in_them(several, tmp_path):
    said = r"2 of the 4 runs in .* looked \(no evaluation of a pruned model\), stopped \(not finished\)"
    with pytest.warns(UserWarning, match=said):
        found = load_results_from_file(tmp_path / "runs")
    assert found["seed"].tolist() == [0] * 3 + [1] * 3


def test_one_seed_has_no_interval(tmp_path):
    one = [runs.recorded(tmp_path / name, strategy=name) for name in ("taylor", "random")]
    for axes in figure(one, "summary").axes:
        assert not axes.collections


def test_a_table_without_numbers_says_so_in_its_panels():
    rows = [{"strategy": "a", "pruning_level": 0.1, "stage": stage, "perplexity": None} for stage in ("baseline", "pruned")]
    drawn = plot_experiment_summary(rows)
    assert words(drawn).count("nothing recorded yet") == 3
    assert "nothing was fine-tuned after pruning" in words(drawn)


def test_a_long_reason_is_broken_into_lines_where_a_life_has_room_for_them(tmp_path):
    long = "taylor 0.00123 nats is rank 1 of 48, below the 0.0144 of the first head kept, " * 2 + "as the plan said"
    with Writer(tmp_path / "run", {"schema": 1, "settings": SETTINGS, "anatomy": {"sites": runs.SITES[:1]}}) as writer:
        made = {"score": 0.1, "rank": 1, "threshold": 0.2, "strategy": "taylor", "cycle": 1}
        writer.write(DecisionMade(head=HeadId(0, 1), action="prune", reason=long, **made))
        writer.write(Operation(action="prune", mode="remove", heads=(HeadId(0, 1),), cycle=1))
    said = [" ".join(each.split()) for each in words(figure(Run(tmp_path / "run"), "life"))]
    assert f"pruned in 1: {long}" in said
