"""The ends of what may be asked for: each does something clear, or is refused in one sentence."""

import math

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from neural_plasticity.errors import SettingNotUsable, SurgeryError, TextNotUsable
from neural_plasticity.experiment.experiment import Experiment
from neural_plasticity.experiment.gates import follow, only_sleepers, shut
from neural_plasticity.inputs.documents import Document
from neural_plasticity.record import Attention, Compared, Evaluation, Finished, Metrics, Notice, Operation, Sample
from neural_plasticity.surgery.surgeon import Surgeon
from neural_plasticity.training.moments import names_of
from neural_plasticity.training.recipe import Recipe, optimizer_for
from tests.experiment.runs import TEXTS, Recorder, experiment, little, small
from tests.experiment.test_objects import encoder, sentences


def notices(outcome) -> str:
    return " ".join(event.message for event in outcome.run.events(Notice))


def test_level_0_prunes_nothing_and_says_that_nothing_is_faster(tiny, tmp_path):
    outcome = experiment(little(tmp_path, level=0.0, speed_tokens=8), tiny.tokenizer).run()
    assert not outcome.run.events(Operation)
    assert "there is no speed-up to measure" in notices(outcome)


def test_level_0_with_an_exchange_stays_at_level_0(tiny, tmp_path):
    outcome = experiment(little(tmp_path, level=0.0, exchange=0.25, cycles=3, steps=0), tiny.tokenizer).run()
    assert not outcome.surgeon.dormant


@pytest.mark.parametrize(("min_heads", "left"), [(1, 2), (0, 0)])
def test_level_1_leaves_what_each_layer_is_to_keep(min_heads, left, tiny, tmp_path):
    settings = little(tmp_path, level=1.0, min_heads=min_heads, cycles=2, schedule="one_shot", steps=2, speed_tokens=8)
    outcome = experiment(settings, tiny.tokenizer).run()
    assert outcome.run.events(Finished)[0].summary["heads"] == left
    assert outcome.run.events(Compared)[-1].values["prefill_ratio"] > 0
    if left:
        assert "min_heads=1 keeps 2" in notices(outcome)
    else:  # and the second cycle finds an emptied model
        assert "No head is awake any more, so there was nothing to measure and nothing to prune." in notices(outcome)
        assert len(outcome.run.events(Evaluation)) == 2 + 1 + 2
        assert outcome.surgeon.revive(outcome.surgeon.dormant) < 1e-3


def test_a_model_with_one_head_keeps_it_or_loses_it(tiny, tmp_path):
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
    for min_heads, left in ((1, 1), (0, 0)):
        settings = little(tmp_path, level=1.0, min_heads=min_heads, cycles=1, steps=2, warmup_steps=0)
        outcome = experiment(settings, tiny.tokenizer, model=small(**sizes)).run()
        assert outcome.run.events(Finished)[0].summary["heads"] == left
        assert all(len(event.heads) == 1 for event in outcome.run.events(Attention))


@pytest.mark.parametrize(
    "nothing", [{"cycles": 0}, {"steps": 0}, {"warmup_steps": 0}, {"cycles": 0, "steps": 0, "warmup_steps": 0}]
)
def test_none_of_something_leaves_it_out(nothing, tiny, tmp_path):
    settings = little(tmp_path, **nothing)
    outcome = experiment(settings, tiny.tokenizer).run()
    summary = outcome.run.events(Finished)[0].summary
    assert summary["steps"] == settings.warmup_steps + settings.cycles * settings.steps
    assert summary["heads"] == (5 if settings.cycles else 8)
    assert bool(outcome.run.events(Compared)) == bool(settings.cycles or settings.warmup_steps)


def test_more_steps_than_anybody_waits_for_begin_at_once(tiny, tmp_path):
    settings = little(tmp_path, steps=10**12, warmup_steps=0)
    made = experiment(settings, tiny.tokenizer, Recorder(lambda event: isinstance(event, Metrics) and "train_loss" in event.values))
    with pytest.raises(KeyboardInterrupt):
        made.run()


def test_a_text_shorter_than_a_batch_and_than_a_window_is_read_all_the_same(tiny, tmp_path):
    short = [Document("short", "def f(x): return x")]
    settings = little(tmp_path, batch_size=64, max_length=64)
    outcome = experiment(settings, tiny.tokenizer, train=short, eval=short).run()
    steps = [event.epoch for event in outcome.run.events(Metrics) if "train_loss" in event.values]
    assert steps[:3] == [1, 2, 3]
    (compared, _) = outcome.run.events(Compared)
    assert compared.method == "one document, which has no interval"
    summary = outcome.run.events(Finished)[0].summary
    bounds = {f"loss_difference{since}_{bound}" for since in ("", "_from_warm") for bound in ("low", "high")}
    assert {name for name, value in summary.items() if math.isnan(value)} == bounds  # which one document does not give


