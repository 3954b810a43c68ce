"""From settings to a recorded experiment: run, resume, compare, analyze."""

import gc
import json
import re
import shutil
import weakref
from dataclasses import replace

import pytest
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.sites import Anatomy
from neural_plasticity.errors import ModelNotUsable, NotARun, SettingNotUsable, TextNotUsable
from neural_plasticity.experiment.recording import begin_record
from neural_plasticity.launch import analyze, compare, resume, run
from neural_plasticity.record import Evaluation, Failed, Finished, HeadsMeasured, PhaseStarted, Run, RunStarted, Sample
from tests.experiment.runs import Recorder, assert_same_end, little, small, told
from tests.experiment.test_resume import in_step


@pytest.fixture(scope="module")
def model(tiny, tmp_path_factory):
    """The folder of a small model."""
    folder = tmp_path_factory.mktemp("model")
    small().save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def settings(model, tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("def f(x):\n    return x\n" * 200)
    return little(tmp_path / "runs", model=str(model), text=str(text), device="cpu", cycles=1, warmup_steps=2)


def test_a_run_is_recorded_from_start_to_end(settings):
    outcome = run(settings, quiet=True)
    record = outcome.run
    kinds = [type(entry.event) for entry in record.entries()]
    assert kinds[0] is RunStarted
    assert kinds[-1] is Finished
    description = record.description
    assert description["settings"] == json.loads(json.dumps(settings.as_dict()))
    assert description["environment"]["device"] == "cpu" or description["environment"]["has_gpu"]
    assert (description["job"], description["by_name"]) == ("run", True)
    assert Anatomy.from_dict(description["anatomy"]) == dissect(small())
    assert "resumed" not in description
    assert (record.folder / "model" / "config.json").exists()


def test_settings_reach_what_they_are_about(settings, tmp_path):
    """The held-out side is what is evaluated, in windows and a number of tokens as asked; the sample is as asked."""
    outcome = run(replace(settings, eval_tokens=64, sample_tokens=3, prompt="import ", seed=5, cycles=0), quiet=True)
    evaluation = outcome.run.events(Evaluation)[0]
    assert evaluation.documents == ("a.txt",)
    assert evaluation.values["tokens"] == 64 / 16 * 15  # each window of 16 predicts 15
    assert {(sample.prompt, sample.seed) for sample in outcome.run.events(Sample)} == {("import ", 5)}
    table = tmp_path / "b.csv"
    table.write_text("one,two\n" + "alpha beta gamma,delta\n" * 30)
    with pytest.raises(TextNotUsable, match="one, two"):
        run(replace(settings, text=str(table)), quiet=True)
    assert run(replace(settings, text=str(table), text_column="one", cycles=0), quiet=True).run.events(Evaluation)


def test_the_same_settings_give_the_same_run(settings):
    assert_same_end(*(run(settings, quiet=True).folder for _ in range(2)))


def test_a_stopped_run_says_how_to_go_on_and_goes_on_to_the_end_that_it_would_have_had(settings):
    recorder = Recorder(in_step(5))
    with pytest.raises(KeyboardInterrupt) as stop:
        run(settings, quiet=True, sinks=[recorder])
    (folder,) = (path for path in (settings_folder(settings)).iterdir())
    assert stop.value.__notes__ == [f"stopped; go on with: plasticity resume {folder}"]
    watching = Recorder()
    outcome = resume(folder, quiet=True, sinks=[watching])
    assert outcome.folder == folder
    assert isinstance(watching.events[0], RunStarted)
    assert watching.events[0].resumed
    assert isinstance(watching.events[1], PhaseStarted)
    assert (watching.events[1].phase, watching.events[1].steps) == ("fine-tuning", 4)  # they hear of it again, the record does not
    whole = run(settings, quiet=True)
    assert_same_end(whole.folder, folder)


def settings_folder(settings):
    from pathlib import Path

    return Path(settings.out)


def test_a_run_is_resumed_from_another_place(settings, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(settings, quiet=True, sinks=[Recorder(in_step(5))])
    (folder,) = settings_folder(settings).iterdir()
    shutil.move(folder, tmp_path / "moved")
    assert resume(tmp_path / "moved", quiet=True).folder == tmp_path / "moved"


def test_an_operated_model_by_name_is_pruned_further_and_resumed(settings, capsys):
    first = run(settings, quiet=True)
    further = replace(settings, model=str(first.folder / "model"), level=0.6)
    whole = run(further, quiet=True)
    assert set(first.surgeon.dormant) < set(whole.surgeon.dormant)
    with pytest.raises(KeyboardInterrupt):
        run(further, sinks=[Recorder(in_step(6))])
    assert "pruned 38%" in (first_try := capsys.readouterr().err)  # three of eight, which sleep from the start
    assert "pruned 62%" in first_try
    folder = max(settings_folder(settings).iterdir(), key=lambda path: path.stat().st_ctime)
    assert_same_end(whole.folder, resume(folder).folder)
    assert re.findall(r"pruned \d+%", capsys.readouterr().err)[0] == "pruned 62%"


def test_a_run_whose_model_is_gone_is_not_resumed(settings, model, tmp_path):
    shutil.copytree(model, tmp_path / "copy")
    with pytest.raises(KeyboardInterrupt):
        run(replace(settings, model=str(tmp_path / "copy")), quiet=True, sinks=[Recorder(in_step(3))])
    (folder,) = settings_folder(settings).iterdir()
    before = told(Run(folder))
    shutil.rmtree(tmp_path / "copy")
    with pytest.raises(ModelNotUsable, match="copy' does not exist"):
        resume(folder, quiet=True)
    assert told(Run(folder)) == before


def test_only_a_stopped_run_is_resumed(settings, tmp_path):
    finished = run(replace(settings, cycles=0, warmup_steps=0), quiet=True).folder
    with pytest.raises(NotARun, match="come to its end, so there is nothing to resume"):
        resume(finished, quiet=True)
    _, analysis = analyze(settings, quiet=True)
    with pytest.raises(NotARun, match="a run of `plasticity analyze`, which is not gone on with"):
        resume(analysis.folder, quiet=True)
    with begin_record(settings, "just begun", dissect(small()), job="analyze") as writer:
        pass
    with pytest.raises(NotARun, match="plasticity analyze"):
        resume(writer.folder, quiet=True)
    for folder in (tmp_path, tmp_path / "nowhere", tmp_path / "a.txt"):
        with pytest.raises(NotARun):
            resume(folder, quiet=True)


def test_a_record_without_usable_settings_is_not_resumed(settings):
    with begin_record(settings, "odd", dissect(small())) as writer:
        writer.describe(settings={"model": "tiny"})
    with pytest.raises(SettingNotUsable, match="does not say with which settings"):
        resume(writer.folder, quiet=True)
    with begin_record(settings, "newer", dissect(small())) as writer:
        writer.describe(settings={**settings.as_dict(), "novelty": 1})
    with pytest.raises(SettingNotUsable, match="no setting 'novelty'"):
        resume(writer.folder, quiet=True)


def test_a_run_killed_before_its_first_event_begins_anew(settings):
    with begin_record(settings, "early", dissect(small())) as writer:
        pass
    outcome = resume(writer.folder, quiet=True)
    assert outcome.folder == writer.folder
    assert [event.resumed for event in outcome.run.events(RunStarted)] == [False]


def test_strategies_are_compared_with_everything_else_alike(settings):
    runs = compare(settings, ["taylor", "random"], quiet=True)
    assert [run.description["settings"]["strategy"] for run in runs] == ["taylor", "random"]
    first, second = (told(run) for run in runs)
    assert first[:5] == second[:5]
    for wrong in ([], ["taylor", "tailor"]):
        with pytest.raises(SettingNotUsable):
            compare(settings, wrong, quiet=True)


def test_one_model_at_a_time_is_in_memory_while_strategies_are_compared(settings, monkeypatch):
    models, alive = [], []

    def watched(*given, **more):
        gc.collect()
        alive.append(sum(model() is not None for model in models))
        outcome = run(*given, **more)
        models.append(weakref.ref(outcome.model))
        return outcome

    monkeypatch.setattr("neural_plasticity.launch.run", watched)
    compare(replace(settings, warmup_steps=0, steps=0), ["taylor", "random", "magnitude"], quiet=True)
    assert alive == [0, 0, 0]


def test_an_analysis_is_recorded_too(settings):
    found, record = analyze(settings, quiet=True)
    assert record.description["job"] == "analyze"
    (measured,) = record.events(HeadsMeasured)
    assert set(measured.signals) == set(found)


def test_a_model_with_few_positions_is_read_in_windows_that_fit(settings, tmp_path, tiny):
    few = GPT2LMHeadModel(GPT2Config(n_positions=8, n_embd=16, n_layer=1, n_head=2, vocab_size=len(tiny.tokenizer)))
    few.save_pretrained(tmp_path / "few")
    tiny.tokenizer.save_pretrained(tmp_path / "few")
    outcome = run(replace(settings, model=str(tmp_path / "few"), prompt="a", sample_tokens=2), quiet=True)
    assert outcome.run.events(Finished)


def test_models_that_predict_no_next_token_are_refused_before_a_folder_is_made(settings, tmp_path, tiny):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 2048}
    BertForMaskedLM(BertConfig(**sizes)).save_pretrained(tmp_path / "encoder")
    tiny.tokenizer.save_pretrained(tmp_path / "encoder")
    with pytest.raises(ModelNotUsable, match="causal"):
        run(replace(settings, model=str(tmp_path / "encoder")), quiet=True)
    assert not (tmp_path / "runs").exists()


def test_two_runs_in_the_same_second_get_folders_of_their_own(settings):
    short = replace(settings, cycles=0, warmup_steps=0, sample_tokens=0)
    assert len({run(short, quiet=True).folder for _ in range(3)}) == 3


def test_nothing_is_left_behind_by_a_run_that_could_not_begin(settings, tmp_path):
    with pytest.raises(ModelNotUsable):
        run(replace(settings, model="./nowhere"), quiet=True)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), ValueError("a broken batch")])
def test_a_stop_is_told_to_the_record_before_it_goes_on(settings, fault):
    recorder = Recorder(lambda event: isinstance(event, Evaluation), fault)
    with pytest.raises(type(fault)):
        run(settings, quiet=True, sinks=[recorder])
    (folder,) = settings_folder(settings).iterdir()
    for last in (recorder.events[-1], list(Run(folder).entries())[-1].event):
        assert isinstance(last, Failed)
        assert (last.phase, last.error) == ("evaluation", type(fault).__name__)
        assert last.message
