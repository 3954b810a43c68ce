"""The story so far: all that a run must remember to go on where it stopped, besides the model itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neural_plasticity.experiment.evaluation import Quality
from neural_plasticity.heads import HeadGrid, HeadId

Arrays = dict[str, NDArray[Any]]


@dataclass
class Story:
    """Where a run is: the next chapter, the steps done in it, and what earlier chapters found.

    Only plain numbers, texts and arrays, so that it can lie in JSON and safetensors.
    """

    chapter: int = 0
    step: int = 0
    steps: int = 0  # of the optimizer, over all chapters
    losses: list[float] = field(default_factory=list[float])  # of the chapter underway
    skipped: int = 0  # steps of it in which nothing was learned
    learning: dict[str, list[float]] = field(default_factory=dict[str, list[float]])  # the losses of chapters that are over
    durations: dict[str, float] = field(default_factory=dict[str, float])
    newborn: dict[HeadId, int] = field(default_factory=dict[HeadId, int])  # and how many more cycles each is protected
    watched: list[HeadId] = field(default_factory=list[HeadId])
    stopping: dict[str, Any] | None = None  # what early stopping knows of the chapter underway
    stages: dict[str, Quality] = field(default_factory=dict[str, Quality])
    measured: dict[str, HeadGrid] = field(
        default_factory=dict[str, HeadGrid]
    )  # the last number of every head, also of those asleep
    cycles: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def plain(self) -> dict[str, Any]:
        """All of it that JSON can hold."""
        return {
            "chapter": self.chapter,
            "step": self.step,
            "steps": self.steps,
            "losses": self.losses,
            "skipped": self.skipped,
            "learning": self.learning,
            "durations": self.durations,
            "newborn": [[*head, cycles] for head, cycles in self.newborn.items()],
            "watched": [list(head) for head in self.watched],
            "stopping": self.stopping,
            "stages": {
                name: {"tokens": each.tokens, "loss_nats": each.loss_nats, "metrics": dict(each.metrics)}
                for name, each in self.stages.items()
            },
            "measured": {name: grid.label for name, grid in self.measured.items()},
            "cycles": self.cycles,
        }

    def arrays(self) -> Arrays:
        """All of it that is an array."""
        found: Arrays = {f"measured.{name}": grid.values for name, grid in self.measured.items()}
        for name, each in self.stages.items():
            found[f"losses.{name}"], found[f"tokens.{name}"] = each.document_losses, each.document_tokens
        return found

    @classmethod
    def of(cls, plain: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> "Story":
        """The story that was taken apart so."""
        stages = {
            name: Quality(each["tokens"], each["loss_nats"], arrays[f"losses.{name}"], arrays[f"tokens.{name}"], each["metrics"])
            for name, each in plain["stages"].items()
        }
        measured = {name: HeadGrid(arrays[f"measured.{name}"], label) for name, label in plain["measured"].items()}
        taken_apart = {
            "newborn": {HeadId(layer, head): cycles for layer, head, cycles in plain["newborn"]},
            "watched": [HeadId(*head) for head in plain["watched"]],
            "stages": stages,
            "measured": measured,
        }
        return cls(**{**plain, **taken_apart})

    def remember(self, found: Mapping[str, HeadGrid]) -> None:
        """Keep what was measured; a head that has no number now keeps its last one."""
        for name, grid in found.items():
            before = self.measured.get(name)
            values = grid.values if before is None else np.where(np.isnan(grid.values), before.values, grid.values)
            self.measured[name] = HeadGrid(values, grid.label)


def listed(heads: Sequence[HeadId]) -> list[list[int]]:
    """Heads as JSON has them."""
    return [list(head) for head in heads]
