"""Experiments compared: the numbers of bars and lines, intervals over seeds, and results from files."""

import json
import statistics

import numpy as np
import pandas as pd
import pytest

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.experiments import plot_experiment_summary, plot_recovery_comparison, plot_strategy_comparison
from neural_plasticity.figures.results import load_results_from_file, results_from_rows
from neural_plasticity.figures.trials import mean_and_interval
from neural_plasticity.record import Evaluation, Writer
from tests.figures.examples import COMPARISON, RESULTS
from tests.figures.reading import bars, curve, titled, words


def segments(axes) -> list[tuple[float, float]]:
    return [tuple(segment[:, 1]) for each in axes.collections for segment in each.get_segments()]


def test_perplexities_and_changes_are_those_of_the_table():
    figure = plot_strategy_comparison(COMPARISON, None, "a model", 0.1)
    perplexity, change = figure.axes[:2]
    assert bars(perplexity, "baseline") == COMPARISON["Baseline Perplexity"]
    assert bars(perplexity, "pruned") == COMPARISON["Pruned Perplexity"]
    assert bars(perplexity, "fine-tuned") == COMPARISON["Fine-tuned Perplexity"]
    assert bars(change, "pruning") == [100, 300, -10]
    assert bars(change, "fine-tuning") == [-75, -150, -20]
    assert bars(change, "net") == [25, 150, -30]
    assert perplexity.get_ylim()[0] == 0
    assert perplexity.get_ylim()[1] > 900
    assert [text.get_text() for text in perplexity.get_xticklabels()] == COMPARISON["Strategy"]
    assert any("a model, 10 % of heads pruned" in text for text in words(figure))


def test_strategies_are_chosen_and_ordered_as_asked():
    axes = plot_strategy_comparison(pd.DataFrame(COMPARISON), ["random", "entropy"]).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["random", "entropy"]
    assert bars(axes, "pruned") == [900, 700]
    with pytest.raises(SettingNotUsable, match="no row for 'taylor'"):
        plot_strategy_comparison(COMPARISON, ["taylor"])


def test_recovery_goes_up_and_improvement_where_there_was_no_harm_goes_down():
    axes = plot_recovery_comparison(COMPARISON).axes[0]
    assert bars(axes, "recovery") == pytest.approx([75, 50])
    assert bars(axes, "improvement (downwards)") == pytest.approx([-5])
    low, high = axes.get_ylim()
    assert low < -5 < 75 < high


def test_of_several_seeds_the_mean_and_its_interval_are_drawn():
    pruned = [700.0, 720.0, 710.0]
    table = {
        "Strategy": ["a"] * 3,
        "Baseline Perplexity": [600.0] * 3,
        "Pruned Perplexity": pruned,
        "Fine-tuned Perplexity": [610.0] * 3,
    }
    axes = plot_strategy_comparison(table).axes[0]
    assert bars(axes, "pruned") == [710]
    student = 0.95 * (2 / (1 - 0.95**2)) ** 0.5  # of three numbers, in closed form
    half = student * statistics.stdev(pruned) / 3**0.5
    assert segments(axes) == [pytest.approx((710 - half, 710 + half))]
    assert axes.get_ylim()[1] > 710 + half


def test_the_interval_holds_the_mean_19_times_of_20():
    rng = np.random.default_rng(0)
    for size in (2, 5, 30):
        inside = [low <= 1 <= high for _, low, high in (mean_and_interval(rng.normal(1, 2, size)) for _ in range(2000))]
        assert 0.93 < np.mean(inside) < 0.97


@pytest.mark.parametrize("table", [{"Strategy": []}, [], {"Strategy": ["a"], "Baseline Perplexity": [5.0]}, {"Strategy": ["a"]}])
def test_tables_with_little_in_them_can_be_drawn(table):
    for draw in (plot_strategy_comparison, plot_recovery_comparison):
        figure = draw(table)
        assert {"nothing recorded yet", "none"} & set(words(figure))


def test_perplexities_far_apart_are_divided_by_logarithms():
    table = {
        "Strategy": ["a", "b"],
        "Baseline Perplexity": [20.0, 20.0],
        "Pruned Perplexity": [30.0, 90_000.0],
        "Fine-tuned Perplexity": [21, 22],
    }
    axes = plot_strategy_comparison(table).axes[0]
    assert axes.get_yscale() == "log"
    assert bars(axes, "pruned") == pytest.approx([30, 90_000])


@pytest.mark.parametrize("wrong", [7, "text", {"strategy": ["a"]}, {"Strategy": ["a", "b"], "Baseline Perplexity": [1.0]}])
def test_tables_that_do_not_fit_are_refused(wrong):
    with pytest.raises(SettingNotUsable, match="comparison_df"):
        plot_strategy_comparison(wrong)


def test_the_summary_draws_every_strategy_and_level():
    figure = plot_experiment_summary(pd.DataFrame(RESULTS))
    stages = titled(figure, "perplexity across the stages")
    drawn = sorted(tuple(each.get_ydata()) for each in stages.lines)
    assert drawn == [(600, 610, 602.5), (600, 630, 607.5), (600, 630, 607.5), (600, 690, 622.5)]
    recovery = titled(figure, "recovery by level")
    for strategy in ("entropy", "random"):
        levels, values = curve(recovery, strategy)
        assert levels.tolist() == [0.1, 0.3]
        np.testing.assert_allclose(values, [75, 75])
    effects = titled(figure, "change of perplexity")
    assert bars(effects, "by pruning") == pytest.approx([20, 60])
    assert bars(effects, "by fine-tuning") == pytest.approx([-15, -45])
    best = titled(figure, "best perplexity of each level")
    assert bars(best, "best") == pytest.approx([602.5, 607.5])
    assert [text.get_text() for text in best.get_xticklabels()] == ["0.1 entropy", "0.3 entropy"]


