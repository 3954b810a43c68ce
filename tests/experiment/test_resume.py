"""A run that is stopped goes on, and ends as if it never had been: bit for bit, whatever stopped it and wherever."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from neural_plasticity.errors import (
    CorruptRecord,
    NotARun,
    PlasticityError,
    RecordNotWritable,
    RunLocked,
    SettingNotUsable,
    SurgeryError,
)
from neural_plasticity.experiment import checkpoints
from neural_plasticity.record import Checkpoint, Failed, Finished, Metrics, Operation, Run, RunStarted, Writer
from neural_plasticity.surgery import saving
from tests.experiment.runs import Recorder, assert_same_end, experiment, little, small, told

WAYS = {
    "drop_and_grow": {"schedule": "drop_and_grow", "exchange": 0.15, "cycles": 3},
    "mask_forward": {"mode": "mask_forward"},
    "gate": {"mode": "gate"},
    "gate and back": {"mode": "gate", "cycles": 3, "exchange": 0.15, "growth": "random"},
    "zero_weights and back": {"mode": "zero_weights", "cycles": 3, "exchange": 0.15},
    "accumulation": {"accumulation": 2},
    "newborn_rate": {"cycles": 3, "exchange": 0.15, "newborn_rate": 3.0, "growth": "random"},
    "patience": {"eval_every": 1, "patience": 2, "steps": 6, "learning_rate": 0.1},
    "whole groups": {"unit": "kv_group"},
    "compressed": {"mode": "compressed"},
}


def stopped(settings, tokenizer, stops, fault: BaseException | None = None, **more):
    """The folder of a run that was stopped at an event."""
    made = experiment(settings, tokenizer, Recorder(stops, fault), **more)
    with pytest.raises(type(fault or KeyboardInterrupt())):
        made.run()
    assert made.folder is not None
    return made.folder


def in_step(number: int, phase_steps: int = 4):
    """Whether it is the metrics of this optimizer step, counted over the whole run."""
    count = iter(range(1, 1000))

    def stops(event):
        return isinstance(event, Metrics) and "train_loss" in event.values and next(count) == number

    return stops


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A run that nothing stops."""
    return experiment(little(tmp_path_factory.mktemp("whole")), tiny.tokenizer).run()


@pytest.fixture(scope="module")
def halted_once(tiny, tmp_path_factory):
    """A run that was stopped in its third step."""
    return stopped(little(tmp_path_factory.mktemp("halted")), tiny.tokenizer, in_step(3))


@pytest.fixture
def halted(halted_once, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(halted_once, tmp_path / "halted"))


@pytest.mark.parametrize("way", WAYS)
def test_a_stopped_run_ends_bit_for_bit_as_one_that_was_not(way, tiny, tmp_path):
    settings = little(tmp_path, **{"warmup_steps": 0} | WAYS[way])
    whole = experiment(settings, tiny.tokenizer).run().folder
    folder = stopped(settings, tiny.tokenizer, in_step(settings.steps + 3))  # in the second cycle, between two checkpoints
    outcome = experiment(settings, tiny.tokenizer).run(resume=folder)
    assert outcome.folder == folder
    assert_same_end(whole, folder)


def test_a_run_can_be_stopped_again_and_says_when_it_went_on(whole, tiny, tmp_path):
    settings = little(tmp_path)
    folder = stopped(settings, tiny.tokenizer, in_step(3))
    second = experiment(settings, tiny.tokenizer, Recorder(in_step(5)))
    with pytest.raises(KeyboardInterrupt):
        second.run(resume=folder)
    assert isinstance(list(Run(folder).entries())[-1].event, Failed)
    experiment(settings, tiny.tokenizer).run(resume=folder)
    assert_same_end(whole.folder, folder)
    assert len(Run(folder).description["resumed"]) == 2
    assert [event.resumed for event in Run(folder).events(RunStarted)] == [False]


@pytest.mark.parametrize("kind", [RunStarted, Operation, Checkpoint], ids=lambda kind: kind.kind)
def test_a_stop_at_any_sort_of_event_is_made_up_for(kind, whole, tiny, tmp_path):
    settings = little(tmp_path)
    folder = stopped(settings, tiny.tokenizer, lambda event: isinstance(event, kind))
    experiment(settings, tiny.tokenizer).run(resume=folder)
    assert_same_end(whole.folder, folder)


