"""The loss of a batch, and of how many predictions it is the mean: so that batches can be averaged as if they were one."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers.loss.loss_utils import LOSS_MAPPING

from neural_plasticity.errors import TrainingError
from neural_plasticity.inputs.batches import IGNORED

Batch = Mapping[str, Any]

# (outputs, batch) → the mean loss, or that and the number of predictions that it is the mean of; None is the model's own.
Loss = Callable[[Any, Batch], Tensor | tuple[Tensor, Any]]


class Reader:
    """Reads off a model's outputs what a batch cost, and how many predictions that is the mean of."""

    def __init__(self, model: nn.Module, loss: Loss | None) -> None:
        self._model, self._loss = model, loss
        self._shifted: bool | None = None

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
        if self._shifted is None and bool(labels[:, 1:].ne(IGNORED).any()):
            self._shifted = self._is_shifted(loss, outputs, labels)
        return float((labels[:, 1:] if self._shifted else labels).ne(IGNORED).sum())

    @torch.no_grad()
    def _is_shifted(self, loss: Tensor, outputs: Any, labels: Tensor) -> bool:
        """Whether each position is asked for the label behind it: found by computing the loss both ways."""
        logits = getattr(outputs, "logits", None)
        if not isinstance(logits, Tensor) or logits.shape[:2] != labels.shape:
            return getattr(self._model, "loss_function", None) is LOSS_MAPPING["ForCausalLM"]
        labels = labels.to(logits.device)
        losses = [
            cross_entropy(each.float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)
            for each, wanted in ((logits, labels), (logits[:, :-1], labels[:, 1:]))
        ]
        plain, shifted = (float((each - loss.to(each)).abs()) for each in losses)
        return shifted < plain
