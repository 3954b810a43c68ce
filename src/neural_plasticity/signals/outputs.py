"""Signals from what heads put out."""

from dataclasses import dataclass

import torch
from torch import Tensor

from neural_plasticity.errors import NotMeasurable
from neural_plasticity.signals.base import Needs, signal

RIDGE = 1e-8  # of the mean variance: keeps features that are constant or copies of others from dividing by 0


@dataclass(frozen=True, slots=True)
class Heard:
    """What the heads of a site put out: (rows, queries, heads, width), and which queries are real (rows, queries)."""

    output: Tensor
    real: Tensor


@signal("output_norm", needs=Needs.OUTPUT, unit="activation")
def output_norm(heard: Heard) -> Tensor:
    """Mean length of the head's output vector, as its output projection reads it."""
    return heard.output.float().norm(dim=-1).transpose(1, 2)


def _explained(total: Tensor, number: Tensor) -> Tensor:
    """The share of each head's variance that the others of its layer explain.

    What is left unexplained of a block of features is the inverse of that block of the inverse covariance.
    """
    heads, width, _ = total.shape
    features = heads * width
    moments = total.flatten(0, 1)
    if number <= features:
        raise NotMeasurable(
            f"redundancy regresses {features} features and saw {int(number)} positions, too few to tell; "
            f"measure on more than {features}, better on ten times as many."
        )
    mean = moments[:, -1] / number
    covariance = moments[:, :-1] / number - torch.outer(mean, mean)
    blocks = covariance.view(heads, width, heads, width).diagonal(dim1=0, dim2=2)  # width × width × heads
    variance = blocks.diagonal(dim1=0, dim2=1).sum(-1)
    ridge = RIDGE * variance.mean().clamp_min(torch.finfo(torch.float64).tiny) / width
    precision = torch.linalg.inv(covariance + ridge * torch.eye(features, dtype=covariance.dtype, device=covariance.device))
    own = precision.view(heads, width, heads, width).diagonal(dim1=0, dim2=2).movedim(-1, 0)
    left = torch.linalg.inv(own).diagonal(dim1=1, dim2=2).sum(-1)
    silent = variance <= ridge * width
    return torch.where(silent, 1.0, 1 - left / variance).clamp(0, 1)


@signal("redundancy", needs=Needs.OUTPUT, unit="share of variance", finish=_explained, summed=True)
def redundancy(heard: Heard) -> Tensor:
    """How well the layer's other heads predict this one's output linearly: the share of its variance, 1 is fully."""
    heads, width = heard.output.shape[-2:]
    seen = heard.output.flatten(2)[heard.real].double()
    moments = seen.T @ torch.cat([seen, seen.new_ones(len(seen), 1)], -1)
    return moments.view(heads, width, -1)
