"""The bank: the weights of dormant heads, kept apart from the model and given back bit for bit."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from neural_plasticity.anatomy.sites import Anatomy, Indices, Site
from neural_plasticity.errors import NotBanked
from neural_plasticity.heads import HeadId


@dataclass(frozen=True, slots=True)
class Part:
    """Where a piece of a head lies: entries along one axis of one parameter."""

    parameter: str
    axis: int
    indices: Indices

    def of(self, model: nn.Module) -> Tensor:
        """The piece, as a copy."""
        return self.within(model.get_parameter(self.parameter).detach())

    def within(self, whole: Tensor) -> Tensor:
        """The piece of a tensor shaped like the parameter, as a gradient is; a copy."""
        return whole.index_select(self.axis, self._places(whole))

    def put(self, model: nn.Module, piece: Tensor) -> None:
        """Write the piece back where it lies."""
        parameter = model.get_parameter(self.parameter)
        with torch.no_grad():
            parameter.index_copy_(self.axis, self._places(parameter), piece.to(parameter.device))

    def _places(self, parameter: Tensor) -> Tensor:
        return torch.tensor(self.indices, device=parameter.device)


def parts_of(model: nn.Module, site: Site, head: int) -> Iterator[Part]:
    """Every piece of weight that serves this query head, its key-value head's included."""
    group = site.groups[head]
    for each in site.slices:
        module = model.get_submodule(each.module)
        indices = each.indices[head if each.per == "head" else group]
        turned = isinstance(module, Conv1D)  # which stores inputs × outputs
        yield Part(f"{each.module}.weight", 1 - each.axis if turned else each.axis, indices)
        if each.axis == 0 and getattr(module, "bias", None) is not None:
            yield Part(f"{each.module}.bias", 0, indices)
    for extra in site.extras:
        yield Part(extra.parameter, extra.axis, extra.indices[head if extra.per == "head" else group])


class Bank:
    """Holds the pieces of heads by the heads' names; what it holds it never changes."""

    def __init__(self) -> None:
        self._held: dict[HeadId, dict[Part, Tensor]] = {}

    def __contains__(self, head: HeadId) -> bool:
        return head in self._held

    @property
    def heads(self) -> list[HeadId]:
        """The heads that lie here, in order."""
        return sorted(self._held)

    def keep(self, model: nn.Module, site: Site, head: int) -> None:
        """Take a copy of everything that serves a head."""
        self._held[HeadId(site.layer, head)] = {part: part.of(model) for part in parts_of(model, site, head)}

    def give_back(self, model: nn.Module, head: HeadId) -> None:
        """Write a head's pieces back into the model, where they were."""
        for part, piece in self.pieces(head).items():
            part.put(model, piece)

    @contextmanager
    def in_place(self, model: nn.Module, anatomy: Anatomy) -> Iterator[None]:
        """The model with the weights of its dormant heads where they were, until the block ends.

        What a dormant head shares with one that is awake, as key and value of a group, stays as it is.
        """
        here: list[tuple[Part, Tensor]] = []
        try:
            for head in self.heads:
                awake = [other for other in range(anatomy[head.layer].heads) if HeadId(head.layer, other) not in self]
                taken = {part for other in awake for part in parts_of(model, anatomy[head.layer], other)}
                for part, piece in self.pieces(head).items():
                    if part not in taken:
                        here.append((part, part.of(model)))
                        part.put(model, piece)
            yield
        finally:
            for part, piece in reversed(here):
                part.put(model, piece)

    def pieces(self, head: HeadId) -> dict[Part, Tensor]:
        """What is held of a head."""
        if head not in self._held:
            held = ", ".join(map(str, self.heads)) or "none"
            raise NotBanked(f"Head {HeadId(*head)} does not lie in the bank, which holds {held}; only those can come back.")
        return self._held[head]

    def forget(self, head: HeadId) -> None:
        """Let go of a head for good."""
        self.pieces(head)
        del self._held[head]
