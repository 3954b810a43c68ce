"""A course: a stretch of optimizer steps on one model that can be left after any step and gone on with, bit for bit."""

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from torch import Tensor, nn
from torch.optim import Optimizer

from neural_plasticity.anatomy.example import on_device_of
from neural_plasticity.anatomy.taps import original
from neural_plasticity.errors import Diverged, SettingNotUsable, TrainingError
from neural_plasticity.training.accelerated import Accelerated
from neural_plasticity.training.draws import drawn_for
from neural_plasticity.training.losses import Batch, Loss, Reader
from neural_plasticity.training.moments import cleared, kept, names_of, put_back, scaled
from neural_plasticity.training.rates import HeadRates
from neural_plasticity.training.recipe import Recipe, optimizer_for

LEAST_SCALE = 2.0**-10  # of an fp16 loss: below it, what overflows are the gradients, and not their scale


@dataclass(frozen=True, slots=True)
class Step:
    """What one step saw: the mean loss over its batches, and the norm of the gradient before clipping.

    `skipped` says that fp16 gradients overflowed, so that the weights stayed and the next try scales them less.
    """

    loss: float
    gradient_norm: float
    learning_rate: float
    skipped: bool = False


class Course:
    """A stretch of optimizer steps on one model.

    `loss` is a function (outputs, batch) → scalar, or → (mean, number of predictions); without it, the model's own.
    What a step draws by chance follows from the seed and its number. Between steps the model is as it always was.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        steps: int,
        *,
        loss: Loss | None = None,
        seed: int = 0,
        optimizer: Any = None,
        rates: HeadRates | Mapping[tuple[int, int], float] | None = None,
    ) -> None:
        if steps < 1 or seed < 0:
            raise SettingNotUsable(
                f"A course of {steps} steps with seed {seed} cannot be; use 1 step or more, and a seed of 0 or more."
            )
        self.recipe, self.steps, self.seed, self.done = recipe, int(steps), int(seed), 0
        self._model, self._root = model, original(model)
        self.optimizer: Optimizer = getattr(optimizer, "optimizer", optimizer) or optimizer_for(model, recipe)
        names_of(self._root, self.optimizer)
        self._peaks = _learning_rates(self.optimizer)
        self._reader = Reader(self._root, loss)
        takes = inspect.signature(self._root.forward).parameters
        self._options = {"use_cache": False} if "use_cache" in takes else {}
        device = next(self._root.parameters()).device
        self._accelerated = Accelerated(self.optimizer, device, recipe.precision, recipe.accumulation)
        self._rates = HeadRates(self._root, rates) if isinstance(rates, Mapping) else rates
        if self._rates is not None:
            self._rates.attach(self.optimizer)
        self._open = True

    def step(self, batches: Sequence[Batch]) -> Step:
        """One step of the optimizer, over as many batches as the recipe accumulates; all or nothing."""
        self._require_ready(batches)
        with self._accelerated.here(), drawn_for(self._root, self.seed, self.done), _learning(self._root):
            cleared(self._root)
            try:
                taken = self._take(batches)
            finally:
                cleared(self._root)
        self.done += 1
        return taken

    def _take(self, batches: Sequence[Batch]) -> Step:
        accelerator, optimizer = self._accelerated.accelerator, self._accelerated.optimizer
        factor = self.recipe.factor(self.done, self.steps)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            _set_learning_rate(group, peak * factor)
        loss = self._gradients(batches)
        weights = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        measured: Any = accelerator.clip_grad_norm_(weights, self.recipe.clip or math.inf)
        norm, scaler = float(measured), accelerator.scaler
        skipped = not math.isfinite(norm) and scaler is not None
        if skipped and scaler is not None and scaler.get_scale() < LEAST_SCALE:
            raise self._diverged("gradient overflows fp16 at any scale: its norm", norm)
        if not skipped and not math.isfinite(norm):
            raise self._diverged("norm of the gradient", norm)
        optimizer.step()
        return Step(loss, norm, self._peaks[0] * factor, skipped)

    def _gradients(self, batches: Sequence[Batch]) -> float:
        """The mean loss over all predictions of all batches, its gradient on the weights.

        How many predictions there are is known only at the end, so batches are weighed by the first one's number
        on the way, which also keeps their losses in range.
        """
        accelerator, first, total, found = self._accelerated.accelerator, 0.0, 0.0, 0.0
        accelerator.step = 0
        for batch in batches:
            with accelerator.accumulate():
                loss, number, told = self._forward(batch)
                if not number:  # all its labels are left out, and the mean of nothing is no number
                    continue
                if not math.isfinite(told):
                    raise self._diverged("loss", told)
                first = first or number
                accelerator.backward(loss * (number / first))
                total, found = total + number, found + told * number
        if not total:
            raise TrainingError(f"Step {self.done + 1}: no batch has a label to learn from; leave such batches out.")
        scaled(self._root, len(batches) * first / total)  # accelerate has divided by the number of batches
        return found / total

    def _forward(self, batch: Batch) -> tuple[Tensor, float, float]:
        """The loss of a batch, of how many predictions it is the mean, and its value."""
        here = on_device_of(self._root, dict(batch))
        with self._accelerated.accelerator.autocast():
            outputs = self._model(**{**self._options, **here})
            loss, number = self._reader.loss(outputs, here)
        if number is None:
            number = self._reader.predictions(loss, outputs, here) if self.recipe.accumulation > 1 else 1.0
        return loss, number, loss.item()

    def _require_ready(self, batches: Sequence[Batch]) -> None:
        if not self._open:
            raise TrainingError("This course is closed; begin another one.")
        if self.done >= self.steps:
            raise TrainingError(f"All {self.steps} steps of this course are done; begin another one.")
        if len(batches) != self.recipe.accumulation:
            raise SettingNotUsable(
                f"Step {self.done + 1} was given {len(batches)} batches, and its recipe accumulates "
                f"{self.recipe.accumulation}; give as many."
            )

    def _diverged(self, what: str, value: float) -> Diverged:
        return Diverged(
            f"Step {self.done + 1} of {self.steps}: the {what} is {value}, so the step was not taken and the weights stand as they "
            f"did before it; lower the learning rate of {self._peaks[0]:g}, warm up longer, or look for a batch without labels."
        )

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What going on needs beside the model's weights: plain values for JSON, and tensors by `weight/moment`, copied."""
        plain, tensors = kept(self._root, self.optimizer)
        scaler = self._accelerated.accelerator.scaler
        scale = None if scaler is None else scaler.state_dict()
        recipe = self.recipe.as_dict()
        mine = {"done": self.done, "steps": self.steps, "seed": self.seed, "recipe": recipe, "peaks": self._peaks, "scaler": scale}
        return {**mine, "optimizer": plain}, tensors

    def restore(self, plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on where the course stood that told this state; the model must have the weights that it had then."""
        mine = {"steps": self.steps, "seed": self.seed, "recipe": self.recipe.as_dict()}
        for name, value in mine.items():
            if plain[name] != value:
                raise TrainingError(
                    f"The state is of a course with {name} {plain[name]}, and this one has {value}; make it the same way."
                )
        put_back(self._root, self.optimizer, plain["optimizer"], tensors)
        self._peaks, self.done = list(plain["peaks"]), plain["done"]
        if plain["scaler"] is not None and self._accelerated.accelerator.scaler is not None:
            self._accelerated.accelerator.scaler.load_state_dict(plain["scaler"])

    def close(self) -> None:
        """Hooks gone, and the optimizer with the learning rates it came with; its moments stay."""
        if not self._open:
            return
        self._open = False
        if self._rates is not None:
            self._rates.detach(self.optimizer)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            _set_learning_rate(group, peak)
        self._accelerated.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@contextmanager
def _learning(model: nn.Module) -> Iterator[None]:
    """The model in its learning mode until the block ends, each module then in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.train()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _learning_rates(optimizer: Optimizer) -> list[float]:
    rates = [group["lr"] for group in optimizer.param_groups]
    if any(rate is None for rate in rates):
        raise SettingNotUsable(f"This {type(optimizer).__name__} sets its learning rate by itself; give it lr= a number.")
    return [float(rate) for rate in rates]


def _set_learning_rate(group: dict[str, Any], rate: float) -> None:
    if isinstance(group["lr"], Tensor):  # which a captured graph reads
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
