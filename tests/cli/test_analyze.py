"""`plasticity analyze` from the outside: table, map, JSON, CSV, and what lies in the run folder."""

import csv
import io
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from neural_plasticity.cli.analyze import app
from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.record import Finished, HeadsMeasured, open_run

FEW = ["tiny", "--tokens", "600", "--max-length", "64", "--signals", "entropy,taylor,magnitude"]


def analyzed(folder, *more):
    shown = CliRunner().invoke(app, [*FEW, "--out", str(folder), *more], catch_exceptions=False)
    assert shown.exit_code == 0
    (run,) = folder.iterdir()
    return shown.stdout, open_run(run)


def test_the_table_is_sorted_and_the_map_has_a_row_a_layer(tmp_path):
    shown, run = analyzed(tmp_path, "--top", "3")
    lines = shown.splitlines()
    assert lines[1].split() == ["head", "entropy", "taylor", "magnitude"]
    rows = [line.split() for line in lines[2:9]]
    assert rows[3] == ["…"] * 4
    taylor = [float(row[2]) for row in rows if row[0] != "…"]
    assert taylor == sorted(taylor)
    measured = run.tensors(next(iter(run.events(HeadsMeasured))))["taylor"]
    assert taylor[0] == pytest.approx(measured.min(), rel=1e-3)
    assert taylor[-1] == pytest.approx(measured.max(), rel=1e-3)
    assert [line.split()[0] for line in lines if len(line.split()) == 9] == list("012345")
    assert str(run.folder) in shown


def test_the_record_holds_every_grid_and_how_it_was_computed(tmp_path):
    _, run = analyzed(tmp_path)
    (heads,) = run.events(HeadsMeasured)
    assert heads.signals == ("entropy", "taylor", "magnitude")
    assert heads.path == "CPU flash"
    assert {name: grid.shape for name, grid in run.tensors(heads).items()} == dict.fromkeys(heads.signals, (6, 8))
    assert next(iter(run.events(Finished))).summary["heads"] == 48
    assert run.description["settings"]["signals"] == ["entropy", "taylor", "magnitude"]


def test_json_and_csv_hold_what_was_measured_and_nothing_else(tmp_path):
    shown, run = analyzed(tmp_path / "json", "--json")
    plain = json.loads(shown)
    measured = run.tensors(next(iter(run.events(HeadsMeasured))))
    np.testing.assert_allclose(plain["signals"]["entropy"], measured["entropy"], rtol=1e-6)
    shown, _ = analyzed(tmp_path / "csv", "--csv")
    rows = list(csv.DictReader(io.StringIO(shown)))
    assert len(rows) == 48
    assert float(rows[8]["taylor"]) == pytest.approx(measured["taylor"][1, 0], rel=1e-6)


def test_all_signals_are_listed():
    shown = CliRunner().invoke(app, ["tiny", "--signals", "all"])
    assert "entropy " in shown.stdout
    assert "ablation " in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--signals", "entrpy"], "did you mean entropy"),
        (["--loss", "perplexity"], "self_distillation"),
        (["--signals", "entropy", "--sort", "taylor"], "cannot be sorted by taylor"),
        (["--json", "--csv"], "choose one"),
    ],
)
def test_misspelt_wishes_are_refused_before_anything_is_made(tmp_path, arguments, said):
    with pytest.raises(SettingNotUsable, match=said):
        CliRunner().invoke(app, ["tiny", "--out", str(tmp_path / "runs"), *arguments], catch_exceptions=False)
    assert not (tmp_path / "runs").exists()


def test_a_model_that_a_surgeon_saved_is_opened_and_shows_what_is_gone(tmp_path, tiny):
    import copy

    from neural_plasticity.cli.dissect import app as dissect
    from neural_plasticity.surgery.surgeon import Surgeon

    surgeon = Surgeon(copy.deepcopy(tiny.model))
    surgeon.prune([(0, head) for head in range(8)] + [(1, 2), (3, 0)])
    surgeon.save(tmp_path / "smaller")
    tiny.tokenizer.save_pretrained(tmp_path / "smaller")
    shown = CliRunner().invoke(dissect, [str(tmp_path / "smaller")], catch_exceptions=False).stdout
    assert "7 (0:2,3:8)" in shown
    assert "10 heads sleep by remove: 0.0, 0.1," in shown
    asked = [str(tmp_path / "smaller"), "--tokens", "300", "--signals", "entropy", "--json", "--out", str(tmp_path / "runs")]
    grid = json.loads(CliRunner().invoke(app, asked, catch_exceptions=False).stdout)["signals"]["entropy"]
    assert grid[0] == [None] * 8
    assert [place for place, value in enumerate(grid[1]) if value is None] == [2]
