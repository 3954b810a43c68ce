"""A whole run, from settings to its record."""

import json

import numpy as np
import pytest

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.sites import Anatomy
from neural_plasticity.errors import ModelNotUsable, SettingNotUsable
from neural_plasticity.experiment.experiment import Experiment
from neural_plasticity.inputs.documents import Document
from neural_plasticity.launch import run
from neural_plasticity.record import Evaluation, Failed, Finished, Metrics, PhaseStarted, RunStarted, Sample
from neural_plasticity.settings import Settings


@pytest.fixture
def settings(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("def f(x):\n    return x\n" * 40)
    return Settings(text=str(text), out=str(tmp_path / "runs"), max_length=16, batch_size=2, sample_tokens=5, device="cpu")


def test_a_run_is_recorded_from_start_to_end(settings):
    outcome = run(settings, quiet=True)
    record = outcome.run
    kinds = [type(entry.event) for entry in record.entries()]
    assert kinds[0] is RunStarted
    assert kinds[-1] is Finished
    assert [phase.phase for phase in record.events(PhaseStarted)] == ["evaluation", "sample"]
    (evaluation,) = record.events(Evaluation)
    losses = record.tensors(evaluation)["document_losses"]
    np.testing.assert_allclose(losses[0], evaluation.values["loss_nats"], rtol=1e-6)  # one document, so its loss is the mean
    (phase, _) = record.events(PhaseStarted)
    assert phase.steps == len(record.events(Metrics))
    assert record.description["settings"] == json.loads(json.dumps(settings.as_dict()))
    assert record.description["environment"]["device"] == "cpu" or record.description["environment"]["has_gpu"]
    assert len(record.events(Sample)) == 1
    assert Anatomy.from_dict(record.description["anatomy"]) == dissect(outcome.model)
    assert outcome.model.num_parameters() > 0


def test_two_runs_in_the_same_second_get_folders_of_their_own(settings):
    assert len({run(settings, quiet=True).folder for _ in range(3)}) == 3


def test_the_same_settings_give_the_same_events_apart_from_times(settings):
    first, second = (
        [entry.event for entry in run(settings, quiet=True).run.entries() if not isinstance(entry.event, RunStarted)]
        for _ in range(2)
    )
    assert first == second


def test_nothing_is_left_behind_by_a_run_that_could_not_begin(settings, tmp_path):
    from dataclasses import replace

    with pytest.raises(ModelNotUsable):
        run(replace(settings, model="./nowhere"), quiet=True)
    assert not (tmp_path / "runs").exists()


class Recorder:
    """A sink that keeps events, and can break at one."""

    def __init__(self, breaks_at: type | None = None, fault: BaseException | None = None) -> None:
        self.events, self._breaks_at, self._fault = [], breaks_at, fault

    def write(self, event, tensors=None) -> None:
        self.events.append(event)
        if self._fault is not None and type(event) is self._breaks_at:
            fault, self._fault = self._fault, None
            raise fault

    def close(self) -> None:
        pass


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), ValueError("a broken batch")])
def test_a_stop_is_told_to_the_record_before_it_goes_on(tiny, settings, fault):
    recorder = Recorder(Metrics, fault)
    experiment = Experiment(
        settings, model=tiny.model, tokenizer=tiny.tokenizer, held_out=[Document("a", "def f(): pass\n" * 9)], sinks=[recorder]
    )
    with pytest.raises(type(fault)):
        experiment.run()
    last = recorder.events[-1]
    assert isinstance(last, Failed)
    assert (last.phase, last.error) == ("evaluation", type(fault).__name__)
    assert last.message


def test_an_experiment_on_text_needs_a_tokenizer(tiny, settings):
    with pytest.raises(ModelNotUsable, match="tokenizer"):
        Experiment(settings, model=tiny.model, tokenizer=None, held_out=[])


@pytest.mark.parametrize(
    "wrong", [{"max_length": 1}, {"batch_size": 0}, {"batch_size": 2.5}, {"seed": -1}, {"eval_tokens": "many"}]
)
def test_settings_outside_what_they_may_be_are_refused(wrong):
    ((name, _),) = wrong.items()
    with pytest.raises(SettingNotUsable, match=name):
        Settings(**wrong)
