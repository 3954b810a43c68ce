"""What has been done to a model's heads. It lies on the model itself, so that whoever meets the model again goes on from there."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from neural_plasticity.anatomy.bank import Part
from neural_plasticity.anatomy.sites import Anatomy, Extra, Site, Slices
from neural_plasticity.heads import HeadId, HeadState

_PLACE = "_plasticity_past"

Places = tuple[int, ...]
Axis = tuple[str, int]  # a parameter's name, and one of its axes
Piece = dict[str, Tensor]  # a piece of weight, and the same piece of each optimizer moment by name; "" is the weight


@dataclass
class Past:
    """The anatomy of the untouched model, and of every head that sleeps: how it was put to sleep, and what it was made of.

    `kept` says of each axis that was cut which of its original places are still there; `bank` holds the pieces
    of what is not, or of what was overwritten.
    """

    anatomy: Anatomy
    modes: dict[HeadId, str] = field(default_factory=dict)
    forgotten: set[HeadId] = field(default_factory=set)
    woken: set[HeadId] = field(default_factory=set)
    kept: dict[Axis, Places] = field(default_factory=dict)
    bank: dict[Part, Piece] = field(default_factory=dict)
    counts: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    forms: dict[int, int] = field(default_factory=dict)  # of sites without any head left: what their modules return
    counted: bool = True  # whether modules are told how many heads they have, or find it in their weights

    def state(self, head: HeadId) -> HeadState:
        """What has become of a head."""
        if head in self.forgotten:
            return HeadState.REMOVED
        if head in self.modes:
            return HeadState.DORMANT
        return HeadState.REVIVED if head in self.woken else HeadState.ACTIVE

    def gone(self, layer: int) -> set[int]:
        """The heads of a layer whose weights are out of the model."""
        return {head.head for head, mode in self.modes.items() if head.layer == layer and mode == "remove"}

    def present(self, layer: int) -> list[int]:
        """The heads of a layer whose weights are in the model, by their original numbers, in order."""
        gone = self.gone(layer)
        return [head for head in range(self.anatomy[layer].heads) if head not in gone]

    def now(self) -> Anatomy:
        """The anatomy of the model as it is: what is present, where it lies now, layers and heads by their numbers for life."""
        sites = [_reduced(site, tuple(self.present(site.layer)), self.kept) for site in self.anatomy if self.present(site.layer)]
        return replace(self.anatomy, sites=tuple(sites))

    def numbered(self, anatomy: Anatomy, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        """A number for each head that is present, by site of the model as it is now, in the places of the untouched model."""
        now = {site.layer: dict(zip(site.numbers, row, strict=True)) for site, row in zip(anatomy, rows, strict=True)}
        return [[now.get(site.layer, {}).get(head, math.nan) for head in range(site.heads)] for site in self.anatomy]


def _reduced(site: Site, present: tuple[int, ...], kept: Mapping[Axis, Places]) -> Site:
    """A site with these of its heads."""
    if len(present) == site.heads:
        return site
    groups = sorted({site.groups[head] for head in present})
    members = {"head": present, "kv_head": tuple(groups)}

    def located(each: Slices | Extra, parameter: str, axis: int) -> tuple[Places, ...]:
        places = kept.get((parameter, axis))
        known = None if places is None else {place: index for index, place in enumerate(places)}
        mine = [each.indices[member] for member in members[each.per]]
        return tuple(own if known is None else tuple(known[place] for place in own) for own in mine)

    slices = []
    for each in site.slices:
        # A Conv1D stores inputs × outputs, so its axes are turned; only the axis that was cut stands in `kept`.
        axis = each.axis if (f"{each.module}.weight", each.axis) in kept else 1 - each.axis
        slices.append(replace(each, indices=located(each, f"{each.module}.weight", axis)))
    return replace(
        site,
        heads=len(present),
        kv_heads=len(groups),
        groups=tuple(groups.index(site.groups[head]) for head in present),
        slices=tuple(slices),
        extras=tuple(replace(each, indices=located(each, each.parameter, each.axis)) for each in site.extras),
        present=present,
    )


def past_of(model: nn.Module) -> Past | None:
    """The past that a model carries, if it has been operated on."""
    return model.__dict__.get(_PLACE)


def remember(model: nn.Module, past: Past | None) -> None:
    """Lay a past on a model, or take it off."""
    model.__dict__.pop(_PLACE, None)
    if past is not None:
        model.__dict__[_PLACE] = past
