"""Questions to autograd: which features does a tensor come from, and which features come from a tensor?

Asked over graphs that end at the outputs of the nearest projections, so each question is small.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Features = frozenset[int]
NONE: Features = frozenset()


def features_behind(result: Tensor, sources: Sequence[Tensor]) -> list[Features]:
    """For each source, the features (last axis) that `result` depends on."""
    return [NONE if gradient is None else _nonzero(gradient, -1) for gradient in _gradients(result, sources)]


def features_by_place(score: Tensor, sources: Sequence[Tensor], tokens: int) -> tuple[list[Features], list[Features]]:
    """For each source, the features that one score takes from its last token, and those from anywhere else.

    A source with another number of rows than so many tokens give, as position embeddings, has no last token.
    """
    at_last, elsewhere = [], []
    for source, gradient in zip(sources, _gradients(score, sources), strict=True):
        rows = torch.zeros_like(source) if gradient is None else gradient
        rows = rows.reshape(-1, rows.shape[-1])
        last = 0 if len(rows) % tokens else 1
        at_last.append(_nonzero(rows[len(rows) - last :], -1))
        elsewhere.append(_nonzero(rows[: len(rows) - last], -1))
    return at_last, elsewhere


def parts_behind(result: Tensor, parameters: Sequence[Tensor]) -> list[tuple[Features, ...] | None]:
    """For each parameter, per axis the indices that `result` depends on; None where it depends on none of it."""
    return [
        None if gradient is None or not gradient.any() else tuple(_nonzero(gradient, axis) for axis in range(gradient.dim()))
        for gradient in _gradients(result, parameters)
    ]


def depends(result: Tensor, sources: Sequence[Tensor]) -> list[bool]:
    """Which of the sources `result` depends on."""
    return [gradient is not None and bool(gradient.any()) for gradient in _gradients(result, sources)]


def _gradients(result: Tensor, sources: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Of a random mixture of the result's entries, under which no two contributions cancel."""
    if not sources or not result.requires_grad:
        return [None] * len(sources)
    return torch.autograd.grad(result, sources, grad_outputs=torch.randn_like(result), retain_graph=True, allow_unused=True)


def features_reached(source: Tensor, axis: int, result: Tensor) -> list[Features] | None:
    """For each index of the source along an axis, the features of `result` that depend on it; None where nothing does.

    A gradient is linear in what it is taken against, so differentiating it once more runs the same graph forwards.
    """
    against = torch.zeros_like(result, requires_grad=True)
    (backwards,) = torch.autograd.grad(result, source, grad_outputs=against, create_graph=True, allow_unused=True)
    if backwards is None:
        return None
    reached = []
    for index in range(source.shape[axis]):
        direction = torch.zeros_like(source)
        direction.select(axis, index).normal_()
        (forwards,) = torch.autograd.grad(backwards, against, grad_outputs=direction, retain_graph=True, allow_unused=True)
        reached.append(NONE if forwards is None else _nonzero(forwards, -1))
    return reached


def _nonzero(gradient: Tensor, axis: int) -> Features:
    others = [each for each in range(gradient.dim()) if each != axis % gradient.dim()]
    touched = gradient.detach().ne(0)
    return frozenset((touched.any(dim=others) if others else touched).nonzero().flatten().tolist())
