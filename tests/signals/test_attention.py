"""Attention whose statistics are known without computing them: uniform, on one key, within a window, packed."""

import math

import numpy as np
import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.signals.measure import measure
from tests.anatomy.models import gpt2, ids, llama
from tests.conformance.families import FAMILIES
from tests.signals.brute import close

SIGNALS = ["entropy", "normalized_entropy", "sink", "previous_token", "self_token", "distance", "confidence"]


def padded(words: torch.Tensor, side: str) -> dict[str, torch.Tensor]:
    """The first sample has three tokens less than the others."""
    mask = torch.ones_like(words)
    mask[0, slice(0, 3) if side == "left" else slice(-3, None)] = 0
    return {"input_ids": words, "attention_mask": mask}


def blind(model: torch.nn.Module) -> torch.nn.Module:
    """A llama whose queries are all 0, so that every key it sees is as good as the other."""
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.q_proj.weight.zero_()
    return model


@pytest.mark.parametrize("side", ["left", "right", None])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_uniform_attention_has_all_the_entropy_there_can_be(attention, side):
    words = ids(2, 9)
    batch = padded(words, side) if side else {"input_ids": words}
    found = measure(blind(llama(attn_implementation=attention)), batch, SIGNALS)
    lengths = [6, 9] if side else [9, 9]
    places = [place for length in lengths for place in range(length)]
    expected = {
        "entropy": [math.log(place + 1) for place in places],
        "sink": [1 / (place + 1) for place in places],
        "self_token": [1 / (place + 1) for place in places],
        "previous_token": [1 / (place + 1) if place else 0 for place in places],
        "distance": [place / 2 for place in places],
        "confidence": [1 / (place + 1) for place in places],
    }
    close(found["normalized_entropy"], np.ones((3, 6)), rtol=1e-5)
    for name, values in expected.items():
        close(found[name], np.full((3, 6), np.mean(values)), rtol=1e-5)


@pytest.mark.parametrize("build", [llama, gpt2])
@pytest.mark.parametrize("length", [2, 9])
def test_attention_on_one_key_alone_has_none(build, length):
    model = build()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight", "c_attn.weight")):
                weight.mul_(3e3)
    found = measure(model, {"input_ids": ids(3, length)}, ["entropy", "normalized_entropy", "confidence"])
    assert np.abs(found["entropy"].values).max() < 1e-2
    assert np.abs(found["normalized_entropy"].values).max() < 1e-2
    close(found["confidence"], np.ones_like(found["confidence"].values), atol=1e-2)


@pytest.mark.parametrize("build", [llama, gpt2])
def test_a_single_token_has_no_entropy_and_looks_at_itself(build):
    found = measure(build(), {"input_ids": ids(3, 1)}, ["entropy", "self_token", "sink", "confidence", "distance"])
    assert (found["entropy"].values < 1e-6).all()
    assert (found["distance"].values == 0).all()
    for name in ("self_token", "sink", "confidence"):
        close(found[name], np.ones_like(found[name].values), rtol=1e-6)


def test_no_weight_is_larger_than_1():
    """Scores are large where attention is sharp, and what is lost in rounding them must not show."""
    model = gpt2()
    with torch.no_grad():
        for block in model.transformer.h:
            block.attn.c_attn.weight[:, :48] *= 3e3
    found = measure(model, {"input_ids": ids(3, 1)}, ["sink", "self_token", "confidence"])
    assert all((grid.values <= 1).all() for grid in found.values())


