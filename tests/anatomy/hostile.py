"""Attention that hangs together in odd ways, for the tests that dissection must not be fooled by."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaAttention

from tests.anatomy.models import llama

Change = Callable[[nn.Module, Tensor], Tensor]


class Odd(LlamaAttention):
    """Llama's attention, with a change to what q, k or v give or o reads, as (batch, tokens, heads, width)."""

    places: dict[str, Change]

    def change(self, place: str) -> Callable[..., Tensor]:
        heads = self.config.num_attention_heads if place in "qo" else self.config.num_key_value_heads

        def hook(module: nn.Module, *values: object) -> object:
            read = values[0][0] if place == "o" else values[-1]
            changed = self.places[place](self, read.unflatten(-1, (heads, -1))).flatten(-2)
            return (changed,) if place == "o" else changed

        return hook


def odd(prepare: Callable[[nn.Module], None] | None = None, **places: Change) -> nn.Module:
    """A small Llama, each of whose layers makes these changes."""
    model = llama()
    for layer in model.model.layers:
        attention = layer.self_attn
        attention.__class__ = Odd
        attention.places = places
        if prepare is not None:
            prepare(attention)
        for place in places:
            module = getattr(attention, f"{place}_proj")
            register = module.register_forward_pre_hook if place == "o" else module.register_forward_hook
            register(attention.change(place))
    return model


def parameter(name: str, *shape: int, value: float = 1.0) -> Callable[[nn.Module], None]:
    """Give the attention a parameter of its own."""
    return lambda module: setattr(module, name, nn.Parameter(torch.full(shape, value)))


def matrix(name: str, heads: int) -> Callable[[nn.Module], None]:
    """Give the attention a matrix over heads that begins as the identity, and so hides that it mixes."""
    return lambda module: setattr(module, name, nn.Parameter(torch.eye(heads)))