def test_a_text_of_one_token_is_refused_before_a_folder_is_made(tiny, tmp_path):
    with pytest.raises(TextNotUsable, match="too short"):
        experiment(little(tmp_path), tiny.tokenizer, eval=[Document("x", "x")])
    assert not list(tmp_path.iterdir())


def test_a_document_too_short_to_be_judged_has_no_loss_and_spoils_none(tiny, tmp_path):
    outcome = experiment(little(tmp_path, cycles=1), tiny.tokenizer, eval=[*TEXTS, Document("x", "x")]).run()
    assert outcome.run.events(Compared)[0].values["documents"] == len(TEXTS)


def test_a_model_whose_heads_cannot_leave_is_refused_with_what_to_do(tiny, tmp_path):
    from transformers import Olmo2Config, Olmo2ForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 2048}

    def model():
        torch.manual_seed(0)
        return Olmo2ForCausalLM(Olmo2Config(**sizes, num_key_value_heads=4, pad_token_id=0)).eval()

    with pytest.raises(SurgeryError, match=r"No head of Olmo2ForCausalLM can be pruned by remove: .*mode='mask_forward'"):
        experiment(little(tmp_path), tiny.tokenizer, model=model())
    assert not list(tmp_path.iterdir())
    settings = little(tmp_path, mode="mask_forward", cycles=3, exchange=0.2, newborn_rate=3.0, steps=2)
    outcome = experiment(settings, tiny.tokenizer, model=model()).run()  # its newborn heads move with the others
    assert len(outcome.surgeon.dormant) == 3
    experiment(little(tmp_path, level=0.0), tiny.tokenizer, model=model())


def test_a_model_with_few_positions_is_read_in_windows_that_fit(tiny, tmp_path):
    model = GPT2LMHeadModel(GPT2Config(n_positions=8, n_embd=16, n_layer=1, n_head=2, vocab_size=2048)).eval()
    outcome = experiment(little(tmp_path, cycles=1, prompt="a", sample_tokens=2), tiny.tokenizer, model=model).run()
    assert outcome.run.events(Finished)
    assert "Samples have" not in notices(outcome)


