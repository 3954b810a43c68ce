"""Masks and gates where an output projection reads: a factor for each head, fixed or learnable.

They lie on the projection as a buffer or a parameter, and a hook multiplies by them, so that they move, save and
copy with the model.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import Module

from neural_plasticity.anatomy.past import Past
from neural_plasticity.anatomy.sites import Site
from neural_plasticity.surgery.cut import GATE, located

MASK = "plasticity_mask"  # a factor for each feature that the projection reads
OWNER = "plasticity_owner"  # which entry of its gate each feature is multiplied by, the one behind the last head's being 1


def scaled(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """What the projection reads, each head times its factors; the hook itself."""
    read = arguments[0]
    mask, gate = module._buffers.get(MASK), module._parameters.get(GATE)
    if mask is not None:
        read = read * mask.to(read.dtype)
    if gate is not None:
        read = read * torch.cat([gate, gate.new_ones(1)])[module._buffers[OWNER]].to(read.dtype)
    return (read, *arguments[1:])


def set_factors(model: nn.Module, past: Past, site: Site, masked: set[int], gates: Mapping[int, float] | None) -> None:
    """Let a site's heads be masked and gated like this, and no more; None takes the gates off."""
    for each in site.of_role("o"):
        reader = model.get_submodule(each.module)
        kept = past.kept.get(_read_axis(past, each.module))
        width = len(kept) if kept is not None else reader_width(reader)
        places = {head: located(each.indices[head], kept) for head in past.present(site.layer)}
        _drop(reader, MASK)
        if masked & set(places):
            mask = torch.ones(width)
            mask[[place for head in masked & set(places) for place in places[head]]] = 0
            reader.register_buffer(MASK, mask.to(_device(reader)), persistent=False)
        _set_gates(reader, site, places, width, gates)
        _hook(reader)


def _set_gates(
    reader: nn.Module, site: Site, places: Mapping[int, list[int]], width: int, gates: Mapping[int, float] | None
) -> None:
    _drop(reader, OWNER)
    if gates is None:
        reader._parameters.pop(GATE, None)
        return
    gate = reader._parameters.get(GATE)
    if gate is None:
        gate = nn.Parameter(torch.ones(site.heads, device=_device(reader)))
        reader.register_parameter(GATE, gate)
    turned = gate.detach().clone()
    for head, value in gates.items():
        turned[head] = value
    gate.data = turned  # not written into, so that an operation can be taken back
    owner = torch.full((width,), site.heads, dtype=torch.long)
    for head, own in places.items():
        owner[own] = head
    reader.register_buffer(OWNER, owner.to(_device(reader)), persistent=False)


@contextmanager
def masked_for_now(model: nn.Module, past: Past, heads: Mapping[int, set[int]]) -> Iterator[None]:
    """Some heads of each layer masked until the block ends, on top of whatever is masked already."""
    hooks = []
    try:
        for layer, gone in heads.items():
            for each in past.anatomy[layer].of_role("o"):
                kept = past.kept.get(_read_axis(past, each.module))
                present = set(past.present(layer))
                places = [place for head in gone & present for place in located(each.indices[head], kept)]
                hooks.append(model.get_submodule(each.module).register_forward_pre_hook(_zeroing(places)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _zeroing(places: list[int]) -> Any:
    def zero(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        del module
        read: Tensor = arguments[0].clone()
        read[..., places] = 0
        return (read, *arguments[1:])

    return zero


def _read_axis(past: Past, module: str) -> tuple[str, int]:
    """The axis of the projection's weight that runs over what it reads."""
    return next((axis for axis in ((f"{module}.weight", 1), (f"{module}.weight", 0)) if axis in past.kept), (f"{module}.weight", 1))


def reader_width(reader: nn.Module) -> int:
    """How many features a projection reads."""
    width: Any = getattr(reader, "in_features", None)
    return int(width if width is not None else getattr(reader, "nx", 0))


def _device(module: nn.Module) -> torch.device:
    return next((tensor.device for tensor in module.parameters()), torch.device("cpu"))


def _drop(module: nn.Module, name: str) -> None:
    module._buffers.pop(name, None)
    module._non_persistent_buffers_set.discard(name)


def _hook(reader: Module) -> None:
    """The hook, where there is something to multiply by, and nowhere else; found by what it is, so that copies have theirs."""
    ours = [number for number, hook in reader._forward_pre_hooks.items() if hook is scaled]
    needed = MASK in reader._buffers or GATE in reader._parameters
    if needed and not ours:
        reader.register_forward_pre_hook(scaled)
    if not needed:
        for number in ours:
            del reader._forward_pre_hooks[number]
