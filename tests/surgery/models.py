"""Small real models for the tests of this room, and what one asks of them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache

import torch
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.sites import Anatomy
from neural_plasticity.anatomy.taps import open_taps
from tests.anatomy.models import gpt2, ids, llama
from tests.anatomy.test_dissect import state

PAST = "_plasticity_past"
SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 20}


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().eval()


def bert() -> nn.Module:
    return seeded(lambda: BertForMaskedLM(BertConfig(**SIZES, vocab_size=50)))


def albert() -> nn.Module:
    """Layers that are one and the same module."""
    return seeded(lambda: AlbertForMaskedLM(AlbertConfig(**SIZES, embedding_size=12, vocab_size=50)))


def t5() -> nn.Module:
    """Encoder, decoder and cross attention, with position biases that layers share."""
    sizes = {"d_model": 24, "d_kv": 8, "d_ff": 20, "num_layers": 2, "num_heads": 4}
    return seeded(lambda: T5ForConditionalGeneration(T5Config(**sizes, vocab_size=50, decoder_start_token_id=0)))


def vit() -> nn.Module:
    return seeded(lambda: ViTForImageClassification(ViTConfig(**SIZES, image_size=8, patch_size=4)))


MODELS = {"llama": llama, "gpt2": gpt2, "bert": bert, "t5": t5, "vit": vit}


@cache
def anatomy_of(kind: str) -> Anatomy:
    """For tests that operate on many models of a kind, and are not about taking them apart."""
    return dissect(MODELS[kind]())


def batch_for(model: nn.Module) -> dict[str, Tensor]:
    """Something that the model takes."""
    if "ViT" in type(model).__name__:
        return {"pixel_values": torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))}
    batch = {"input_ids": ids(2, 7)}
    return batch | {"decoder_input_ids": ids(2, 5)} if "T5" in type(model).__name__ else batch


@torch.no_grad()
def logits(model: nn.Module, batch: dict[str, Tensor] | None = None) -> Tensor:
    return model(**(batch or batch_for(model))).logits


def silenced(model: nn.Module, anatomy: Anatomy, heads: list[tuple[int, int]]) -> AbstractContextManager[None]:
    """An untouched model with the attention output of these heads multiplied by 0."""
    layers = {layer for layer, _ in heads}
    factors = {site: torch.ones(site.heads) for site in anatomy if site.layer in layers}
    for layer, head in heads:
        factors[anatomy[layer]][head] = 0
    return open_taps(
        model, {site: lambda call, own=own: call.output * own.to(call.output)[:, None] for site, own in factors.items()}
    )


@torch.no_grad()
def seen(model: nn.Module) -> dict[str, object]:
    """All that somebody could notice about a model, but for its memory of what was done to it, and gradients."""
    found = {name: value for name, value in state(model).items() if name != "grads"}
    found["attributes"] = {
        name: [each for each in held if each != "_plasticity_past"] for name, held in found["attributes"].items()
    }
    return found


def near(one: Tensor, other: Tensor, share: float = 1e-5) -> bool:
    """Alike to a share of the largest."""
    return one.shape == other.shape and float((one - other).abs().max()) <= share * float(other.abs().max())
