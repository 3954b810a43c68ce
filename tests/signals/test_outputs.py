"""What heads put out: lengths, and how much of a head the others of its layer could say."""

import numpy as np
import pytest
import torch

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.taps import open_taps
from neural_plasticity.errors import NotMeasurable
from neural_plasticity.signals.measure import measure
from tests.anatomy.models import gpt2, ids, llama
from tests.signals.brute import close

WORDS = ids(40, 20)


def outputs_of(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """What every head of every layer puts out, (rows, queries, heads, width)."""
    heard = {}
    with torch.no_grad(), open_taps(model, {site: lambda call, site=site: heard.update({site.layer: call.output})
                                            for site in dissect(model)}):  # fmt: skip
        model(**batch)
    return [heard[layer].double() for layer in sorted(heard)]


def by_regression(output: torch.Tensor) -> list[float]:
    """The share of variance of each head that numpy explains from all others by least squares."""
    found = []
    for head in range(output.shape[-2]):
        target = output[..., head, :].flatten(0, -2).numpy()
        others = np.delete(output.numpy(), head, -2).reshape(len(target), -1)
        others = np.column_stack([others, np.ones(len(others))])
        rest = target - others @ np.linalg.lstsq(others, target, rcond=None)[0]
        found.append(1 - (rest**2).sum() / ((target - target.mean(0)) ** 2).sum())
    return found


@pytest.mark.parametrize("build", [llama, gpt2])
def test_redundancy_is_what_least_squares_explains(build):
    model = build()
    found = measure(model, [{"input_ids": each} for each in WORDS.split(8)], ["redundancy"])["redundancy"]
    close(found, [by_regression(output) for output in outputs_of(model, {"input_ids": WORDS})], 1e-3, 1e-4)


def test_padding_takes_no_part_in_it():
    model = gpt2()
    mask = torch.ones_like(WORDS)
    mask[::2, 12:] = 0
    found = measure(model, {"input_ids": WORDS, "attention_mask": mask}, ["redundancy", "output_norm"])
    outputs = outputs_of(model, {"input_ids": WORDS, "attention_mask": mask})
    kept = mask.bool()
    close(found["redundancy"], [by_regression(output[kept].unsqueeze(0)) for output in outputs], 1e-3, 1e-4)
    close(found["output_norm"], [output[kept].norm(dim=-1).mean(0).tolist() for output in outputs])


def same_attention(model: torch.nn.Module) -> None:
    """All heads of a GPT-2 attend alike, so what they put out differs by their values only."""
    with torch.no_grad():
        for block in model.transformer.h:
            for start in (0, 24):
                for piece in (block.attn.c_attn.weight, block.attn.c_attn.bias.unsqueeze(0)):
                    for head in range(1, 4):
                        piece[:, start + 6 * head : start + 6 * head + 6] = piece[:, start : start + 6]


def test_a_head_that_is_a_linear_function_of_another_is_fully_redundant():
    model = gpt2()
    same_attention(model)
    turned = 2 * torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(3)))[0]
    with torch.no_grad():
        for block in model.transformer.h:
            weight, bias = block.attn.c_attn.weight, block.attn.c_attn.bias
            weight[:, 48 + 6 : 48 + 12] = weight[:, 48:54] @ turned
            bias[48 + 6 : 48 + 12] = bias[48:54] @ turned + 1
    found = measure(model, {"input_ids": WORDS}, ["redundancy"])["redundancy"].values
    assert found[:, :2] == pytest.approx(1, abs=1e-4)
    assert (found[:, 2:] < 0.99).all()
    assert (found <= 1).all()


def test_a_silent_head_is_fully_redundant():
    model = llama()
    with torch.no_grad():
        model.model.layers[1].self_attn.v_proj.weight[:8] = 0
    found = measure(model, {"input_ids": WORDS}, ["redundancy"])["redundancy"].values
    assert (found[1, :3] == 1).all()
    assert (found[0] < 1).all()


def test_independent_heads_have_next_to_nothing_in_common():
    """Each word comes alone, so a head puts out its values; they are random, and of no other head's."""
    model = gpt2()
    with torch.no_grad():
        values = torch.linalg.qr(torch.randn(24, 24, generator=torch.Generator().manual_seed(4)))[0]
        model.transformer.h[0].attn.c_attn.weight[:, 48:] = values
        model.transformer.h[0].ln_1 = torch.nn.Identity()
        model.transformer.wpe.weight.zero_()
        model.transformer.wte = Noise()
    found = measure(model, {"input_ids": torch.arange(6000).view(-1, 1)}, ["redundancy"])["redundancy"].values
    assert (found[0] < 0.02).all()


class Noise(torch.nn.Module):
    """For every word a vector of its own, independent of all others."""

    weight = torch.randn(6000, 24, generator=torch.Generator().manual_seed(5))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.weight[words]


@pytest.mark.parametrize(("build", "features"), [(gpt2, 24), (llama, 48)])
def test_too_few_positions_are_refused_with_their_number(build, features):
    with pytest.raises(NotMeasurable, match=f"{features} features and saw 10 positions"):
        measure(build(), {"input_ids": ids(2, 5)}, ["redundancy"])


def test_redundancy_does_not_depend_on_the_size_of_what_heads_put_out():
    large, small = gpt2(), gpt2()
    with torch.no_grad():
        for block in small.transformer.h:
            block.attn.c_attn.weight[:, 48:] *= 1e-4
            block.attn.c_attn.bias[48:] *= 1e-4
            block.attn.c_proj.weight *= 1e4
    one, other = (measure(model, {"input_ids": WORDS}, ["redundancy"])["redundancy"] for model in (large, small))
    close(one, other, 1e-2, 1e-3)
