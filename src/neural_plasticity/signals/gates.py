"""Signals from gates: a multiplier on each head's output, one for every sample, whose slope says what the head does to the loss."""

from typing import Any

import torch
from torch import Tensor

from neural_plasticity.signals.base import Needs, signal


class Gated(torch.autograd.Function):
    """The output of attention (rows, queries, heads, width), each head times its sample's gate (samples, heads).

    The slope by a gate is summed in the gate's own precision, whatever the model's; the output is saved for it
    once, as attention saved it already. Rows that a model makes of a sample (windows, frames) share its gates.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, gates: Tensor, closed: bool) -> Tensor:
        ctx.save_for_backward(output, gates)
        ctx.closed = closed
        return output * spread(gates, output) if closed else output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,) = gradients
        output, gates = ctx.saved_tensors
        dtype = torch.promote_types(output.dtype, gates.dtype)
        slopes = torch.linalg.vecdot(gradient.to(dtype), output.to(dtype))  # rows × queries (× more) × heads
        slopes = slopes.flatten(1, -2).sum(1).unflatten(0, (len(gates), -1)).sum(1)
        return gradient * spread(gates, output) if ctx.closed else gradient, slopes.to(gates.dtype), None


def spread(gates: Tensor, output: Tensor) -> Tensor:
    """Gates (samples, heads) as they multiply an output whose first axis holds one or more rows for each sample."""
    rows = gates.repeat_interleave(len(output) // len(gates), 0).to(output.dtype)
    return rows.view(len(rows), *(1,) * (output.dim() - 3), rows.shape[1], 1)


@signal("taylor", needs=Needs.GATES, unit="nats")
def taylor(slopes: Tensor) -> Tensor:
    """Mean over samples of how much the loss would change without the head, to first order: |slope of its gate|.

    The absolute value is taken of each sample: those of different sign would cancel in a batch.
    """
    return slopes.abs()


@signal("fisher", needs=Needs.GATES, unit="nats²")
def fisher(slopes: Tensor) -> Tensor:
    """Mean over samples of the squared slope of the head's gate."""
    return slopes.square()


@signal("wake", needs=Needs.DORMANT, unit="nats")
def wake(slopes: Tensor) -> Tensor:
    """Slope of the loss as a dormant head's gate opens, its banked weights in place: below 0, waking it would help."""
    return slopes
