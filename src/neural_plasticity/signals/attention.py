"""Signals from the attention itself: how focused a head is, and on what."""

import torch
from torch import Tensor

from neural_plasticity.signals.attended import Attended
from neural_plasticity.signals.base import Needs, signal


def _share(total: Tensor, number: Tensor) -> Tensor:
    """The first sum as a share of the second."""
    del number
    return total[0] / total[1]


@signal("entropy", needs=Needs.ATTENTION, unit="nats")
def entropy(attended: Attended) -> Tensor:
    """Mean entropy of the head's attention.

    With lse the log-sum-exp of the scores, H = lse - E[score]; a bias is part of the score.
    """
    return attended.entropy


@signal("normalized_entropy", needs=Needs.ATTENTION, unit="share of the maximum", finish=_share)
def normalized_entropy(attended: Attended) -> Tensor:
    """Entropy as a share of the most that the mask allows: 1 is uniform, 0 is one key alone.

    The most is the mean of log(visible keys), so a query that sees one key alone weighs nothing.
    """
    most = attended.outcomes.to(attended.lse).log()
    return torch.stack([attended.entropy, most.expand_as(attended.lse)])


@signal("sink", needs=Needs.ATTENTION, unit="weight")
def sink(attended: Attended) -> Tensor:
    """Mean weight on the first token of the query's sequence."""
    return attended.weight_at(attended.visible.first)


@signal("previous_token", needs=Needs.ATTENTION, unit="weight")
def previous_token(attended: Attended) -> Tensor:
    """Mean weight on the token before the query's own, 0 where there is none."""
    return attended.weight_at(attended.visible.own - 1) if not attended.visible.cross else _unknown(attended)


@signal("self_token", needs=Needs.ATTENTION, unit="weight")
def self_token(attended: Attended) -> Tensor:
    """Mean weight on the query's own token."""
    return attended.weight_at(attended.visible.own) if not attended.visible.cross else _unknown(attended)


@signal("distance", needs=Needs.ATTENTION | Needs.DISTANCE, unit="tokens")
def distance(attended: Attended) -> Tensor:
    """Mean distance from the query's own token to where it looks."""
    return attended.distance if not attended.visible.cross else _unknown(attended)


@signal("confidence", needs=Needs.ATTENTION | Needs.EVERY_WEIGHT, unit="weight")
def confidence(attended: Attended) -> Tensor:
    """Mean of the largest weight that each query gives."""
    return attended.largest


def _unknown(attended: Attended) -> Tensor:
    """NaN: in cross attention no key is a query's own, so nothing lies before it or at a distance from it."""
    return torch.full_like(attended.lse, torch.nan)
