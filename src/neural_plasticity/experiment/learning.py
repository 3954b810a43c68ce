"""The chapters in which a model learns: the warm-up, until its loss has settled, and the recovery after a cut."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from neural_plasticity.errors import Diverged
from neural_plasticity.experiment.gates import follow, only_sleepers
from neural_plasticity.experiment.wishes import recipe_of
from neural_plasticity.experiment.workplace import Workplace
from neural_plasticity.record import Metrics
from neural_plasticity.training.course import Course
from neural_plasticity.training.stabilisation import Settling
from neural_plasticity.training.stopping import EarlyStopping

Save = Callable[[Course], None]


class Learning:
    """Takes a model through optimizer steps, one chapter at a time, with one optimizer for all of them."""

    def __init__(self, place: Workplace, optimizer: Optimizer, loss: Callable[[Any, Any], Tensor] | None, save: Save) -> None:
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
        place.telling.begin(phase, steps, again=held is not None)
        settling = _settling(story.losses) if until_settled else None
        stopping = self._stopping()
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
            raise Diverged(f"{str(fault).removesuffix('.')}; the last checkpoint holds the model from before.") from fault
        finally:
            course.close()
        story.learning[self._named(phase)] = list(story.losses)

    def _step(self, course: Course) -> None:
        place, story = self.place, self.place.story
        count = course.recipe.accumulation
        taken = course.step([place.train.at(story.steps * count + turn) for turn in range(count)])
        story.step, story.steps = course.done, story.steps + 1
        story.losses.append(taken.loss)
        values = {"train_loss": taken.loss, "learning_rate": taken.learning_rate, "gradient_norm": taken.gradient_norm}
        epoch = story.steps * count / place.train.per_pass
        place.telling.emit(Metrics(step=course.done, values=values, epoch=epoch))

    def _is_over(self, course: Course, settling: Settling | None, stopping: EarlyStopping | None) -> bool:
        place, story = self.place, self.place.story
        if settling is not None and settling.add(story.losses[-1]):
            place.telling.notice(f"The loss had settled after {course.done} steps, so the warm-up ended there.")
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


def _settling(losses: list[float]) -> Settling:
    settling = Settling()
    for loss in losses:
        settling.add(loss)
    return settling
