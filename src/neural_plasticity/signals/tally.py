"""Sums of what was read, by signal and site: they add up over batches and over ranks, and only then become grids."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from neural_plasticity.anatomy.sites import Site
from neural_plasticity.errors import PlasticityError
from neural_plasticity.signals.base import Needs, Signal

Key = tuple[str, int]


@dataclass
class Tally:
    """What has been added up so far, on the CPU's side of things only when it is asked for."""

    sums: dict[Key, Tensor] = field(default_factory=dict)
    numbers: dict[Key, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    predictions: float = 0.0
    samples: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    paths: dict[int, str] = field(default_factory=dict)
    refusals: dict[tuple[int, Needs], str] = field(default_factory=dict)

    def add(self, signal: Signal, site: Site, total: Tensor, number: Tensor) -> None:
        """Add to a signal's sum at a site, and to how much was added up."""
        key = (signal.name, site.layer)
        total, number = total.double(), number.double()
        self.sums[key] = self.sums[key] + total if key in self.sums else total
        self.numbers[key] = self.numbers[key] + number if key in self.numbers else number

    def refuse(self, site: Site, reason: str, needs: Needs) -> None:
        """Note why a site cannot give what these signals need."""
        self.refusals.setdefault((site.layer, needs), reason)

    def reasons(self, signal: Signal, layer: int) -> Iterator[str]:
        """Why a signal has no value at a layer."""
        return (reason for (where, needs), reason in self.refusals.items() if where == layer and needs & signal.needs)

    def everywhere(self, fault: PlasticityError | None) -> "Tally":
        """The tally of all ranks together; a fault of any of them is raised on all, so that none waits for ever."""
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
            if fault is not None:
                raise fault
            return self
        here = {name: {key: value.cpu() for key, value in held.items()} for name, held in self._held()}
        shapes = {name: tuple(gradient.shape) for name, gradient in self.gradients.items()}
        mine = {"fault": fault, "rank": distributed.get_rank(), "tally": replace(self, gradients={}, **here), "shapes": shapes}
        everybody: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(everybody, mine)
        for one in everybody:
            if one["fault"] is not None:
                raise fault or type(one["fault"])(f"Rank {one['rank']}: {one['fault']}")
        whole = Tally()
        for one in everybody:
            whole.join(one["tally"])
        device = next((gradient.device for gradient in self.gradients.values()), self.device)
        for name, shape in sorted({name: shape for one in everybody for name, shape in one["shapes"].items()}.items()):
            whole.gradients[name] = self.gradients.get(name, torch.zeros(shape, device=device))
            distributed.all_reduce(whole.gradients[name])
        return whole

    def join(self, other: "Tally") -> None:
        """Add another tally's sums to this one's."""
        for (_, ours), (_, theirs) in zip(self._held(), other._held(), strict=True):
            for key, value in theirs.items():
                ours[key] = ours[key] + value if key in ours else value
        self.predictions += other.predictions
        self.samples += other.samples
        self.paths |= other.paths
        self.refusals |= other.refusals

    def _held(self) -> tuple[tuple[str, dict[Key, Tensor]], ...]:
        return ("sums", self.sums), ("numbers", self.numbers)
