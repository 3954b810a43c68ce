"""The chapters of a run, in their order: setup, warm-up, then cut and recovery for each cycle, and the closing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from neural_plasticity.experiment.closing import Closing
from neural_plasticity.experiment.learning import Learning
from neural_plasticity.experiment.rewiring import Rewiring, told_cycle
from neural_plasticity.experiment.workplace import Workplace
from neural_plasticity.selection.schedules import Stage

Held = tuple[dict[str, Any], dict[str, Tensor]]  # the state of a course that was stopped in the middle


@dataclass(frozen=True)
class Chapter:
    """A part of a run: after each but the last everything is saved."""

    cycle: int | None
    go: Callable[[], None]


class Chapters:
    """What happens in each chapter."""

    def __init__(self, place: Workplace, learning: Learning, folder: Path, held: Held | None) -> None:
        self._place, self._learning, self._folder, self._held = place, learning, folder, held
        self._rewiring = Rewiring(place)

    def listed(self, stages: Sequence[Stage]) -> list[Chapter]:
        """All of them, for cycles that aim at these stages."""
        found = [Chapter(None, self._set_up)]
        if self._place.settings.warmup_steps:
            found.append(Chapter(None, self._warm_up))
        for cycle, stage in enumerate(stages, 1):
            found.append(Chapter(cycle, lambda stage=stage, cycle=cycle: self._cut(stage, cycle)))
            if self._place.settings.steps:
                found.append(Chapter(cycle, self._recover))
        return [*found, Chapter(None, lambda: Closing(self._place).go(self._folder))]

    def _set_up(self) -> None:
        if self._place.unsavable:
            self._place.telling.notice(
                f"No checkpoints are written, so a run that is stopped begins anew when it is resumed: {self._place.unsavable}"
            )
        self._place.evaluate("baseline")
        self._place.write_sample("baseline")

    def _warm_up(self) -> None:
        self._learning.go("warm-up", self._place.settings.warmup_steps, until_settled=True, held=self._taken_up())
        self._look("warm")

    def _cut(self, stage: Stage, cycle: int) -> None:
        place = self._place
        scores = self._rewiring.analyse()
        if cycle == 1:
            place.show_attention("before")
        pruned = self._rewiring.prune(scores, stage)
        revived = self._rewiring.regrow(stage, pruned) if stage.exchange else []
        self._learning.follow()
        if not place.settings.steps:  # nothing comes after, so this is how the cycle ends
            self._look("pruned")
        elif pruned or revived:
            place.evaluate("pruned")
        place.story.cycles.append(told_cycle(cycle, stage, pruned, revived))

    def _recover(self) -> None:
        settings = self._place.settings
        self._learning.go("fine-tuning", settings.steps, rates=self._rates(), held=self._taken_up())
        self._look("fine_tuned")

    def _rates(self) -> dict[tuple[int, int], float] | None:
        """How much further newborn heads move in a step; where no weights are a head's own, it moves with the others."""
        rate, anatomy = self._place.settings.newborn_rate, self._place.surgeon.anatomy
        apart = [head for head in self._place.story.newborn if anatomy[head.layer].slices and anatomy[head.layer].sliceable]
        return dict.fromkeys(apart, rate) if rate != 1 and apart else None

    def _look(self, stage: str) -> None:
        self._place.evaluate(stage)
        self._place.write_sample(stage)
        self._place.show_attention(stage)

    def _taken_up(self) -> Held | None:
        """What a stopped course had, once."""
        held, self._held = self._held, None
        return held
