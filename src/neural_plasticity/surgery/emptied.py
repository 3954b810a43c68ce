"""A site that has lost all its heads: its module no longer runs, and gives what it would have given without them.

That is the bias of its output projection, or nothing at all where the projection lies outside. A cache still hears
of every token, by a key and a value of width 1 or whatever it holds room for, because models read their length off it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import Cache

from neural_plasticity.anatomy.sites import Site
from neural_plasticity.errors import NotRemovable

_OWN = "_plasticity_forward"  # a forward that the module had of its own
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
    if "forward" in module.__dict__:  # as who places modules on devices leaves it
        module.__dict__[_OWN] = module.__dict__["forward"]
    module.__dict__["forward"] = partial(_forward, module)  # and no method, which could not be pickled


def fill(module: nn.Module) -> None:
    """Let the module compute again."""
    if module.__dict__.pop(_FORM, None) is None:
        return
    own, now = module.__dict__.pop(_OWN, None), module.__dict__["forward"]
    if not isinstance(now, partial) or now.func is not _forward:
        return  # somebody put a forward around ours, which lets the module compute from now on
    del module.__dict__["forward"]
    if own is not None:
        module.__dict__["forward"] = own


def is_empty(module: nn.Module) -> bool:
    """Whether the module has lost all its heads."""
    return _FORM in module.__dict__


def _forward(module: nn.Module, *arguments: Any, **keywords: Any) -> Any:
    if _FORM not in module.__dict__:
        return type(module).forward(module, *arguments, **keywords)
    form, inside, is_cross = module.__dict__[_FORM]
    hidden = _hidden(arguments, keywords)
    reader: Any = _reader(module, inside) if inside else None
    bias = getattr(reader, "bias", None)
    width = 0 if reader is None else reader.weight.shape[1 if hasattr(reader, "nf") else 0]
    left = hidden.new_zeros(*hidden.shape[:-1], width) if bias is None else bias.expand(*hidden.shape[:-1], width).to(hidden)
    if not is_cross:
        for each in (*arguments, *keywords.values()):
            if isinstance(each, Cache):
                _tell(each, module, hidden)
    return left if not form else (left, *[None] * (form - 1))


def _reader(module: nn.Module, inside: str) -> nn.Module:
    """The output projection, or what holds its place since an adapter around it was merged for good."""
    for part in inside.split("."):
        module = module._modules.get(part) or module
    return module


def _hidden(arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Tensor:
    """What the module was called with, by whatever name."""
    return next(each for each in (*arguments, *keywords.values()) if isinstance(each, Tensor) and each.dim() == 3)


def _tell(cache: Cache, module: nn.Module, hidden: Tensor) -> None:
    """Let a cache count these tokens."""
    layer: Any = getattr(module, "layer_idx", None)
    if layer is not None:
        own: Any = getattr(cache, "self_attention_cache", cache)  # of a pair, which keeps cross attention apart
        heads, width = _room(own, layer)
        token = hidden.new_zeros(hidden.shape[0], heads, hidden.shape[1], width)
        own.update(token, token, layer)


def _room(cache: Cache, layer: int) -> tuple[int, int]:
    """How many heads, and how wide, a cache has room for here: as it was made, as it quantises together, or as little as can be."""
    found: Any = cache.layers[layer] if layer < len(cache.layers) else None
    held = getattr(found, "keys", None)
    if isinstance(held, Tensor) and held.dim() == 4:
        return held.shape[1], held.shape[3]
    return 1, getattr(found, "q_group_size", 1)
