"""However a model is measured, and whatever stops it: the same numbers, and no trace left."""

import pytest
import torch
from torch import nn

from neural_plasticity.signals.base import signals
from neural_plasticity.signals.measure import measure
from tests.anatomy.models import gpt2, ids, llama
from tests.anatomy.test_dissect import same, state
from tests.signals.brute import close

EVERY = [name for name in signals() if name != "wake"]
CHEAP = ["entropy", "distance", "output_norm", "taylor", "fisher", "gradient", "magnitude"]


def batches() -> list[dict[str, torch.Tensor]]:
    mask = torch.ones(3, 20, dtype=torch.long)
    mask[0, 15:] = 0
    return [{"input_ids": ids(3, 20), "labels": ids(3, 20), "attention_mask": mask}, {"input_ids": ids(2, 9), "labels": ids(2, 9)}]


def build(kind: str) -> nn.Module:
    return llama(attention_dropout=0.5) if kind == "llama" else gpt2(attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def usual(request):
    """The kind of a model, and what is measured on it in eval mode."""
    return request.param, measure(build(request.param), batches(), EVERY)


@pytest.mark.parametrize("mode", ["eval", "train", "checkpointing"])
def test_dropout_and_checkpointing_change_nothing_and_nothing_is_changed(usual, mode):
    kind, expected = usual
    model = build(kind).train(mode != "eval")
    if mode == "checkpointing":
        model.activation_checkpointing_enable()
    model.lm_head.weight.requires_grad_(False)
    model(input_ids=ids(1, 4), labels=ids(1, 4)).loss.backward()
    torch.manual_seed(11)
    before, gradients = state(model), {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    found = measure(model, batches(), EVERY)
    assert same(before, state(model))
    assert all(torch.equal(model.get_parameter(name).grad, each) for name, each in gradients.items())
    assert {name: model.get_parameter(name).grad is None for name in before["grads"]} == {
        name: each is None for name, each in before["grads"].items()
    }
    assert found == expected


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_callers_that_keep_no_gradients_get_the_same(usual, context):
    kind, expected = usual
    model = build(kind)
    before = state(model)
    with context():
        given = batches()  # in inference mode these are tensors that no graph may hold
        found = measure(model, given, EVERY)
        assert torch.is_grad_enabled() is False
    assert same(before, state(model))
    assert found == expected


def test_batches_made_in_inference_mode_are_taken_outside_of_it(usual):
    kind, expected = usual
    with torch.inference_mode():
        given = batches()
    found = measure(build(kind), given, EVERY)
    assert found == expected


def test_a_compiled_wrapper_is_seen_through(usual):
    kind, expected = usual
    model = build(kind)
    compiled = torch.compile(model, backend="eager")
    before = state(model)
    found = measure(compiled, batches(), EVERY)
    assert same(before, state(model))
    assert found == expected


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in v6:FutureWarning")  # peft asks by an old name
def test_a_model_with_adapters_is_measured_with_them_and_left_alone():
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(llama(), LoraConfig(r=3, lora_dropout=0.5, target_modules=["q_proj", "o_proj"])).train()
    before = state(model)
    found = measure(model, batches(), CHEAP)
    assert same(before, state(model))
    plain = measure(llama(), batches(), ["entropy", "distance", "output_norm", "taylor", "fisher"])  # B is 0: nothing is added yet
    for name, grid in plain.items():
        close(found[name], grid, rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in v6:FutureWarning")
def test_a_trained_adapter_counts_as_if_it_was_merged():
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(llama(), LoraConfig(r=3, target_modules=["q_proj", "o_proj"]))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    found = measure(model, batches(), ["entropy", "taylor", "ablation"])
    merged = measure(model.merge_and_unload(), batches(), ["entropy", "taylor", "ablation"])
    for name, grid in merged.items():
        close(found[name], grid, rtol=1e-3, atol=1e-6)


# --- stopped midway ------------------------------------------------------------------------------------------------------


class Stop(Exception):
    """Raised by the caller's own code."""


FAULTS = [KeyboardInterrupt, Stop]


def interrupted(model: nn.Module, fault: type[BaseException], **how: object) -> None:
    torch.manual_seed(3)
    before = state(model)
    with pytest.raises(fault):
        measure(model, **{"batches": batches(), "signals": EVERY} | how)
    assert same(before, state(model))
    assert torch.is_grad_enabled()
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_no_trace_where_the_batches_the_loss_or_whoever_watches_stops_it(kind, fault):
    def breaking():
        yield batches()[0]
        raise fault

    def loss(outputs, batch):
        raise fault

    def watch(done, whole):
        if done == 2:
            raise fault

    model = build(kind).train()
    next(model.parameters()).requires_grad_(False)
    interrupted(model, fault, batches=breaking())
    interrupted(model, fault, loss=loss)
    interrupted(model, fault, watch=watch)


@pytest.mark.parametrize("after", [0, 7, 30, 60])
def test_no_trace_where_it_stops_within_a_pass(after, monkeypatch):
    model, countdown, whole = llama().train(), [after], nn.Linear.forward
    from neural_plasticity.anatomy.dissect import dissect

    anatomy = dissect(model)

    def breaking(self: nn.Linear, values: torch.Tensor) -> torch.Tensor:
        if not countdown[0]:
            raise KeyboardInterrupt
        countdown[0] -= 1
        return whole(self, values)

    monkeypatch.setattr(nn.Linear, "forward", breaking)
    before = state(model)
    with pytest.raises(KeyboardInterrupt):
        measure(model, batches(), EVERY, anatomy=anatomy)
    monkeypatch.undo()
    assert same(before, state(model))
    assert measure(model, batches(), CHEAP) == measure(llama(), batches(), CHEAP)
