"""Signals from weights: how large a head's own are, and how large their gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor

from neural_plasticity.signals.base import Needs, signal


@signal("gradient", needs=Needs.GRADIENTS, unit="nats per weight")
def gradient(pieces: Sequence[Tensor]) -> Tensor:
    """Norm of the loss's mean gradient by all weights that serve the head."""
    return norm(pieces)


@signal("magnitude", needs=Needs.WEIGHTS, unit="weight")
def magnitude(pieces: Sequence[Tensor]) -> Tensor:
    """Norm of all weights that serve the head, those of its key-value head among them."""
    return norm(pieces)


def norm(pieces: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all these weights together, squared and added up in double precision."""
    return torch.stack([piece.double().square().sum() for piece in pieces]).sum().sqrt()