def test_the_outcome_of_a_resumed_run_is_its_model_under_its_surgeon(whole, tiny, tmp_path):
    settings = little(tmp_path)
    folder = stopped(settings, tiny.tokenizer, in_step(7))
    given = small(1)  # what it weighs plays no part: all that comes from the checkpoint
    outcome = experiment(settings, tiny.tokenizer, model=given).run(resume=folder)
    assert outcome.model is given
    assert outcome.surgeon.dormant == whole.surgeon.dormant != []
    ids = torch.arange(8)[None]
    assert torch.equal(outcome.model(ids).logits, whole.model(ids).logits)
    outcome.surgeon.revive(outcome.surgeon.dormant[:1])  # and what sleeps can wake


def test_an_operated_model_can_be_pruned_further_and_that_can_be_resumed(tiny, tmp_path):
    from neural_plasticity.surgery.saving import load

    first = experiment(little(tmp_path, level=0.25, cycles=1), tiny.tokenizer).run()

    def operated():
        return load(first.folder / "model", "cpu")

    settings = little(tmp_path, level=0.5, cycles=1)
    whole = experiment(settings, tiny.tokenizer, model=operated()).run()
    assert len(whole.surgeon.dormant) == 4  # of 8: the level counts those that were gone already
    folder = stopped(settings, tiny.tokenizer, in_step(6), model=operated())
    outcome = experiment(settings, tiny.tokenizer, model=operated()).run(resume=folder)
    assert outcome.surgeon.dormant == whole.surgeon.dormant
    assert_same_end(whole.folder, folder)


# --- what stops a write --------------------------------------------------------------------------------------------


def full(*arguments, **named):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("room", "name", "fault"),
    [
        (checkpoints, "save_arrays", full),
        (checkpoints, "save_file", None),
        (saving, "save_file", full),
        (saving, "save_file", None),
    ],
)
def test_a_stop_within_the_write_of_a_checkpoint_leaves_the_one_before(room, name, fault, whole, tiny, tmp_path, monkeypatch):
    settings = little(tmp_path)
    made, usual = experiment(settings, tiny.tokenizer), getattr(room, name)
    calls = []

    def write(*arguments, **named):
        calls.append(arguments)
        if len(calls) < 3:
            return usual(*arguments, **named)
        if fault is not None:
            fault()
        raise KeyboardInterrupt

    monkeypatch.setattr(room, name, write)
    with pytest.raises((RecordNotWritable, SurgeryError) if fault else KeyboardInterrupt) as stop:
        made.run()
    monkeypatch.undo()
    if fault:
        assert "free some space" in str(stop.value)
    assert not list((made.folder / "checkpoints").glob("*.partial"))  # it would keep the room that the next one needs
    saved = checkpoints.last_checkpoint(Run(made.folder))
    assert saved is not None
    experiment(settings, tiny.tokenizer).run(resume=made.folder)
    assert_same_end(whole.folder, made.folder)


def test_a_disk_that_is_full_for_safetensors_too_is_said_to_be_full(tiny, tmp_path, monkeypatch):
    from safetensors import SafetensorError

    def refused(*arguments):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoints, "save_file", refused)
    with pytest.raises(RecordNotWritable, match="the disk is full; free some space"):
        experiment(little(tmp_path), tiny.tokenizer).run()


def test_a_run_folder_deleted_in_the_middle_stops_the_run_and_does_not_come_back(tiny, tmp_path):
    class Deletes(Recorder):
        def write(self, event, tensors=None):
            if isinstance(event, Metrics) and "train_loss" in event.values and made.folder.exists():
                shutil.rmtree(made.folder)

    made = experiment(little(tmp_path), tiny.tokenizer, Deletes())
    with pytest.raises(RecordNotWritable, match="deleted, moved or replaced"):
        made.run()
    assert not made.folder.exists()


def test_a_checkpoint_does_not_bring_a_deleted_run_back(tmp_path):
    from neural_plasticity.experiment.story import Story
    from neural_plasticity.surgery.surgeon import Surgeon

    with pytest.raises(RecordNotWritable, match="the run folder is gone"):
        checkpoints.write_checkpoint(tmp_path / "gone", Story(), Surgeon(small()), {}, {})
    assert not (tmp_path / "gone").exists()


def test_only_the_last_checkpoint_is_kept(tiny, tmp_path):
    folder = stopped(little(tmp_path), tiny.tokenizer, in_step(7))
    assert [path.name for path in (folder / "checkpoints").iterdir()] == [
        Run(folder).events(Checkpoint)[-1].folder.rpartition("/")[2]
    ]


# --- what cannot go on ---------------------------------------------------------------------------------------------


