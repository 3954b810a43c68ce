"""The chapters in which a model learns: the warm-up, until its loss has settled, and the recovery after a cut."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from neural_plasticity.errors import Diverged
from neural_plasticity.experiment.gates import follow, only_sleepers
from neural_plasticity.experiment.wishes import recipe_of
from neural_plasticity.experiment.workplace import Workplace
from neural_plasticity.record import Metrics
from neural_plasticity.training.course import Course
from neural_plasticity.training.losses import Loss
from neural_plasticity.training.stabilisation import Settling
from neural_plasticity.training.stopping import EarlyStopping

Save = Callable[[Course], None]


class Learning:
    """Takes a model through optimizer steps, one chapter at a time, with one optimizer for all of them."""

    def __init__(self, place: Workplace, optimizer: Optimizer, loss: Loss | None, save: Save) -> None:
        self.place, self.optimizer, self._loss, self._save = place, optimizer, loss, save

    def follow(self) -> None:
        """Let the optimizer move what the model has after an operation."""
        rate = self.place.settings.learning_rate
        assert rate is not None  # an experiment has resolved it
        follow(self.place.surgeon, self.optimizer, rate)

    def go(
        self,
        phase: str,
        steps: int,
        *,
        rates: Mapping[tuple[int, int], float] | None = None,
        until_settled: bool = False,
        held: tuple[dict[str, Any], dict[str, Tensor]] | None = None,
    ) -> None:
        """Learn for so many steps, or until the loss has settled, or no glance at the held-out material gets better.

        `held` is the state of a course that was stopped in the middle, to go on from.
        """
        place, story = self.place, self.place.story
        place.telling.begin(phase, steps, again=held is not None, rates=_grid(place, rates) if rates else None)
        settling = _settling(story.losses) if until_settled else None
        stopping = None if until_settled else self._stopping()  # patience is for the recovery: a warm-up has its own end
        began, before = time.monotonic(), story.durations.get(self._named(phase), 0.0)
        recipe = recipe_of(place.settings, steps)
        course = Course(
            place.model, recipe, steps, loss=self._loss, seed=place.settings.seed, optimizer=self.optimizer, rates=rates
        )
        try:
            if held is not None:
                course.restore(*held)
            with only_sleepers(place.surgeon):
                while course.done < steps:
                    self._step(course)
                    story.durations[self._named(phase)] = before + time.monotonic() - began
                    if self._is_over(course, settling, stopping):
                        break
                    if course.done % place.settings.checkpoint_every == 0 and course.done < steps:
                        self._save(course)
        except Diverged as fault:
            raise Diverged(f"{str(fault).removesuffix('.')}{place.way_back}.") from fault
        finally:
            course.close()
        story.learning[self._named(phase)] = list(story.losses)
        self._tell_skipped(course)

    def _step(self, course: Course) -> None:
        place, story = self.place, self.place.story
        count = course.recipe.accumulation
        taken = course.step([place.train.at(story.steps * count + turn) for turn in range(count)])
        story.step, story.steps = course.done, story.steps + 1
        story.losses.append(taken.loss)
        story.skipped += taken.skipped
        values = {"train_loss": taken.loss, "learning_rate": taken.learning_rate, "gradient_norm": taken.gradient_norm}
        epoch = story.steps * count / place.train.per_pass
        place.telling.emit(Metrics(step=course.done, values=values, epoch=epoch))

    def _is_over(self, course: Course, settling: Settling | None, stopping: EarlyStopping | None) -> bool:
        place, story = self.place, self.place.story
        if settling is not None and settling.add(story.losses[-1]):
            message = f"The loss had settled after {course.done} steps, so the warm-up ended there."
            place.telling.notice(message, about="settled", step=course.done)
            return True
        if not place.settings.eval_every or course.done % place.settings.eval_every:
            return False
        loss = place.evaluate("glance", told=False).loss_nats
        place.telling.emit(Metrics(step=course.done, values={"eval_loss": loss}))
        if stopping is None:
            return False
        over = stopping.add(loss)
        story.stopping = stopping.state()
        if over:
            place.telling.notice(f"Learning stopped early after {course.done} steps: the held-out loss got no better any more.")
        return over

    def _tell_skipped(self, course: Course) -> None:
        skipped = self.place.story.skipped
        if skipped:
            self.place.telling.notice(
                f"In {skipped} of {course.done} steps the gradient overflowed {course.recipe.precision}, so nothing was learned "
                "in them; where they are many, use bf16 or a lower learning rate."
            )

    def _stopping(self) -> EarlyStopping | None:
        settings = self.place.settings
        if not settings.patience:
            return None
        stopping = EarlyStopping(settings.patience)
        if self.place.story.stopping is not None:
            stopping.restore(self.place.story.stopping)
        return stopping

    def _named(self, phase: str) -> str:
        cycle = self.place.telling.cycle
        return phase if cycle is None else f"{phase} {cycle}"


def _grid(place: Workplace, rates: Mapping[tuple[int, int], float]) -> dict[str, NDArray[np.float32]]:
    """The multiplier of every head as a layers × heads grid; NaN where none is awake."""
    layers, heads = (1 + max(places) for places in zip(*place.surgeon.anatomy.heads, strict=True))
    grid = np.full((layers, heads), np.nan, dtype=np.float32)
    for head in place.awake:
        grid[head] = rates.get(head, 1.0)
    return {"rates": grid}


def _settling(losses: list[float]) -> Settling:
    settling = Settling()
    for loss in losses:
        settling.add(loss)
    return settling
