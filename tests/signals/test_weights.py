"""Norms of weights and of their gradients against slices cut by hand and one plain backward pass."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.heads import HeadId
from neural_plasticity.signals.measure import measure
from tests.anatomy.models import gpt2, ids, llama
from tests.signals.brute import IGNORED, close, grid


def of_llama(layer: int, head: int) -> list[tuple[str, tuple]]:
    """Six heads of width 8, three of them on each key-value head."""
    mine, group = slice(head * 8, head * 8 + 8), slice(head // 3 * 8, head // 3 * 8 + 8)
    base = f"model.layers.{layer}.self_attn"
    return [
        (f"{base}.q_proj.weight", (mine,)),
        (f"{base}.k_proj.weight", (group,)),
        (f"{base}.v_proj.weight", (group,)),
        (f"{base}.o_proj.weight", (slice(None), mine)),
    ]


def of_gpt2(layer: int, head: int) -> list[tuple[str, tuple]]:
    """Four heads of width 6; q, k and v side by side in one matrix of inputs × outputs, with biases."""
    base = f"transformer.h.{layer}.attn"
    pieces: list[tuple[str, tuple]] = [(f"{base}.c_proj.weight", (slice(head * 6, head * 6 + 6),))]
    for start in (0, 24, 48):
        mine = slice(start + head * 6, start + head * 6 + 6)
        pieces += [(f"{base}.c_attn.weight", (slice(None), mine)), (f"{base}.c_attn.bias", (mine,))]
    return pieces


CASES = [(llama, of_llama), (gpt2, of_gpt2)]


def norms(tensors: dict[str, torch.Tensor], pieces, heads: list[HeadId]) -> dict[HeadId, float]:
    found = {}
    for head in heads:
        cut = [tensors[name][where].detach().double().flatten() for name, where in pieces(*head)]
        found[head] = float(torch.cat(cut).norm())
    return found


@pytest.mark.parametrize(("build", "pieces"), CASES)
def test_magnitude_is_the_norm_of_a_heads_own_slices(build, pieces):
    model = build()
    found = measure(model, {"input_ids": ids(1, 4)}, ["magnitude"])["magnitude"]
    close(found, grid(norms(dict(model.named_parameters()), pieces, dissect(model).heads), found.values), 1e-6, 0)


@pytest.mark.parametrize(("build", "pieces"), CASES)
def test_gradient_is_that_of_the_mean_over_all_predictions_of_all_batches(build, pieces):
    """Batches of different numbers of labels and lengths: what counts is the mean over predictions, not over batches."""
    model, plain = build(), build()
    words = [ids(2, 5), ids(3, 9), ids(1, 3)]
    batches = [{"input_ids": each, "labels": each.clone()} for each in words]
    batches[0]["labels"][0, :4] = IGNORED
    logits = [plain(input_ids=each["input_ids"]).logits[:, :-1].flatten(0, 1) for each in batches]
    labels = [each["labels"][:, 1:].flatten() for each in batches]
    cross_entropy(torch.cat(logits), torch.cat(labels), ignore_index=IGNORED).backward()
    gradients = {name: parameter.grad for name, parameter in plain.named_parameters()}

    found = measure(model, batches, ["gradient"])["gradient"]
    close(found, grid(norms(gradients, pieces, dissect(model).heads), found.values), 1e-4, 1e-8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_in_half_precision_are_those_of_float32(dtype):
    half = gpt2().to(dtype)
    batch = {"input_ids": ids(3, 9), "labels": ids(3, 9)}
    found, expected = (measure(model, [batch] * 3, ["gradient"])["gradient"] for model in (half, gpt2().to(dtype).float()))
    close(found, expected, rtol=3e-2, atol=0)


def test_weights_frozen_by_the_user_have_gradients_all_the_same():
    batch = {"input_ids": ids(2, 6), "labels": ids(2, 6)}
    frozen = llama().requires_grad_(False)
    assert measure(frozen, batch, ["gradient", "taylor"]) == measure(llama(), batch, ["gradient", "taylor"])
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
