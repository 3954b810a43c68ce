"""Taps see everything, change what they are asked to, and leave nothing behind."""

import copy

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.taps import Call, open_taps
from neural_plasticity.errors import TapSilent
from tests.anatomy.models import gpt2, ids, llama
from tests.anatomy.test_dissect import same, state


def by_hand(call: Call) -> torch.Tensor:
    """Causal attention written out, in float64."""
    query, key, value = (tensor.double() for tensor in (call.query, call.key, call.value))
    key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], 1) for tensor in (key, value))
    scores = query @ key.transpose(-1, -2) * call.options["scaling"]
    blocked = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return (scores.masked_fill(blocked, -torch.inf).softmax(-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_a_tap_sees_the_attention_that_happens(implementation):
    model = llama(attn_implementation=implementation)
    seen: list[Call] = []
    with torch.no_grad(), open_taps(model, dict.fromkeys(dissect(model), lambda call: seen.append(call))):
        model(input_ids=ids(2, 7))
    assert len(seen) == 3
    for call in seen:
        torch.testing.assert_close(call.output.double(), by_hand(call), atol=1e-6, rtol=1e-5)


def test_a_tap_scales_heads_per_sample():
    """Multiplying a head's output by a number is the same as multiplying its columns in the output projection."""
    model = llama()
    site = dissect(model)[0]
    scale = torch.tensor([[1.0, 0, 1, 2, 1, 1]] * 2)
    batch = {"input_ids": ids(2, 7)}
    with torch.no_grad():
        with open_taps(model, {site: lambda call: call.output * scale[:, None, :, None]}):
            tapped = model(**batch).logits
        weight = model.get_submodule(site.of_role("o")[0].module).weight
        for head, factor in enumerate(scale[0].tolist()):
            weight[:, list(site.of_role("o")[0].indices[head])] *= factor
        torch.testing.assert_close(tapped, model(**batch).logits)


@pytest.mark.parametrize("build", [llama, gpt2])
def test_a_closed_tap_leaves_no_trace(build):
    model = build()
    sites = dissect(model).sites
    before = state(model)
    with open_taps(model, dict.fromkeys(sites, lambda call: None)):
        model(input_ids=ids(1, 3))
    assert same(before, state(model))
    with pytest.raises(KeyboardInterrupt), open_taps(model, dict.fromkeys(sites, lambda call: None)):
        raise KeyboardInterrupt
    assert same(before, state(model))


def test_taps_can_be_opened_within_taps():
    model = llama()
    sites = dissect(model).sites
    fired: list[str] = []
    with open_taps(model, {sites[0]: lambda call: fired.append("outer")}):
        with open_taps(model, {sites[1]: lambda call: fired.append("inner")}):
            model(input_ids=ids(1, 3))
        model(input_ids=ids(1, 3))
    assert fired == ["outer", "inner", "outer"]


def test_a_tap_that_does_not_fire_is_an_error(monkeypatch):
    model = llama()
    sites = dissect(model).sites
    last = model.model.layers[2]
    monkeypatch.setattr(
        type(last), "forward", lambda self, hidden, **_: hidden if self is last else layer_forward(self, hidden, **_)
    )
    with (
        pytest.raises(TapSilent, match=r"1 of 3 taps did not fire.*layer 2.*never ran"),
        open_taps(model, dict.fromkeys(sites, lambda call: None)),
    ):
        model(input_ids=ids(1, 3))


layer_forward = LlamaDecoderLayer.forward


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_padding_stays_masked_while_a_tap_is_open(side, implementation):
    """Padded and alone, a text has the same logits: it would not if the mask were lost."""
    model = llama(attn_implementation=implementation)
    text = ids(1, 5)
    filler = torch.full((1, 4), 7)
    order = [filler, text] if side == "left" else [text, filler]
    mask = torch.cat([torch.zeros_like(part) if part is filler else torch.ones_like(part) for part in order], 1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad(), open_taps(model, dict.fromkeys(dissect(model), lambda call: None)):
        padded = model(input_ids=torch.cat(order, 1), attention_mask=mask, position_ids=positions).logits[mask.bool()]
        alone = model(input_ids=text).logits[0]
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-4)


def test_cached_generation_is_the_same_with_taps_open():
    model = llama()
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    plain = model.generate(ids(2, 4), **options)
    calls: list[int] = []
    with open_taps(model, dict.fromkeys(dissect(model), lambda call: calls.append(call.query.shape[2]))):
        tapped = model.generate(ids(2, 4), **options)
    assert torch.equal(plain, tapped)
    assert calls[:3] == [4, 4, 4]
    assert set(calls[3:]) == {1}


def gate_gradients(model, batch) -> torch.Tensor:
    sites = dissect(model).sites
    gates = [torch.ones(2, site.heads, requires_grad=True) for site in sites]
    scaled = {site: (lambda call, gate=gate: call.output * gate[:, None, :, None]) for site, gate in zip(sites, gates, strict=True)}
    with open_taps(model, scaled):
        model(**batch, labels=batch["input_ids"]).loss.backward()
    return torch.stack([gate.grad for gate in gates])


def test_gradients_flow_through_taps_also_with_checkpointing():
    batch = {"input_ids": ids(2, 6), "use_cache": False}
    plain = gate_gradients(llama().train(), batch)
    checkpointed = llama().train()
    checkpointed.activation_checkpointing_enable()
    assert plain.abs().min() > 0
    torch.testing.assert_close(gate_gradients(checkpointed, batch), plain)


def test_taps_work_under_autocast():
    model = llama()
    dtypes = []
    with (
        torch.autocast("cpu", torch.bfloat16),
        open_taps(model, dict.fromkeys(dissect(model), lambda call: dtypes.append(call.output.dtype))),
    ):
        model(input_ids=ids(2, 5))
    assert set(dtypes) == {torch.bfloat16}


def test_the_attention_implementation_can_be_changed_after_taps():
    model = llama()
    with open_taps(model, dict.fromkeys(dissect(model), lambda call: None)):
        model(input_ids=ids(1, 3))
    model.set_attn_implementation("eager")
    assert model.config._attn_implementation == "eager"
    assert model(input_ids=ids(1, 3), output_attentions=True).attentions[0] is not None


def test_a_tap_whose_module_ran_without_it_is_an_error_in_that_pass(monkeypatch):
    model = llama()
    sites = dissect(model).sites
    monkeypatch.setattr(model.model.layers[1].self_attn, "config", copy.deepcopy(model.config))
    with pytest.raises(TapSilent, match=r"layer 1.*dissect again"), open_taps(model, dict.fromkeys(sites, lambda call: None)):
        model.model.layers[1].self_attn.config._attn_implementation_internal = "sdpa"
        model(input_ids=ids(1, 3))


def test_two_taps_at_one_site_both_fire_and_the_outer_one_survives():
    model = llama()
    site = dissect(model)[0]
    seen: list[str] = []
    with open_taps(model, {site: lambda call: seen.append("outer") or call.output * 2}):
        with open_taps(model, {site: lambda call: seen.append("inner") or call.output / 2}):
            both = model(input_ids=ids(1, 3)).logits
        assert dissect(model)[0] == site  # also while a tap is open
        model(input_ids=ids(1, 3))
    assert seen == ["outer", "inner", "outer", "outer"]
    torch.testing.assert_close(both, model(input_ids=ids(1, 3)).logits)


def test_an_answer_of_another_shape_is_refused():
    model = llama()
    with (
        pytest.raises(ValueError, match="same shape"),
        open_taps(model, {dissect(model)[0]: lambda call: call.output.transpose(1, 2)}),
    ):
        model(input_ids=ids(1, 3))


def test_an_attention_implementation_set_while_a_tap_is_open_stands():
    model = llama()
    with open_taps(model, {dissect(model)[0]: lambda call: None}):
        model(input_ids=ids(1, 3))
        model.set_attn_implementation("eager")
    assert model.config._attn_implementation == "eager"


def test_an_encoder_that_runs_once_while_a_decoder_writes_may_be_tapped():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 50}
        model = T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0)).eval()
    fired: dict[str, int] = {}
    count = {site: (lambda call, kind=site.kind: fired.update({kind: fired.get(kind, 0) + 1})) for site in dissect(model)}
    with open_taps(model, count):
        model.generate(ids(1, 5), max_new_tokens=4, min_new_tokens=4)
    assert fired == {"encoder": 1, "decoder": 4, "cross": 4}
