"""A site that has lost all its heads: its module no longer runs, and gives what it would have given without them.

That is the bias of its output projection, or nothing at all where the projection lies outside. A cache still hears
of every token, by a key and a value of width 1, because models read their length off it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any

from torch import Tensor, nn
from transformers import Cache

from neural_plasticity.anatomy.sites import Site
from neural_plasticity.errors import NotRemovable

_FORM = "_plasticity_form"  # how many things the module returns, 0 for a bare tensor; and which projection's bias it gives


@contextmanager
def forms(model: nn.Module, sites: Sequence[Site]) -> Iterator[dict[int, int]]:
    """In what form the modules of these sites return what they compute, seen while the block runs the model."""
    found: dict[int, int] = {}
    odd: dict[int, str] = {}

    def watch(site: Site) -> Any:
        def hook(module: nn.Module, arguments: Any, outputs: Any) -> None:
            del module, arguments
            rest = outputs[1:] if isinstance(outputs, tuple) else ()
            if not isinstance(outputs, (Tensor, tuple)) or any(
                isinstance(each, Tensor) and each.shape[1:2] != (site.heads,) for each in rest
            ):
                odd[site.layer] = type(outputs).__name__
            found[site.layer] = len(outputs) if isinstance(outputs, tuple) else 0

        return hook

    hooks = [model.get_submodule(site.name).register_forward_hook(watch(site)) for site in sites]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
    for site in sites:
        if site.layer in odd or site.seen != "interface" or site.calls > 1:
            raise NotRemovable(
                f"Layer {site.layer} ({site.name}) would lose all its heads, and hands on more than their output; "
                "leave it one, or use mode='mask_forward'."
            )


def empty(module: nn.Module, site: Site, form: int) -> None:
    """Let the module give what is left, in the form that it always had."""
    reader = site.of_role("o")[0].module
    inside = reader.removeprefix(f"{site.name}.") if reader.startswith(f"{site.name}.") else ""
    module.__dict__[_FORM] = (form, inside, site.kind == "cross")
    module.__dict__["forward"] = MethodType(_forward, module)


def fill(module: nn.Module) -> None:
    """Let the module compute again."""
    if module.__dict__.pop(_FORM, None) is not None:
        del module.__dict__["forward"]


def _forward(module: nn.Module, *arguments: Any, **keywords: Any) -> Any:
    form, inside, is_cross = module.__dict__[_FORM]
    hidden = _hidden(arguments, keywords)
    reader: Any = module.get_submodule(inside) if inside else None
    bias = getattr(reader, "bias", None)
    width = 0 if reader is None else reader.weight.shape[1 if hasattr(reader, "nf") else 0]
    left = hidden.new_zeros(*hidden.shape[:-1], width) if bias is None else bias.expand(*hidden.shape[:-1], width).to(hidden.dtype)
    if not is_cross:
        for each in (*arguments, *keywords.values()):
            if isinstance(each, Cache):
                _tell(each, module, hidden)
    return left if not form else (left, *[None] * (form - 1))


def _hidden(arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Tensor:
    """What the module was called with, by whatever name."""
    return next(each for each in (*arguments, *keywords.values()) if isinstance(each, Tensor) and each.dim() == 3)


def _tell(cache: Cache, module: nn.Module, hidden: Tensor) -> None:
    """Let a cache count these tokens."""
    layer: Any = getattr(module, "layer_idx", None)
    if layer is not None:
        own: Any = getattr(cache, "self_attention_cache", cache)  # of a pair, which keeps cross attention apart
        token = hidden.new_zeros(hidden.shape[0], 1, hidden.shape[1], 1)
        own.update(token, token, layer)