def test_one_baseline_serves_all_trials_of_a_model():
    rows = [{"model": "m", "strategy": None, "pruning_level": None, "stage": "baseline", "perplexity": 600.0}]
    rows += [row for row in RESULTS if row["stage"] != "baseline"]
    axes = titled(plot_experiment_summary(rows), "recovery by level")
    np.testing.assert_allclose(curve(axes, "random")[1], [75, 75])


def test_repeats_are_one_line_with_their_mean():
    rows = [row | {"seed": seed, "perplexity": row["perplexity"] + seed} for row in RESULTS for seed in (0, 2, 4)]
    axes = titled(plot_experiment_summary(rows), "perplexity across the stages")
    assert sorted(tuple(each.get_ydata()) for each in axes.lines)[0] == (602, 612, 604.5)


@pytest.mark.parametrize(
    "rows", [[], RESULTS[:1], RESULTS[:2], [row for row in RESULTS if row["strategy"] == "random" and row["pruning_level"] == 0.1]]
)
def test_little_can_be_summed_up_too(rows):
    assert plot_experiment_summary(rows).drawn("png")


def test_results_with_unknown_stages_or_without_columns_are_refused():
    with pytest.raises(SettingNotUsable, match="stage 'later'"):
        plot_experiment_summary([RESULTS[0] | {"stage": "later"}])
    with pytest.raises(SettingNotUsable, match="no column 'perplexity'"):
        plot_experiment_summary([{"strategy": "a", "pruning_level": 0.1, "stage": "pruned"}])


@pytest.mark.parametrize("suffix", ["csv", "json", "lines.json", "results.json", "parquet"])
def test_results_come_from_files_with_what_follows_from_them(suffix, tmp_path):
    path, table = tmp_path / f"results.{suffix}", pd.DataFrame(RESULTS)
    if suffix == "csv":
        table.to_csv(path, index=False)
    elif suffix == "parquet":
        table.to_parquet(path)
    elif suffix == "lines.json":
        path.write_text("\n".join(map(json.dumps, RESULTS)))
    else:
        path.write_text(json.dumps(RESULTS if suffix == "json" else {"results": RESULTS}))
    found = load_results_from_file(path)
    assert list(found.columns[:5]) == list(table.columns)
    tuned = found[(found.strategy == "random") & (found.pruning_level == 0.3) & (found.stage == "fine_tuned")].iloc[0]
    assert tuned.perplexity_change_from_baseline == 22.5
    assert tuned.perplexity_change_from_pruned == -67.5
    assert tuned.recovery_percentage == 75
    assert np.isnan(tuned.improvement_percentage)
    assert found[found.stage == "pruned"].perplexity_change.tolist() == pytest.approx([10, 30, 30, 90])
    assert found[found.stage == "baseline"].perplexity_change.isna().all()


def test_what_a_file_says_itself_is_kept():
    rows = [row | ({"recovery_percentage": 1.0} if row["stage"] == "fine_tuned" else {}) for row in RESULTS]
    found = results_from_rows(rows)
    assert found[found.stage == "fine_tuned"].recovery_percentage.tolist() == [1, 1, 1, 1]


def test_results_come_from_a_run_folder_after_its_warm_up(tmp_path):
    stages = [("baseline", 900.0), ("warm", 600.0), ("pruned", 700.0), ("fine_tuned", 625.0)]
    with Writer(tmp_path / "run", {"settings": {"model": "m", "strategy": "taylor", "level": 0.3}}) as writer:
        for stage, perplexity in stages:
            writer.write(Evaluation(stage=stage, values={"perplexity": perplexity}))
    found = load_results_from_file(tmp_path / "run")
    assert found.perplexity.tolist() == [600, 700, 625]
    assert found[found.stage == "fine_tuned"].recovery_percentage.item() == 75
    assert set(found.strategy) == {"taylor"}
    assert plot_experiment_summary(found).axes


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.json", b"{"),
        ("a.json", b'"text"'),
        ("a.parquet", b"PAR"),
        ("a.pkl", b"x"),
        ("a.txt", b"x"),
        ("a.csv", b"a,b\n1,2\n"),
        ("a.csv", b"\xff\xfe\x00"),
    ],
)
def test_files_that_hold_no_results_are_refused_in_words(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingNotUsable):
        load_results_from_file(tmp_path / name)


def test_a_missing_file_and_a_run_that_never_pruned_are_refused(tmp_path):
    with pytest.raises(SettingNotUsable, match="There is no"):
        load_results_from_file(tmp_path / "no.csv")
    with Writer(tmp_path / "run", {}) as writer:
        writer.write(Evaluation(stage="baseline", values={"perplexity": 5.0}))
    with pytest.raises(SettingNotUsable, match="no evaluation of a pruned model"):
        load_results_from_file(tmp_path / "run")
