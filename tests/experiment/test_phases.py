"""What a run tells on its way: phases, steps, numbers, signals, maps, samples, and what it all comes to."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from neural_plasticity.heads import HeadId
from neural_plasticity.inputs.documents import Document
from neural_plasticity.record import (
    Attention,
    Compared,
    DecisionMade,
    Evaluation,
    Finished,
    HeadsMeasured,
    Metrics,
    Notice,
    Operation,
    PhaseStarted,
    Sample,
)
from neural_plasticity.surgery.surgeon import Surgeon
from neural_plasticity.training.course import Course
from tests.experiment.runs import TEXTS, Recorder, experiment, little
from tests.experiment.test_resume import in_step


@pytest.fixture(scope="module")
def told(tiny, tmp_path_factory):
    """A run of two cycles, with all that a sink heard of it."""
    recorder = Recorder()
    folder = tmp_path_factory.mktemp("phases")
    made = experiment(little(folder, speed_tokens=8), tiny.tokenizer, recorder)
    outcome = made.run()
    return made, outcome, recorder.events


def phases(events):
    """Each phase with the events in it."""
    found = []
    for event in events:
        if isinstance(event, PhaseStarted):
            found.append((event, []))
        elif found:
            found[-1][1].append(event)
    return found


def test_the_phases_come_in_their_order_with_their_cycles(told):
    _, _, events = told
    cycle = ["analysis", "pruning", "evaluation", "fine-tuning", "evaluation", "sample"]
    expected = [("evaluation", None), ("sample", None), ("warm-up", None), ("evaluation", None), ("sample", None)]
    expected += [(phase, number) for number in (1, 2) for phase in cycle]
    expected += [(phase, None) for phase in ("comparison", "saving", "speed", "complete")]
    assert [(phase.phase, phase.cycle) for phase, _ in phases(events)] == expected


def test_a_phase_takes_as_many_steps_as_it_says(told):
    for phase, events in phases(told[2]):
        steps = [event.step for event in events if isinstance(event, Metrics)]
        assert steps == list(range(1, (phase.steps or 0) + 1)), phase.phase


def test_each_step_of_learning_tells_its_loss_rate_and_gradient_and_how_often_the_text_was_read(told):
    _, outcome, _ = told
    steps = [event for event in outcome.run.events(Metrics) if "train_loss" in event.values]
    assert [event.step for event in steps] == [*range(1, 5)] * 3
    assert all(event.values.keys() == {"train_loss", "learning_rate", "gradient_norm"} for event in steps)
    assert all(math.isfinite(value) and value > 0 for event in steps for value in event.values.values())
    assert [event.values["learning_rate"] for event in steps[4:8]] == pytest.approx([1e-2, 0.75e-2, 0.5e-2, 0.25e-2])
    windows = sum(len(ids) // 16 + (len(ids) % 16 >= 2) for ids in (told_ids(text) for text in TEXTS))
    full = windows // 4  # batches of four; what is left over is for another pass
    assert [event.epoch for event in steps] == pytest.approx([number / full for number in range(1, 13)])


def told_ids(text) -> list[int]:
    from neural_plasticity.inputs.models import load_model

    return load_model("tiny", "cpu").tokenizer(text.text)["input_ids"]


def test_the_rate_rises_over_an_eighth_of_a_chapter_whatever_the_others_take(tiny, tmp_path):
    outcome = experiment(little(tmp_path, warmup_steps=16, steps=80, cycles=0), tiny.tokenizer).run()
    rates = [event.values["learning_rate"] for event in outcome.run.events(Metrics) if "train_loss" in event.values]
    assert rates[:3] == pytest.approx([0.5e-2, 1e-2, 1e-2])
    assert rates[3] < 1e-2


def test_every_stage_is_judged_on_the_same_documents(told):
    _, outcome, _ = told
    found = outcome.run.events(Evaluation)
    assert [(event.stage, event.cycle) for event in found] == [
        ("baseline", None),
        ("warm", None),
        *((stage, cycle) for cycle in (1, 2) for stage in ("pruned", "fine_tuned")),
    ]
    assert {event.documents for event in found} == {tuple(text.name for text in TEXTS)}
    for event in found:
        assert event.values["perplexity"] == pytest.approx(math.exp(event.values["loss_nats"]))
        assert len(outcome.run.tensors(event)["document_losses"]) == len(TEXTS)


def test_samples_are_written_before_and_after_from_the_same_prompt_and_seed(told):
    found = told[1].run.events(Sample)
    assert [(event.stage, event.cycle) for event in found] == [
        ("baseline", None),
        ("warm", None),
        ("fine_tuned", 1),
        ("fine_tuned", 2),
    ]
    assert {(event.prompt, event.seed) for event in found} == {("def ", 0)}


def test_signals_and_maps_are_there_at_every_cycle(told):
    _, outcome, _ = told
    measured = outcome.run.events(HeadsMeasured)
    assert [event.cycle for event in measured] == [1, 2]
    assert {"entropy", "taylor", "gradient"} <= outcome.run.tensors(measured[0]).keys()
    shown = outcome.run.events(Attention)
    assert [(event.stage, event.cycle) for event in shown] == [("before", 1), ("fine_tuned", 1), ("fine_tuned", 2)]
    assert len(shown[0].heads) == 4
    assert set(shown[2].heads) <= set(shown[0].heads)  # those that are still there
    for event in shown:
        for rows in outcome.run.tensors(event).values():
            np.testing.assert_allclose(rows.astype(float).sum(-1), 1, atol=5e-3)


def test_every_decision_is_told_before_the_operation_that_carries_it_out(told):
    _, outcome, events = told
    for cycle in (1, 2):
        mine = [event for event in events if getattr(event, "cycle", None) == cycle]
        decided = [event.head for event in mine if isinstance(event, DecisionMade)]
        (operation,) = [event for event in mine if isinstance(event, Operation)]
        assert list(operation.heads) == decided
        assert mine.index(operation) > max(mine.index(event) for event in mine if isinstance(event, DecisionMade))
        assert operation.after["parameters"] < operation.before["parameters"]
    assert outcome.surgeon.dormant == sorted(event.head for event in outcome.run.events(DecisionMade))
    assert len(outcome.surgeon.dormant) == round(0.4 * 8)


def test_the_summary_is_what_the_stages_say(told):
    _, outcome, _ = told
    (finished,) = outcome.run.events(Finished)
    summary, stages = finished.summary, outcome.run.events(Evaluation)
    for suffix, event in (("", stages[-1]), ("_before", stages[0])):
        assert summary[f"loss_nats{suffix}"] == event.values["loss_nats"]
        assert summary[f"perplexity{suffix}"] == event.values["perplexity"]
    sizes = Surgeon(outcome.model).report()
    for name in ("parameters", "parameter_bytes", "cache_bytes_per_token"):
        assert summary[name] == getattr(sizes.after, name) < summary[f"{name}_before"] == getattr(sizes.before, name)
    assert (summary["heads"], summary["heads_before"], summary["steps"]) == (5, 8, 12)
    assert summary["prefill_ratio"] > 0
    assert summary["decode_ratio"] > 0


def test_quality_is_compared_document_by_document_with_an_interval_and_the_worst_by_name(told):
    _, outcome, _ = told
    by_stage = {
        (event.stage, event.cycle): outcome.run.tensors(event)["document_losses"] for event in outcome.run.events(Evaluation)
    }
    last = by_stage["fine_tuned", 2]
    baseline, warm, speed = outcome.run.events(Compared)
    assert (baseline.before, warm.before, speed.before) == ("baseline", "warm", "all heads")
    for event in (baseline, warm):
        differences = last.astype(float) - by_stage[event.before, None].astype(float)
        np.testing.assert_allclose(outcome.run.tensors(event)["differences"], differences, atol=1e-6)
        assert event.values["mean_difference"] == pytest.approx(differences.mean(), abs=1e-6)
        assert event.values["low"] < event.values["mean_difference"] < event.values["high"]
        order = np.argsort(-differences)
        assert list(event.documents) == [TEXTS[place].name for place in order[:5] if differences[place] > 0]
    summary = outcome.run.events(Finished)[0].summary
    for name, event in (("loss_difference", baseline), ("loss_difference_from_warm", warm)):
        expected = [event.values[each] for each in ("mean_difference", "low", "high")]
        assert [summary[f"{name}{bound}"] for bound in ("", "_low", "_high")] == expected


def test_without_a_warm_up_it_is_compared_with_the_model_as_it_came(tiny, tmp_path):
    outcome = experiment(little(tmp_path, warmup_steps=0, cycles=1), tiny.tokenizer).run()
    (compared,) = outcome.run.events(Compared)
    summary = outcome.run.events(Finished)[0].summary
    assert summary["loss_difference"] == compared.values["mean_difference"]
    assert not [name for name in summary if "warm" in name]
    assert compared.before == "baseline"


class NoMemory(RuntimeError):
    """As torch says it: an error of its own, under that of Python."""


@pytest.mark.parametrize(
    "fault", [NoMemory("DefaultCPUAllocator: can't allocate memory"), MemoryError(), torch.OutOfMemoryError("CUDA")]
)
def test_a_model_too_large_to_be_timed_beside_another_is_saved_first_and_its_run_comes_to_its_end(
    fault, tiny, tmp_path, monkeypatch
):
    def compare(*given, **more):
        raise fault

    monkeypatch.setattr("neural_plasticity.experiment.closing.compare_speed", compare)
    saved: list[bool] = []
    watching = Recorder(lambda event: isinstance(event, PhaseStarted) and event.phase == "speed" and saved.append(found(tmp_path)))
    outcome = experiment(little(tmp_path, cycles=1, speed_tokens=8), tiny.tokenizer, watching).run()
    assert saved == [True]
    (finished,) = outcome.run.events(Finished)
    assert "prefill_ratio" not in finished.summary
    (notice,) = [event.message for event in outcome.run.events(Notice) if "speed" in event.message]
    assert "The speed was not measured" in notice
    assert type(fault).__name__ in notice
    assert "set speed_tokens lower than 8" in notice


def found(folder) -> bool:
    return any(folder.glob("*/model/config.json"))


def test_the_results_go_by_their_names_of_old(told):
    made, outcome, _ = told
    warm, pruned = made.warmup_results, made.pruning_results
    assert warm is not None
    assert pruned is not None
    assert len(warm["losses"]) == 4
    assert pruned["pruned_heads"] == [tuple(head) for head in outcome.surgeon.dormant]
    assert pruned["pruning_mask"].sum() == 3
    assert [each["cycle"] for each in pruned["cycles"]] == [1, 2]
    assert pruned["final_metrics"]["loss"] == outcome.run.events(Evaluation)[-1].values["loss_nats"]
    assert set(pruned["training_metrics"]) == {"warm-up", "fine-tuning 1", "fine-tuning 2"}


def test_a_cycle_without_a_cut_leaves_the_worth_after_the_last_cut_as_it_was(tiny, tmp_path):
    made = experiment(little(tmp_path, level=1.0, cycles=4, steps=1, warmup_steps=0), tiny.tokenizer)
    outcome = made.run()
    losses = {event.cycle: event.values["loss_nats"] for event in outcome.run.events(Evaluation) if event.stage == "pruned"}
    assert list(losses) == [1, 2, 3]  # the fourth finds one head in each layer, which stays
    found = made.pruning_results
    assert found is not None
    assert found["pruned_metrics"]["loss"] == losses[3]


@pytest.mark.parametrize(("warmup_steps", "seen"), [(4, 2), (0, None)])
def test_only_losses_of_the_warm_up_are_its_results(warmup_steps, seen, tiny, tmp_path):
    stop = Recorder(lambda event: isinstance(event, Metrics) and event.step == 2 and "train_loss" in event.values)
    made = experiment(little(tmp_path, warmup_steps=warmup_steps), tiny.tokenizer, stop)
    with pytest.raises(KeyboardInterrupt):
        made.run()
    found = made.warmup_results
    assert (len(found["losses"]) if found else None) == seen


def test_the_final_model_opens_as_it_was_left(told):
    from neural_plasticity.launch import open_model

    _, outcome, _ = told
    opened = open_model(str(outcome.folder / "model"), "cpu")
    ids = torch.arange(9)[None]
    assert torch.equal(opened.model(ids).logits, outcome.model(ids).logits)
    assert opened.tokenizer is not None
    Surgeon(opened.model).revive([outcome.surgeon.dormant[0]])


def test_what_is_not_wanted_is_not_written(tiny, tmp_path):
    settings = little(tmp_path, save_model=False, sample_tokens=0, attention_heads=0, steps=0, warmup_steps=0)
    outcome = experiment(settings, tiny.tokenizer).run()
    kinds = Counter(event.kind for event in (entry.event for entry in outcome.run.entries()))
    assert kinds["sample"] == kinds["attention"] == 0
    assert not (outcome.folder / "model").exists()
    assert "metrics" in kinds


def test_without_recovery_each_cycle_ends_with_a_sample_and_maps_all_the_same(tiny, tmp_path):
    outcome = experiment(little(tmp_path, steps=0, warmup_steps=0), tiny.tokenizer).run()
    assert [(event.stage, event.cycle) for event in outcome.run.events(Sample)] == [
        ("baseline", None),
        ("pruned", 1),
        ("pruned", 2),
    ]
    assert [(event.stage, event.cycle) for event in outcome.run.events(Attention)] == [("before", 1), ("pruned", 1), ("pruned", 2)]
    assert outcome.run.events(Finished)[0].summary["loss_difference"]


@pytest.mark.parametrize(("patience", "glances"), [(0, [2, 4, 6]), (1, [2, 4])])
def test_glances_are_told_with_and_without_patience(patience, glances, tiny, tmp_path):
    """What is learned of one text makes another one less likely, so that no glance is better than the first."""
    settings = little(tmp_path, warmup_steps=0, cycles=1, steps=6, eval_every=2, learning_rate=0.1, patience=patience)
    other = [Document("other", "class Stack:\n    pass  # with, while, import, yield\n" * 4)]
    outcome = experiment(settings, tiny.tokenizer, eval=other).run()
    (tuning,) = [events for phase, events in phases(entry.event for entry in outcome.run.entries()) if phase.phase == "fine-tuning"]
    assert [event.step for event in tuning if isinstance(event, Metrics) and "eval_loss" in event.values] == glances
    assert any("stopped early after 4 steps" in event.message for event in tuning if isinstance(event, Notice)) == bool(patience)


def test_patience_does_not_end_the_warm_up(tiny, tmp_path):
    settings = little(tmp_path, warmup_steps=8, cycles=1, steps=8, eval_every=1, learning_rate=0.1, patience=1)
    other = [Document("other", "class Stack:\n    pass  # with, while, import, yield\n" * 4)]
    outcome = experiment(settings, tiny.tokenizer, eval=other).run()
    took = {
        phase.phase: Counter(name for event in events if isinstance(event, Metrics) for name in event.values)
        for phase, events in phases(entry.event for entry in outcome.run.entries())
    }
    assert (took["warm-up"]["train_loss"], took["warm-up"]["eval_loss"]) == (8, 8)
    assert took["fine-tuning"]["train_loss"] < 8


def test_steps_that_fp16_skipped_are_told_once_a_chapter_also_after_a_stop(tiny, tmp_path, monkeypatch):
    usual = Course.step

    def overflowing(course, batches):
        taken = usual(course, batches)
        return replace(taken, skipped=course.done in (1, 2, 4) and course.steps == 4)

    monkeypatch.setattr(Course, "step", overflowing)
    settings = little(tmp_path, warmup_steps=3, cycles=1)
    made = experiment(settings, tiny.tokenizer, Recorder(in_step(6)))
    with pytest.raises(KeyboardInterrupt):
        made.run()
    run = experiment(settings, tiny.tokenizer).run(resume=made.folder).run
    (notice,) = [event.message for event in run.events(Notice)]
    assert notice.startswith("In 3 of 4 steps the gradient overflowed")


def test_newborn_heads_are_told_and_protected_for_a_cycle(tiny, tmp_path):
    settings = little(tmp_path, schedule="drop_and_grow", exchange=0.25, cycles=3, newborn_rate=3.0, steps=2, growth="random")
    outcome = experiment(settings, tiny.tokenizer).run()
    came_back = {event.cycle: set(event.heads) for event in outcome.run.events(Operation) if event.action == "revive"}
    gone = {event.cycle: set(event.heads) for event in outcome.run.events(Operation) if event.action == "prune"}
    assert [len(came_back[cycle]) for cycle in (2, 3)] == [2, 2]
    assert not came_back[2] & gone[3]  # protected
    assert not came_back[2] & gone[2]  # those that went just now do not come back at once
    assert len(outcome.surgeon.dormant) == round(0.4 * 8)
    assert all(isinstance(head, HeadId) for head in came_back[2])
    learned = {event.cycle: event for event in outcome.run.events(PhaseStarted) if event.phase == "fine-tuning"}
    assert outcome.run.tensors(learned[1]) == {}  # nobody is newborn yet, so all learn alike
    for cycle in (2, 3):
        rates = outcome.run.tensors(learned[cycle])["rates"]
        asleep = set().union(*(gone[each] for each in range(1, cycle + 1))) - came_back[cycle]
        asleep -= came_back[2] - gone[cycle]
        for head in outcome.surgeon.anatomy.heads:
            rate = 3 if head in came_back[cycle] else np.nan if head in asleep else 1
            np.testing.assert_equal(rates[head], rate)
