"""Which label a model asks each position for: found by trying, since models do not say."""

import math
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers.loss.loss_utils import LOSS_MAPPING

from neural_plasticity.inputs.batches import IGNORED

_KNOWN: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()  # it costs a softmax, and a model does not change its mind


@torch.no_grad()
def asks_for_next(model: nn.Module, loss: Tensor, outputs: Any, labels: Tensor) -> bool:
    """Whether the model's loss asks each position for the label behind it and not for its own.

    The loss is computed both ways, and the nearer one is the model's. Without logits by position to compute it from,
    the loss function that the model declares decides.
    """
    if model in _KNOWN:
        return _KNOWN[model]
    logits = getattr(outputs, "logits", None)
    declared = getattr(model, "loss_function", None) is LOSS_MAPPING["ForCausalLM"]
    if not isinstance(logits, Tensor) or logits.dim() != 3 or logits.shape[:2] != labels.shape:
        return declared
    if not bool(labels[:, 1:].ne(IGNORED).any()):
        return declared
    labels = labels.to(logits.device)
    losses = [
        cross_entropy(each.float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)
        for each, wanted in ((logits, labels), (logits[:, :-1], labels[:, 1:]))
    ]
    plain, shifted = (float((each - loss.to(each)).abs()) for each in losses)
    if math.isfinite(plain) and math.isfinite(shifted) and plain != shifted:  # a loss that is no number says nothing
        _KNOWN[model] = shifted < plain
    return shifted < plain
