"""The catalogue: what a run may be, what each figure needs, and what is said where it is not there."""

import re
import shutil
from types import SimpleNamespace

import pytest

from neural_plasticity.errors import NotARun, SettingNotUsable
from neural_plasticity.figures.catalogue import CATALOGUE, figure
from neural_plasticity.figures.chronicle import Chronicle
from neural_plasticity.heads import HeadId
from neural_plasticity.record import HeadsMeasured, Operation, PhaseStarted, Run, RunStarted, Writer
from tests.figures import runs
from tests.house.source import ROOT

ONE = [name for name, picture in CATALOGUE.items() if not picture.several]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return runs.recorded(tmp_path_factory.mktemp("runs") / "told")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return runs.only_measured(tmp_path_factory.mktemp("runs") / "looked")


def test_a_run_may_come_in_many_forms(run):
    wanted = figure(run, "entropy").drawn("png")
    outcome = SimpleNamespace(run=run)
    experiment = SimpleNamespace(folder=run.folder, run=lambda: None)
    for form in (run.folder, str(run.folder), outcome, experiment, [run], Chronicle.of(run)):
        assert figure(form, "entropy").drawn("png") == wanted


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name not in ("entropy", "maps")])
def test_a_run_that_lacks_what_a_figure_needs_is_refused_in_one_sentence(measured, name):
    with pytest.raises(SettingNotUsable) as refusal:
        figure([measured, measured] if name == "strategies" else measured, name)
    sentence = str(refusal.value)
    assert re.match(
        rf"The figure {name} needs [^,]+( [^,]+)*, and looked holds run, heads, finished \(signals: entropy\); \w", sentence
    )
    assert "\n" not in sentence


def test_a_run_that_changed_nothing_still_has_its_maps(measured):
    assert figure(measured, "entropy").drawn("png")
    assert figure(measured, "maps").drawn("png")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("entropi", {}, "did you mean entropy"),
        ("entropy", {"cycle": 9}, "measured in cycle 1, 2"),
        ("entropy", {"colour": 3}, "colour"),
        ("attention", {"head": (0, 0)}, "holds that of 1.2"),
        ("attention", {"moment": 7}, "looked at 3 times"),
        ("maps", {"signal": "beauty"}, "choose one of its signals"),
        ("maps", {"figsize": (2.6, 2.0)}, "need a height"),
        ("life", {"most": 0}, "at least 1"),
        ("strategies", {}, "2 runs or more"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_there_is(run, name, options, said):
    with pytest.raises(SettingNotUsable, match=said):
        figure(run, name, **options)


def test_what_is_no_run_is_refused(tmp_path, run):
    for wrong in (7, None, SimpleNamespace()):
        with pytest.raises(SettingNotUsable, match="is no run"):
            figure(wrong, "entropy")
    with pytest.raises(NotARun):
        figure(tmp_path / "nowhere", "entropy")
    with pytest.raises(SettingNotUsable, match="one run"):
        figure([run, run], "entropy")


def test_runs_whose_speed_is_not_known_are_left_out_and_counted(tmp_path):
    known, silent = runs.recorded(tmp_path / "a"), runs.recorded(tmp_path / "b", speed=False)
    assert figure([known, silent], "quality_speed").drawn("png")
    with pytest.raises(SettingNotUsable, match="measured speed"):
        figure(silent, "quality_speed")


def test_a_run_that_was_stopped_anywhere_is_drawn_as_far_as_it_came(tmp_path, run):
    lines = (run.folder / "events.jsonl").read_text().splitlines(keepends=True)
    folder = tmp_path / "stopped"
    folder.mkdir()
    (folder / "run.json").write_bytes((run.folder / "run.json").read_bytes())
    shutil.copytree(run.folder / "tensors", folder / "tensors")
    for length in range(1, len(lines), 4):
        (folder / "events.jsonl").write_text("".join(lines[:length]))
        told = Chronicle.of(Run(folder))
        for name in ("training_progress", "life"):
            if CATALOGUE[name].missing(told) is None:
                assert figure(told, name) is not None


def test_a_phase_that_a_resumed_run_takes_up_again_goes_on(tmp_path):
    with Writer(tmp_path, {"schema": 1}) as writer:
        writer.write(RunStarted(name="x", job="run"))
        teller = runs.Teller(writer)
        teller.learned("warm-up", None, [3.0, 2.0])
        writer.write(RunStarted(name="x", job="run", resumed=True))
        writer.write(PhaseStarted(phase="warm-up", steps=4))
        teller.learned("fine-tuning", 1, [4.0])
    told = Chronicle.of(tmp_path)
    assert [(course.phase, course.before, course.losses) for course in told.courses] == [
        ("warm-up", 0, [3.0, 2.0]),
        ("fine-tuning", 2, [4.0]),
    ]


@pytest.mark.parametrize("anatomy", [None, {}, {"sites": None}, {"sites": [{}]}, {"sites": [{"layer": "x", "heads": 2}]}])
def test_heads_are_known_without_an_anatomy(tmp_path, anatomy):
    with Writer(tmp_path, {"schema": 1, "anatomy": anatomy}) as writer:
        writer.write(HeadsMeasured(signals=("entropy",), cycle=1), {"entropy": runs.ENTROPY[1]})
        writer.write(Operation(action="prune", mode="remove", heads=(HeadId(1, 0),), cycle=1))
    told = Chronicle.of(tmp_path)
    assert len(told.heads) == 6
    assert told.state(HeadId(1, 0), 1) == "dormant"
    assert told.state(HeadId(0, 0), 1) == "active"
    assert figure(tmp_path, "life").drawn("png")


def test_every_figure_has_a_caption_and_stands_in_the_gallery():
    gallery = (ROOT / "docs" / "gallery.md").read_text()
    for name, picture in CATALOGUE.items():
        assert picture.caption.endswith(".")
        assert f"## {name}\n" in gallery
        assert picture.caption in gallery
        assert (ROOT / "docs" / "gallery" / f"{name}.png").stat().st_size <= 100_000
    assert sum(path.stat().st_size for path in (ROOT / "docs" / "gallery").iterdir()) <= 1_500_000
