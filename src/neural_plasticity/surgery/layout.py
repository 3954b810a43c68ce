"""Which places of which weights stay when heads go: plain sets, before anything is touched."""

from collections.abc import Iterable, Iterator, Mapping

from torch import nn
from transformers.pytorch_utils import Conv1D

from neural_plasticity.anatomy.bank import Part
from neural_plasticity.anatomy.past import Axis
from neural_plasticity.anatomy.sites import Anatomy, Extra, Site, Slices


def groups_gone(site: Site, gone: Iterable[int]) -> set[int]:
    """The key-value heads that no query head is left of."""
    left = set(range(site.heads)) - set(gone)
    return set(site.groups) - {site.groups[head] for head in left}


def parts_gone(model: nn.Module, anatomy: Anatomy, gone: Mapping[int, set[int]]) -> dict[Part, None]:
    """Every piece of weight, by its original places, that leaves with these heads of each layer; in a fixed order."""
    found: dict[Part, None] = {}
    for layer, heads in gone.items():
        site = anatomy[layer]
        members = {"head": sorted(heads), "kv_head": sorted(groups_gone(site, heads))}
        for each in (*site.slices, *own_extras(anatomy, site)):
            for member in members[each.per]:
                for part in _parts(model, each, member):
                    found[part] = None
    return found


def own_extras(anatomy: Anatomy, site: Site) -> Iterator[Extra]:
    """The per-head parameters that serve no other site; one that several share is picked from as it is used."""
    for extra in site.extras:
        if not any(extra.parameter == other.parameter for each in anatomy if each is not site for other in each.extras):
            yield extra


def _parts(model: nn.Module, each: Slices | Extra, member: int) -> Iterator[Part]:
    if isinstance(each, Extra):
        yield Part(each.parameter, each.axis, each.indices[member])
        return
    module = model.get_submodule(each.module)
    turned = isinstance(module, Conv1D)  # which stores inputs × outputs
    yield Part(f"{each.module}.weight", 1 - each.axis if turned else each.axis, each.indices[member])
    if each.axis == 0 and getattr(module, "bias", None) is not None:
        yield Part(f"{each.module}.bias", 0, each.indices[member])


def kept_axes(parts: Iterable[Part], sizes: Mapping[Axis, int]) -> dict[Axis, tuple[int, ...]]:
    """Of each axis that is cut, the original places that stay; `sizes` are those of the untouched model."""
    cut: dict[Axis, set[int]] = {}
    for part in parts:
        cut.setdefault((part.parameter, part.axis), set()).update(part.indices)
    return {axis: tuple(place for place in range(sizes[axis]) if place not in places) for axis, places in cut.items()}
