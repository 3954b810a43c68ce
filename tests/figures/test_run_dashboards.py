"""The doors of the seeds: an experiment in any form becomes folders of figures, texts and tables."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest

import neural_plasticity as plasticity
from neural_plasticity.errors import ModelNotUsable, SettingNotUsable
from neural_plasticity.figures.results import load_results_from_file
from tests.figures import runs
from tests.figures.examples import PRUNING, TUNING, WARMUP
from tests.figures.reading import values_of

GRADIENT = np.array([[0.1, 0.2, 0.3], [0.02, 0.5, 0.004]])
FULL = PRUNING | {"grad_norm_values": GRADIENT, "entropy_values": GRADIENT * 9, "pruning_mask": GRADIENT < 0.05}
DICT = {"warmup": WARMUP, "pruning": FULL, "fine_tuning": TUNING}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return runs.recorded(tmp_path_factory.mktemp("runs") / "told")


def names(found):
    return {part: [path.name for path in paths] for part, paths in found.items()}


def test_a_dict_of_results_becomes_figures_by_phase(tmp_path):
    found = plasticity.generate_dashboards(DICT, tmp_path)
    assert names(found) == {
        "warmup": ["warmup.png"],
        "pruning": ["decisions.png", "gradient.png", "entropy.png", "entropy_vs_gradient.png"],
        "complete": ["complete.png"],
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.parent.name == part for part in found for path in found[part])


def test_experiments_outcomes_runs_and_folders_are_experiments(run, tmp_path):
    ran = SimpleNamespace(warmup_results=WARMUP, pruning_results=FULL)
    assert len(names(plasticity.generate_dashboards(ran, tmp_path / "a"))["pruning"]) == 4
    for place, form in enumerate((str(run.folder), SimpleNamespace(run=run))):
        found = names(plasticity.generate_dashboards(form, tmp_path / str(place)))
        assert (found["warmup"], found["complete"]) == (["warmup.png"], ["complete.png"])
    path = plasticity.generate_complete_process_dashboard(run, tmp_path / "b")
    assert path == tmp_path / "b" / "complete" / "complete.png"


@pytest.mark.parametrize("wrong", [{}, {"warm": 1}, 7, None])
def test_what_is_no_experiment_is_refused(wrong, tmp_path):
    with pytest.raises(SettingNotUsable):
        plasticity.generate_dashboards(wrong, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_dashboard_is_the_report_of_the_record_or_else_the_course(run, tmp_path):
    written = plasticity.display_neural_plasticity_dashboard(run, tmp_path)
    assert written == tmp_path / "report.html"
    assert "<html" in written.read_text()
    assert plasticity.display_neural_plasticity_dashboard(DICT, tmp_path / "d").name == "complete.png"


def test_the_reporter_keeps_what_it_shows(tmp_path, run):
    reporter = plasticity.VisualizationReporter(None, None, tmp_path, theme="dark")
    assert reporter.display_warmup_results(WARMUP).theme.name == "dark"
    shown = reporter.display_pruning_results(FULL)
    np.testing.assert_allclose(values_of(shown["gradient"].axes[0]), GRADIENT)
    reporter.display_complete_training_process(DICT, title="All of it")
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["complete.png", *(f"pruning_{name}.png" for name in sorted(shown)), "warmup.png"]
    folder = reporter.generate_comprehensive_dashboard(run, tmp_path / "whole")
    assert {path.name for path in folder.iterdir()} == {"warmup", "complete", "report.html"}
    quiet = plasticity.VisualizationReporter(output_dir=tmp_path / "quiet", save_visualizations=False)
    quiet.display_warmup_results(WARMUP)
    assert not (tmp_path / "quiet").exists()


def test_metrics_become_a_table(tmp_path):
    reporter = plasticity.VisualizationReporter(output_dir=tmp_path)
    path = reporter.save_metrics_to_csv({"step": [1, 2], "train_loss": [3.5, None]})
    assert list(csv.DictReader(path.read_text().splitlines())) == [
        {"step": "1", "train_loss": "3.5"},
        {"step": "2", "train_loss": ""},
    ]
    assert reporter.save_metrics_to_csv([], "none.csv").read_text() == "\n"


def test_the_model_writes_after_each_prompt_the_same_for_the_same_seed(tiny, tmp_path):
    reporter = plasticity.VisualizationReporter(tiny.model, tiny.tokenizer, tmp_path)
    found = reporter.run_text_generation_suite(["def ", "class "], tokens=4, seed=1)
    assert list(found) == ["def ", "class "]
    assert json.loads((tmp_path / "generated.json").read_text()) == found
    assert reporter.run_text_generation_suite("def ", tokens=4, seed=1)["def "] == found["def "]
    with pytest.raises(ModelNotUsable):
        plasticity.VisualizationReporter(tiny.model, None, tmp_path).run_text_generation_suite()


def test_results_come_from_a_run_and_from_all_runs_of_a_folder(tmp_path):
    for name, strategy in (("a", "taylor"), ("b", "random")):
        runs.recorded(tmp_path / name, strategy=strategy, seed=3)
    runs.only_measured(tmp_path / "c")
    one = load_results_from_file(tmp_path / "a")
    assert one[["stage", "perplexity"]].to_numpy().tolist() == [["baseline", 18.0], ["pruned", 40.0], ["fine_tuned", 29.0]]
    assert one.loc[2, "recovery_percentage"] == pytest.approx(50)
    assert set(one["seed"]) == {3}
    with pytest.warns(UserWarning, match="c \\(no evaluation"):
        both = load_results_from_file(tmp_path)
    assert both["strategy"].tolist() == ["taylor"] * 3 + ["random"] * 3
    with pytest.raises(SettingNotUsable, match="no evaluation of a pruned model"):
        load_results_from_file(tmp_path / "c")
