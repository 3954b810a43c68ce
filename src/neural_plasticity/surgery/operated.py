"""The one attention function that operated models carry, where groups of query heads have become uneven.

It is registered with the attention interface of transformers, picks for every query head the key-value head that
it always had, and calls the function that the model named before. What it picks by lies in buffers of the module,
so that moves, copies and compiled graphs see an ordinary module.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from neural_plasticity.anatomy.taps import OPERATED, configs_of, eager_function

GATHER = "plasticity_gather"  # which of the present key-value heads each present query head reads
KEPT = "plasticity_kept"  # which of the original query heads are present, for what is made for all of them
_IMPLEMENTATION = "_attn_implementation_internal"


def pick(module: nn.Module, gather: Sequence[int] | None, kept: Sequence[int] | None) -> None:
    """Let a module pick by these from now on; None leaves things as they come."""
    device = next((tensor.device for tensor in module.parameters()), torch.device("cpu"))
    for name, places in ((GATHER, gather), (KEPT, kept)):
        module._buffers.pop(name, None)
        module._non_persistent_buffers_set.discard(name)
        if places is not None:
            module.register_buffer(name, torch.tensor(list(places), dtype=torch.long, device=device), persistent=False)


def install(root: nn.Module, wanted: bool) -> None:
    """Let every config of the model name our function around the one it names, or that one again.

    A hook names it anew before each pass, because whoever chooses another attention writes over the name.
    """
    ours = [number for number, hook in root._forward_pre_hooks.items() if hook is _named_again]
    if wanted and not ours:
        root.register_forward_pre_hook(_named_again)
    for number in ours if not wanted else ():
        del root._forward_pre_hooks[number]
    _name(root, wanted)


def _named_again(module: nn.Module, arguments: Any) -> None:
    del arguments
    _name(module, wanted=True)


def _name(root: nn.Module, wanted: bool) -> None:
    for config in configs_of(root):
        named = getattr(config, _IMPLEMENTATION)
        plain = (named or "eager").removeprefix(OPERATED)
        new = _registered(plain) if wanted else plain if plain != (named or "eager") else named
        if new != named:  # else a compiled graph would write, too
            setattr(config, _IMPLEMENTATION, new)


def _registered(base: str) -> str:
    name = f"{OPERATED}{base}"
    if name not in ALL_ATTENTION_FUNCTIONS:
        AttentionInterface.register(name, _around(base))
        if base in ALL_MASK_ATTENTION_FUNCTIONS:
            AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[base])
    return name


def _around(base: str) -> Callable[..., tuple[Tensor, Tensor | None]]:
    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
    ) -> tuple[Tensor, Tensor | None]:
        if query.shape[1] == 0:
            return query.new_zeros(query.shape[0], query.shape[2], 0, value.shape[-1]), None
        gather, kept = module._buffers.get(GATHER), module._buffers.get(KEPT)
        if gather is not None and key.shape[1] != query.shape[1]:
            key, value = key.index_select(1, gather), value.index_select(1, gather)
        if kept is not None:
            attention_mask = _of_kept(attention_mask, query, kept)
            if isinstance(options.get("position_bias"), Tensor):
                options["position_bias"] = _of_kept(options["position_bias"], query, kept)
        attention = eager_function(module) if base == "eager" else ALL_ATTENTION_FUNCTIONS[base]
        return attention(module, query, key, value, attention_mask, **options)

    return attend


def _of_kept(made: Tensor | None, query: Tensor, kept: Tensor) -> Tensor | None:
    """Of something made for every original head, what the present ones need."""
    if made is None or made.dim() != 4 or made.shape[1] in (1, query.shape[1]):
        return made
    return made.index_select(1, kept)
