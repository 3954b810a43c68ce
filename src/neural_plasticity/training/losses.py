"""The loss of a batch, and of how many predictions it is the mean: so that batches can be averaged as if they were one."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from neural_plasticity.errors import TrainingError
from neural_plasticity.inputs.batches import IGNORED
from neural_plasticity.inputs.labels import asks_for_next

Batch = Mapping[str, Any]

# (outputs, batch) → the mean loss, or that and the number of predictions that it is the mean of; None is the model's own.
Loss = Callable[[Any, Batch], Tensor | tuple[Tensor, Any]]


class Reader:
    """Reads off a model's outputs what a batch cost, and how many predictions that is the mean of."""

    def __init__(self, model: nn.Module, loss: Loss | None) -> None:
        self._model, self._loss = model, loss

    def loss(self, outputs: Any, batch: Batch) -> tuple[Tensor, float | None]:
        """The mean loss, and the number of predictions where whoever gave the loss says it."""
        found = self._loss(outputs, batch) if self._loss is not None else getattr(outputs, "loss", None)
        if found is None and self._loss is None:
            raise TrainingError(
                f"{type(self._model).__name__} gave no loss: the batch holds {', '.join(batch)}. Add labels, or pass loss= a "
                "function (outputs, batch) → scalar."
            )
        loss, number = found if isinstance(found, tuple) else (found, None)
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
            what = f"of shape {tuple(loss.shape)}, slopes {loss.requires_grad}" if isinstance(loss, Tensor) else f"{loss!r:.60}"
            raise TrainingError(
                f"The loss is a {type(loss).__name__} {what}, where one number that follows from the weights is needed; "
                "compute it from the outputs without detaching them."
            )
        return loss.reshape(()), None if number is None else float(number)

    def predictions(self, loss: Tensor, outputs: Any, batch: Batch) -> float:
        """Of how many predictions a loss is the mean, by the labels of its batch: each token that has one, or each sample."""
        labels = batch.get("labels")
        if not isinstance(labels, Tensor) or labels.is_floating_point() or not labels.dim():
            return float(next((len(value) for value in batch.values() if isinstance(value, Tensor) and value.dim()), 1))
        if labels.dim() != 2:
            return float(labels.ne(IGNORED).sum())
        shifted = asks_for_next(self._model, loss, outputs, labels)
        return float((labels[:, 1:] if shifted else labels).ne(IGNORED).sum())