def test_a_run_that_came_to_its_end_is_not_resumed_and_stays_as_it_is(tiny, tmp_path):
    settings = little(tmp_path, cycles=0, warmup_steps=0)
    folder = experiment(settings, tiny.tokenizer).run().folder
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(NotARun, match="come to its end"):
        experiment(settings, tiny.tokenizer).run(resume=folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_an_experiment_runs_once(tiny, tmp_path):
    made = experiment(little(tmp_path, cycles=0, warmup_steps=0), tiny.tokenizer)
    folder = made.run().folder
    with pytest.raises(SettingNotUsable, match="has run already"):
        made.run()
    with pytest.raises(SettingNotUsable, match="has run already"):
        made.run(resume=folder)


def test_two_cannot_resume_at_once(halted, tiny, tmp_path):
    settings = little(tmp_path)
    before = told(Run(halted))
    with Writer(halted), pytest.raises(RunLocked, match="is being written by process"):
        experiment(settings, tiny.tokenizer).run(resume=halted)
    assert told(Run(halted)) == before


def test_a_run_that_ends_while_somebody_looks_whether_it_could_be_resumed_is_left_alone(halted, tiny, tmp_path, monkeypatch):
    from neural_plasticity.experiment import resuming

    settings = little(tmp_path)
    late = experiment(settings, tiny.tokenizer)
    usual = resuming._require_same

    def meanwhile(*arguments):
        monkeypatch.undo()
        experiment(settings, tiny.tokenizer).run(resume=halted)
        usual(*arguments)

    monkeypatch.setattr(resuming, "_require_same", meanwhile)
    with pytest.raises(NotARun, match="come to its end"):
        late.run(resume=halted)
    assert Run(halted).events(Finished)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("story.json", lambda raw: raw.replace(b'"steps": 2', b'"steps": 1')),
        ("story.json", lambda raw: raw[: len(raw) // 2]),
        ("story.json", lambda raw: b"{}"),
        ("story.safetensors", lambda raw: raw[:-1] + b"\x7f"),
        ("moments.safetensors", lambda raw: raw[:-1] + b"\x7f"),
        ("moments.safetensors", None),
        ("checksums.json", lambda raw: b"[]"),
        ("model", None),
    ],
)
def test_a_checkpoint_that_was_tampered_with_is_refused(halted, name, change, tiny, tmp_path):
    settings = little(tmp_path)
    path = halted / Run(halted).events(Checkpoint)[-1].folder / name
    if path.is_dir():
        shutil.rmtree(path)
    elif change is None:
        path.unlink()
    else:
        assert change(path.read_bytes()) != path.read_bytes()
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(PlasticityError, match=r"cannot be read|restore it from a copy|holds no model|does not") as refusal:
        experiment(settings, tiny.tokenizer).run(resume=halted)
    assert str(halted) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_weights_that_were_tampered_with_are_refused(halted, tiny, tmp_path):
    settings = little(tmp_path)
    (path,) = (halted / Run(halted).events(Checkpoint)[-1].folder / "model").glob("weights-*.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(PlasticityError, match="checksum"):
        experiment(settings, tiny.tokenizer).run(resume=halted)


def test_a_checkpoint_outside_of_the_run_is_refused(halted, tiny, tmp_path):
    settings = little(tmp_path)
    with Writer(halted) as writer:
        writer.write(Checkpoint(folder="../elsewhere", step=0))
    with pytest.raises(CorruptRecord, match="outside of it"):
        experiment(settings, tiny.tokenizer).run(resume=halted)


def test_other_settings_are_refused_by_name(halted, tiny, tmp_path):
    with pytest.raises(SettingNotUsable, match=r"was started with level 0\.4, and this experiment has 0\.5"):
        experiment(little(tmp_path, level=0.5), tiny.tokenizer).run(resume=halted)
    elsewhere = experiment(little(tmp_path / "elsewhere", device="cpu"), tiny.tokenizer, Recorder(lambda event: True))
    with pytest.raises(KeyboardInterrupt):  # where it lies, and on what it is computed, may change
        elsewhere.run(resume=halted)


def test_a_folder_that_is_no_run_is_refused(tiny, tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotARun):
            experiment(little(tmp_path), tiny.tokenizer).run(resume=folder)


def test_the_settings_that_a_run_was_started_with_are_in_its_record_with_nothing_left_open(tiny, tmp_path):
    settings = little(tmp_path, learning_rate=None, cycles=0, warmup_steps=0)
    recorded = experiment(settings, tiny.tokenizer).run().run.description["settings"]
    assert recorded["learning_rate"] == 5e-5
    assert recorded["model"] == "LlamaForCausalLM"
    assert json.loads(json.dumps(recorded)) == recorded
