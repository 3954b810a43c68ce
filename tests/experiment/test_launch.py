"""A whole run, from settings to its record."""

import json
from dataclasses import replace

import numpy as np
import pytest
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.sites import Anatomy
from neural_plasticity.errors import ModelNotUsable, SettingNotUsable, TextNotUsable
from neural_plasticity.experiment.experiment import Experiment
from neural_plasticity.inputs.documents import Document
from neural_plasticity.launch import run
from neural_plasticity.record import Evaluation, Failed, Finished, Metrics, PhaseStarted, RunStarted, Sample
from neural_plasticity.settings import Settings


@pytest.fixture
def settings(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("def f(x):\n    return x\n" * 200)
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


def test_settings_reach_what_they_are_about(settings, tmp_path):
    """The held-out side is what is evaluated, in windows and a number of tokens as asked; the sample is as asked."""
    outcome = run(replace(settings, eval_tokens=64, sample_tokens=3, prompt="import ", seed=5), quiet=True)
    (evaluation,) = outcome.run.events(Evaluation)
    assert evaluation.documents == ("a.txt",)
    assert evaluation.values["tokens"] == 64 / 16 * 15  # each window of 16 predicts 15
    (sample,) = outcome.run.events(Sample)
    assert (sample.prompt, sample.seed) == ("import ", 5)
    assert len(sample.text) < 30
    (finished,) = outcome.run.events(Finished)
    assert finished.summary == evaluation.values
    table = tmp_path / "b.csv"
    table.write_text("one,two\n" + "alpha beta gamma,delta\n" * 30)
    with pytest.raises(TextNotUsable, match="one, two"):
        run(replace(settings, text=str(table)), quiet=True)
    assert run(replace(settings, text=str(table), text_column="one"), quiet=True).run.events(Evaluation)


def test_a_model_with_few_positions_is_read_in_windows_that_fit(settings, tmp_path, tiny):
    small = GPT2LMHeadModel(GPT2Config(n_positions=8, n_embd=16, n_layer=1, n_head=2, vocab_size=len(tiny.tokenizer)))
    small.save_pretrained(tmp_path / "small")
    tiny.tokenizer.save_pretrained(tmp_path / "small")
    outcome = run(replace(settings, model=str(tmp_path / "small"), prompt="a", sample_tokens=2), quiet=True)
    assert outcome.run.events(Finished)


@pytest.mark.parametrize(
    "model",
    [
        BertForMaskedLM(
            BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=2048)
        )
    ],
    ids=lambda model: type(model).__name__,
)
def test_models_that_predict_no_next_token_are_refused_before_a_folder_is_made(settings, tmp_path, tiny, model):
    model.save_pretrained(tmp_path / "model")
    tiny.tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(ModelNotUsable, match="causal"):
        run(replace(settings, model=str(tmp_path / "model")), quiet=True)
    assert not (tmp_path / "runs").exists()


def test_two_runs_in_the_same_second_get_folders_of_their_own(settings):
    assert len({run(settings, quiet=True).folder for _ in range(3)}) == 3


def test_the_same_settings_give_the_same_events_apart_from_times(settings):
    first, second = (
        [entry.event for entry in run(settings, quiet=True).run.entries() if not isinstance(entry.event, RunStarted)]
        for _ in range(2)
    )
    assert first == second


def test_nothing_is_left_behind_by_a_run_that_could_not_begin(settings, tmp_path):
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
