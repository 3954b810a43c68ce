"""What signals must be, found the slow way: gates turned by hand, heads left out one by one, every loss computed here."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neural_plasticity.anatomy.sites import Anatomy, Site
from neural_plasticity.anatomy.taps import Call, open_taps

IGNORED = -100
STEP = 0.05  # wide, because norms compute in float32 whatever the model does; the error left is of its fourth power
Losses = Callable[[Any, Mapping[str, Any]], Tensor]


def next_word(outputs: Any, batch: Mapping[str, Any]) -> Tensor:
    """Of each sample, the mean loss of its labels, each predicted from the place before it; in float64."""
    return _each(outputs.logits[:, :-1], batch["labels"][:, 1:])


def same_place(outputs: Any, batch: Mapping[str, Any]) -> Tensor:
    """Of each sample, the mean loss of its labels, each predicted at its own place; in float64."""
    return _each(outputs.logits, batch["labels"])


def one_class(outputs: Any, batch: Mapping[str, Any]) -> Tensor:
    """Of each sample, the loss of its one label; in float64."""
    return cross_entropy(outputs.logits.double(), batch["labels"], reduction="none")


def _each(logits: Tensor, labels: Tensor) -> Tensor:
    found = cross_entropy(logits.double().transpose(1, 2), labels, reduction="none", ignore_index=IGNORED)
    return found.sum(1) / (labels != IGNORED).sum(1)


def multiplied(head: int, factor: float) -> Callable[[Call], Tensor]:
    """A tap that multiplies one head's output, of all samples."""

    def tap(call: Call) -> Tensor:
        output = call.output.clone()
        output[..., head, :] = output[..., head, :] * factor
        return output

    return tap


@torch.no_grad()
def losses_at(model: nn.Module, batch: Mapping[str, Any], losses: Losses, site: Site, head: int, factor: float) -> Tensor:
    """The loss of each sample with one head's output multiplied."""
    with open_taps(model, {site: multiplied(head, factor)}):
        return losses(model(**batch), batch)


def slope(value: Callable[[float], Tensor], at: float) -> Tensor:
    """The slope of a function by five points."""
    near, far = (value(at + step) - value(at - step) for step in (STEP, 2 * STEP))
    return (8 * near - far) / (12 * STEP)


def slopes(model: nn.Module, anatomy: Anatomy, batch: Mapping[str, Any], losses: Losses, at: float = 1.0) -> dict[Any, Tensor]:
    """By head, the slope of each sample's loss by a gate on its output, from both sides."""
    return {
        (site.layer, head): slope(partial(losses_at, model, batch, losses, site, head), at)
        for site in anatomy
        for head in range(site.heads)
    }


def damage(model: nn.Module, anatomy: Anatomy, batch: Mapping[str, Any], losses: Losses) -> dict[Any, Tensor]:
    """By head, how much each sample's loss rises without it."""
    with torch.no_grad():
        intact = losses(model(**batch), batch)
    return {
        (site.layer, head): losses_at(model, batch, losses, site, head, 0.0) - intact
        for site in anatomy
        for head in range(site.heads)
    }


def grid(values: Mapping[Any, float | Tensor], like: np.ndarray) -> np.ndarray:
    """Values by head, laid out as a grid is."""
    found = np.full(like.shape, np.nan)
    for head, value in values.items():
        found[head] = float(value)
    return found


def close(one: Any, other: Any, rtol: float = 3e-4, atol: float = 1e-5) -> None:
    """Both grids hold the same numbers, and NaN in the same places."""
    np.testing.assert_allclose(getattr(one, "values", one), getattr(other, "values", other), rtol=rtol, atol=atol)