@pytest.mark.parametrize(
    ("prompt", "tokens", "seen"),
    [("def f(x):", 120, "Samples have {} tokens in place of 120"), ("x = 1\n" * 20, 9, "Samples have 0 tokens in place of 9")],
)
def test_a_sample_is_as_long_as_the_model_has_positions_for(prompt, tokens, seen, tiny, tmp_path):
    model = GPT2LMHeadModel(GPT2Config(n_positions=32, n_embd=16, n_layer=1, n_head=2, vocab_size=2048)).eval()
    outcome = experiment(little(tmp_path, cycles=1, prompt=prompt, sample_tokens=tokens), tiny.tokenizer, model=model).run()
    room = max(0, 32 - len(tiny.tokenizer(prompt)["input_ids"]))
    assert [event.message.startswith(seen.format(room)) for event in outcome.run.events(Notice)].count(True) == 1
    assert len(outcome.run.events(Sample)) == (3 if room else 0)
    assert outcome.run.events(Finished)


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        ({"strategy": "tailor"}, "taylor"),
        ({"mode": "burn"}, "no pruning mode 'burn'"),
        ({"schedule": "slow"}, "slow"),
        ({"growth": "weeds"}, "weeds"),
        ({"unit": "layer"}, "choose head or kv_group"),
        ({"loss": "gain"}, "no objective 'gain'"),
        ({"signals": ("noise",)}, "noise"),
        ({"learning_rate": 0.0}, "learning_rate of a recipe is 0.0; it must be above 0"),
        ({"precision": "int4"}, "must be bf16, fp16 or None"),
        ({"patience": 2}, "patience is 2 and eval_every is 0"),
        ({"mode": "compressed", "exchange": 0.1}, "mode='compressed' forgets the heads"),
        ({"mode": "compressed", "schedule": "drop_and_grow"}, "mode='compressed' forgets the heads"),
        ({"schedule": "drop_and_grow", "level": 1.0}, "At level 1"),
        ({"protect": ((7, 0),)}, "protect names head 7.0, which LlamaForCausalLM does not have"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_before_a_folder_is_made(wrong, seen, tiny, tmp_path):
    with pytest.raises((SettingNotUsable, SurgeryError), match=seen) as refusal:
        experiment(little(tmp_path, **wrong), tiny.tokenizer)
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_protected_heads_stay(tiny, tmp_path):
    outcome = experiment(
        little(tmp_path, level=1.0, min_heads=0, cycles=1, steps=0, protect=((0, 2), (1, 1))), tiny.tokenizer
    ).run()
    assert [head for head, state in outcome.surgeon.states.items() if state == "active"] == [(0, 2), (1, 1)]


# --- gates, which an operation brings and the optimizer moves ------------------------------------------------------


def gates(model) -> dict[str, torch.Tensor]:
    return {name: each for name, each in model.named_parameters() if name.endswith("plasticity_gate")}


def test_gates_of_sleeping_heads_learn_and_those_of_awake_heads_stay_at_1(tiny, tmp_path):
    outcome = experiment(little(tmp_path, mode="gate", cycles=2), tiny.tokenizer).run()
    asleep = set(outcome.surgeon.dormant)
    assert len(asleep) == 3
    for layer in {head.layer for head in asleep}:
        gate = outcome.model.get_parameter(f"model.layers.{layer}.self_attn.o_proj.plasticity_gate")
        for head, value in enumerate(gate.tolist()):
            assert (value != 0) if (layer, head) in asleep else value == 1
        assert not gate._backward_hooks


def test_gates_whose_heads_learned_asleep_can_open_in_a_run(tiny, tmp_path):
    settings = little(tmp_path, mode="gate", cycles=3, schedule="drop_and_grow", exchange=0.15, growth="random")
    outcome = experiment(settings, tiny.tokenizer).run()
    assert {event.action for event in outcome.run.events(Operation)} == {"prune", "revive"}


def test_an_optimizer_follows_what_operations_bring_and_take_away():
    model = small()
    surgeon, optimizer = Surgeon(model), optimizer_for(model, Recipe(learning_rate=0.1, weight_decay=0.5))
    surgeon.attach(optimizer)
    groups = names_of(model, optimizer)
    follow(surgeon, optimizer, 0.1)
    assert names_of(model, optimizer) == groups
    surgeon.prune([(0, 1), (0, 2), (1, 0)], "gate")
    follow(surgeon, optimizer, 0.1)
    assert names_of(model, optimizer) == [*groups, list(gates(model))]
    assert (optimizer.param_groups[-1]["weight_decay"], optimizer.param_groups[-1]["lr"]) == (0.0, 0.1)
    moved = list(gates(model).values())
    learned(surgeon, optimizer)
    assert [gate.tolist() for gate in moved] == [[1, *[pytest.approx(-0.1)] * 2, 1], [pytest.approx(-0.1), 1, 1, 1]]
    with shut(surgeon):
        assert [gate.tolist() for gate in moved] == [[1, 0, 0, 1], [0, 1, 1, 1]]
        surgeon.revive([(0, 1)])
    follow(surgeon, optimizer, 0.1)
    assert float(optimizer.state[moved[0]]["exp_avg"][1]) == 0  # what it gathered asleep does not move it awake
    with torch.no_grad():
        moved[0].copy_(torch.tensor([1.0, 1, 0, 1]))
        moved[1].copy_(torch.tensor([0.0, 1, 1, 1]))
    learned(surgeon, optimizer)
    assert moved[0].tolist() == [1, 1, pytest.approx(-0.1, abs=0.02), 1]
    with shut(surgeon):
        surgeon.revive([(0, 2), (1, 0)])
    follow(surgeon, optimizer, 0.1)
    assert names_of(model, optimizer) == groups
    assert not [parameter for parameter in optimizer.state if any(parameter is gate for gate in moved)]


def learned(surgeon, optimizer) -> None:
    """One step that would lower every gate, of whichever head."""
    with only_sleepers(surgeon):
        sum(gate.sum() for gate in gates(surgeon.model).values()).backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("mode", ["remove", "zero_weights", "mask_forward", "compressed", "adaptive"])
def test_the_optimizer_holds_the_models_weights_and_moments_of_their_shape_after_every_mode(mode, tmp_path):
    made = Experiment(little(tmp_path, mode=mode, level=0.5), model=encoder(), train=sentences(), eval=sentences())
    optimizers = []
    usual = made._learning
    made._learning = lambda *given: optimizers.append(usual(*given)) or optimizers[-1]
    outcome = made.run()
    (learning,) = optimizers
    assert names_of(outcome.model, learning.optimizer)  # which refuses what is not the model's
    held = learning.optimizer.state
    own = {id(parameter) for parameter in outcome.model.parameters()}
    assert all(id(parameter) in own for parameter in held)
    assert all(moment.shape == weight.shape for weight, each in held.items() for moment in (each["exp_avg"], each["exp_avg_sq"]))