def weights_of(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The weights that eager attention itself computes; in float64 the masks of padding overflow."""
    with torch.no_grad():
        return [each.double() for each in model(**batch, output_attentions=True, use_cache=False).attentions]


def by_hand(weights: list[torch.Tensor], queries: list[tuple[int, int]]) -> np.ndarray:
    """Mean entropy over these queries, (row, place)."""
    entropies = [-torch.special.xlogy(each, each).sum(-1) for each in weights]
    return np.array([[np.mean([float(each[row, head, place]) for row, place in queries]) for head in range(each.shape[1])]
                     for each in entropies])  # fmt: skip


def custom(kind: str, length: int) -> torch.Tensor:
    """Every query sees itself and whatever a coin says of those before it."""
    seen = torch.rand(2, 1, length, length, generator=torch.Generator().manual_seed(2)) < 0.6
    seen = (seen | torch.eye(length, dtype=torch.bool)).tril()
    if kind == "bool":
        return seen
    return torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)


@pytest.mark.parametrize("kind", ["bool", "additive"])
def test_a_mask_of_the_users_own_is_the_mask(kind):
    words = ids(2, 8)
    found = measure(llama(), {"input_ids": words, "attention_mask": custom(kind, 8)}, ["entropy", "sink", "distance"])
    eager = llama(attn_implementation="eager")
    weights = weights_of(eager, {"input_ids": words, "attention_mask": custom("additive", 8)})
    every = [(row, place) for row in range(2) for place in range(8)]
    close(found["entropy"], by_hand(weights, every))
    away = (torch.arange(8).unsqueeze(1) - torch.arange(8)).abs()
    close(found["distance"], np.array([(each * away).sum(-1).mean((0, 2)).tolist() for each in weights]))


def mistral(**more: object) -> MistralForCausalLM:
    sizes = {"hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 8}
    torch.manual_seed(0)
    return MistralForCausalLM(MistralConfig(**sizes, intermediate_size=20, vocab_size=50, sliding_window=4, **more)).eval()


@pytest.mark.parametrize("side", ["left", "right", None])
def test_a_sliding_window_is_all_that_a_query_sees(side):
    words = ids(2, 11)
    batch = padded(words, side) if side else {"input_ids": words}
    found = measure(mistral(), batch, SIGNALS)
    real = batch.get("attention_mask", torch.ones_like(words)).nonzero().tolist()
    weights = weights_of(mistral(attn_implementation="eager"), batch)
    assert float(weights[0][1, 0, 10, :7].sum()) == 0  # the window is real
    close(found["entropy"], by_hand(weights, [tuple(each) for each in real]))
    assert float(found["distance"].values.max()) <= 3
    assert float(found["entropy"].values.max()) <= math.log(4)
    uniform = mistral()
    with torch.no_grad():
        for layer in uniform.model.layers:
            layer.self_attn.k_proj.weight.zero_()
    close(measure(uniform, batch, ["normalized_entropy"])["normalized_entropy"], np.ones((2, 6)), rtol=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("build", [llama, mistral])
def test_packed_sequences_are_measured_as_if_they_lay_apart(build, attention):
    model = build(attn_implementation=attention)
    lengths = [3, 1, 7, 5]
    sequences = list(ids(1, sum(lengths)).split(lengths, 1))
    places = torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0)
    packed = measure(model, {"input_ids": torch.cat(sequences, 1), "position_ids": places}, [*SIGNALS, "output_norm"])
    apart = [measure(model, {"input_ids": each}, [name for name in packed if name != "normalized_entropy"]) for each in sequences]
    for name in apart[0]:
        mean = sum(one[name].values * length for one, length in zip(apart, lengths, strict=True)) / sum(lengths)
        close(packed[name], mean, atol=1e-6)
    whole = measure(model, [{"input_ids": each} for each in sequences], ["normalized_entropy"])
    close(packed["normalized_entropy"], whole["normalized_entropy"], atol=1e-6)


@pytest.mark.parametrize("name", ["bert", "vit", "t5", "bart"])
def test_uniform_attention_of_encoders_and_across_them(name):
    family = FAMILIES[name]
    model = family.build(5)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if any(f".{part}." in f".{key}" for part in ("query", "q", "q_proj", "relative_attention_bias")):
                weight.zero_()
    batch = family.example(model, 5)
    found = measure(model, batch, ["normalized_entropy"])["normalized_entropy"]
    assert len(found.values) == len(dissect(model, batch).sites)
    assert dict(found.items()) == pytest.approx(dict.fromkeys(dissect(model, batch).heads, 1.0), rel=1e-5)
