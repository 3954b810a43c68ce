"""What a model is worth on held-out text: its loss per token, over all and per document."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from neural_plasticity.errors import ModelNotUsable
from neural_plasticity.inputs.batches import IGNORED, Window


@dataclass(frozen=True)
class Quality:
    """Mean loss in nats per predicted token, and the same for every document, NaN where none was predicted."""

    tokens: int
    loss_nats: float
    document_losses: NDArray[np.float64]

    @property
    def perplexity(self) -> float:
        """How many tokens the model wavers between, on average; infinite where that overflows."""
        return math.exp(self.loss_nats) if self.loss_nats < 709 else math.inf


class Evaluator:
    """Adds up the loss of batch after batch, so that the one who drives it can tell how far it is."""

    def __init__(self, model: PreTrainedModel, documents: int) -> None:
        self.model = model
        self._loss = np.zeros(documents)
        self._tokens = np.zeros(documents)

    @torch.inference_mode()
    def add(self, windows: Sequence[Window], batch: dict[str, Tensor]) -> float:
        """The mean loss of this batch in nats per token, without dropout; the model's mode is left as it was."""
        modes = {module: module.training for module in self.model.modules()}
        self.model.eval()
        try:
            return self._add(windows, batch)
        finally:
            for module, training in modes.items():
                module.training = training

    def _add(self, windows: Sequence[Window], batch: dict[str, Tensor]) -> float:
        on_device = {name: tensor.to(self.model.device) for name, tensor in batch.items()}
        labels = on_device.pop("labels")
        logits = getattr(self.model(**on_device, use_cache=False), "logits", None)
        if logits is None:
            raise ModelNotUsable(
                f"{type(self.model).__name__} gives no logits, so it predicts no tokens to be evaluated on; name a language model."
            )
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="none"
        ).view(len(windows), -1)
        per_window = losses.double().sum(1).cpu().numpy()
        counts = (labels[:, 1:] != IGNORED).sum(1).cpu().numpy()
        places = [window.document for window in windows]
        np.add.at(self._loss, places, per_window)
        np.add.at(self._tokens, places, counts)
        return float(per_window.sum() / counts.sum())

    def quality(self) -> Quality:
        """The result over everything that was added."""
        with np.errstate(invalid="ignore"):
            per_document = self._loss / self._tokens
        return Quality(int(self._tokens.sum()), float(self._loss.sum() / self._tokens.sum()), per_document)
