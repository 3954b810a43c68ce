"""What a model is worth on held-out material: its loss, over all and per document, and the user's own metrics."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from neural_plasticity.errors import ModelNotUsable, SettingNotUsable
from neural_plasticity.experiment.material import Batch
from neural_plasticity.experiment.metrics import Measures
from neural_plasticity.inputs.batches import IGNORED
from neural_plasticity.signals.measure import ready
from neural_plasticity.signals.objectives import Goal, Objective


@dataclass(frozen=True)
class Quality:
    """Mean loss in nats per prediction, and the same for every document, NaN where nothing was predicted."""

    tokens: int
    loss_nats: float
    document_losses: NDArray[np.float64]
    document_tokens: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def perplexity(self) -> float:
        """How many tokens the model wavers between, on average; infinite where that overflows."""
        return math.exp(self.loss_nats) if self.loss_nats < 709 else math.inf

    @property
    def values(self) -> dict[str, float]:
        """All of it that is one number, by name."""
        return {"loss_nats": self.loss_nats, "perplexity": self.perplexity, "tokens": self.tokens, **self.metrics}


class Evaluator:
    """Adds up the loss of batch after batch, so that the one who drives it can tell how far it is.

    Without an objective it is the loss of each next token, sample by sample; with one, a batch counts as one document.
    """

    def __init__(
        self, model: PreTrainedModel, documents: int, objective: Objective | None = None, measures: Measures | None = None
    ) -> None:
        self.model, self._objective, self._measures = model, objective, measures
        self._loss = np.zeros(documents)
        self._tokens = np.zeros(documents)

    @torch.inference_mode()
    def add(self, places: Sequence[int], batch: Batch) -> float | None:
        """The mean loss of this batch in nats per prediction, without dropout; None where it holds nothing to predict.

        `places` are its samples' documents.
        """
        modes = {module: module.training for module in self.model.modules()}
        self.model.eval()
        try:
            placed = ready(self.model, batch, 1)
            found = self._by_batch(placed, len(places)) if self._objective is not None else self._by_token(placed)
        finally:
            for module, training in modes.items():
                module.training = training
        losses, counts = found
        np.add.at(self._loss, places, losses)
        np.add.at(self._tokens, places, counts)
        return float(losses.sum() / counts.sum()) if counts.sum() else None

    def _by_batch(self, batch: Batch, documents: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """One loss for the whole batch, which its documents share alike."""
        assert self._objective is not None
        outputs = self.model(**batch)
        goal = self._objective(self.model, outputs, batch)
        if self._measures is not None:
            self._measures.add(outputs, batch)
        count = float(goal.weights.sum())
        if not count:  # every label is left out, and the mean of nothing is no number
            return np.zeros(documents), np.zeros(documents)
        return np.full(documents, _loss_of(goal, outputs) * count / documents), np.full(documents, count / documents)

    def _by_token(self, batch: dict[str, torch.Tensor]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        labels = batch["labels"]
        outputs = self.model(**{name: value for name, value in batch.items() if name != "labels"})
        logits = getattr(outputs, "logits", None)
        if logits is None:
            raise ModelNotUsable(
                f"{type(self.model).__name__} gives no logits, so it predicts no tokens to be evaluated on; name a language model."
            )
        if self._measures is not None:
            self._measures.add(outputs, batch)
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="none"
        ).view(len(labels), -1)
        per_sample = losses.double().sum(1).cpu().numpy()
        return per_sample, (labels[:, 1:] != IGNORED).sum(1).double().cpu().numpy()

    def quality(self) -> Quality:
        """The result over everything that was added."""
        with np.errstate(invalid="ignore"):
            per_document = self._loss / self._tokens
            mean = float(self._loss.sum() / self._tokens.sum())
        metrics = {} if self._measures is None else self._measures.values()
        return Quality(int(self._tokens.sum()), mean, per_document, self._tokens.copy(), metrics)


def _loss_of(goal: Goal, outputs: Any) -> float:
    found: Any = goal.loss(outputs)
    if isinstance(found, torch.Tensor) and found.numel() != 1:
        raise SettingNotUsable(f"The loss of a batch has shape {tuple(found.shape)}, and one number is needed; return its mean.")
    try:
        return float(found)
    except (TypeError, ValueError):
        raise SettingNotUsable(f"The loss of a batch is {found!r:.60}, and one number is needed; return a tensor of it.") from None
