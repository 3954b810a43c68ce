"""Heads that hang together by odd ways are not called separable; heads that only look dead are."""

import pytest
import torch
from torch import nn

from neural_plasticity.anatomy.dissect import dissect
from tests.anatomy.hostile import matrix, odd, parameter
from tests.anatomy.models import llama
from tests.conformance.families import FAMILIES


def mean(values: torch.Tensor) -> torch.Tensor:
    return values.mean(-2, keepdim=True)


HANGING_TOGETHER = {
    "a norm over heads before the output projection": lambda: odd(o=lambda self, o: o / o.norm(dim=(-1, -2), keepdim=True)),
    "a gate from the mean of all heads": lambda: odd(o=lambda self, o: o * mean(o).sigmoid()),
    "each head gated by its neighbour": lambda: odd(o=lambda self, o: o * o.roll(1, -2).sigmoid()),
    "queries moved on by the mean": lambda: odd(q=lambda self, q: q + mean(q)),
    "queries that share the first head's first number": lambda: odd(q=lambda self, q: q + q[..., :1, :1]),
    "values that mix": lambda: odd(v=lambda self, v: v + v.roll(1, -2)),
    "outputs mixed by a matrix that is still the identity": lambda: odd(
        matrix("mix", 6), o=lambda self, o: torch.einsum("bthd,hg->btgd", o, self.mix)
    ),
    "queries mixed by a matrix that is still the identity": lambda: odd(
        matrix("mix", 6), q=lambda self, q: torch.einsum("bthd,hg->btgd", q, self.mix)
    ),
}


@pytest.mark.parametrize("case", HANGING_TOGETHER)
def test_heads_that_hang_together_are_not_separable(case):
    for site in dissect(HANGING_TOGETHER[case]()):
        assert not site.separable
        assert site.reason


def zeroed(*names: str) -> nn.Module:
    model = llama()
    with torch.no_grad():
        for name, parameter_ in model.named_parameters():
            if any(part in name for part in names):
                parameter_.zero_()
    return model


@pytest.mark.parametrize("names", [("q_proj",), ("v_proj", "k_proj"), ("o_proj",), ("embed_tokens",), ("",)])
def test_weights_of_zero_hide_nothing(names):
    assert dissect(zeroed(*names)).sites == dissect(llama()).sites


def test_clipped_and_dead_values_hide_nothing():
    assert dissect(odd(v=lambda self, v: v.clamp(-0.001, 10))).separable
    assert dissect(odd(parameter("gate", 6, 1, value=0.0), o=lambda self, o: o * self.gate.tanh())).separable


def test_a_parameter_on_the_way_to_the_output_projection_is_an_extra():
    site = dissect(odd(parameter("scale", 6), o=lambda self, o: o * self.scale[:, None]))[0]
    (extra,) = site.extras
    assert (extra.parameter, extra.indices) == ("model.layers.0.self_attn.scale", tuple((head,) for head in range(6)))


def test_a_projection_that_reaches_attention_by_the_mask_is_a_slice():
    family = FAMILIES["wav2vec2-conformer"]
    model = family.build(9)
    site = dissect(model, family.example(model, 9))[0]
    assert "linear_pos" in {each.module.rpartition(".")[2] for each in site.of_role("gate")}


@pytest.mark.parametrize("name", ["zamba", "gemma3n_text"])
def test_weights_that_serve_several_layers_are_known_to_do_so(name):
    family = FAMILIES[name]
    model = family.build(9)
    sites = dissect(model, family.example(model, 9)).sites
    shared = [site for site in sites if site.shared_with]
    assert shared
    for site in shared:
        assert all(site.layer in sites[other].shared_with for other in site.shared_with)
    assert not any(site.shared_with for site in dissect(llama()))


def test_the_callers_cache_is_not_written_into():
    from transformers import DynamicCache

    model = llama()
    cache = DynamicCache()
    with torch.no_grad():
        model(input_ids=torch.ones(1, 3, dtype=torch.long), past_key_values=cache)
    dissect(model, {"input_ids": torch.ones(1, 2, dtype=torch.long), "past_key_values": cache})
    assert cache.get_seq_length() == 3


def test_a_compiled_layer_is_run_eagerly():
    model = llama()
    model.model.layers[1].compile(backend="eager")
    assert dissect(model).separable
