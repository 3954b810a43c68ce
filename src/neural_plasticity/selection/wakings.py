"""The built-in ways to wake heads: by what waking would do, by what they were, by where they are missed, or by chance."""

import numpy as np

from neural_plasticity.selection.strategies import Grids, Scores, growth_strategy


@growth_strategy("gradient_sensitivity", signals=("wake",), wakes="lowest", score="wake", bound=0.0)
def gradient_sensitivity(grids: Grids, _rng: np.random.Generator) -> Scores:
    """The heads whose waking would lower the loss, most first; no other wakes."""
    return grids["wake"]


@growth_strategy("entropy_gap", signals=("entropy",), wakes="highest", score="entropy gap", unit="nats", compares=True)
def entropy_gap(grids: Grids, _rng: np.random.Generator) -> Scores:
    """The heads that attended more narrowly, when last measured, than the awake heads of their layer do now.

    In a layer with no head awake there is nothing to compare with, and no number.
    """
    awake = np.where(grids.awake, grids["entropy"], 0).sum(1)
    number = grids.awake.sum(1)
    mean = np.divide(awake, number, out=np.full(len(number), np.nan), where=number > 0)
    return mean[:, None] - grids["entropy"]


@growth_strategy("balanced", signals=(), wakes="lowest", score="awake share of its layer", ties="taylor")
def balanced(grids: Grids, _rng: np.random.Generator) -> Scores:
    """A head of the layer with the smallest share of awake heads, again and again.

    The score is the share of its layer just before the head wakes, if those that are better by `taylor` (or, without
    it, by number) wake before it. These shares rise within a layer, so that their order is that of choosing in turn.
    """
    shares = np.full(grids.there.shape, np.nan)
    worth = np.nan_to_num(grids.get("taylor", np.zeros(shares.shape)), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    for layer in np.flatnonzero(grids.wakeable.any(1)):
        sleeping = np.flatnonzero(grids.wakeable[layer])
        in_turn = sleeping[np.argsort(-worth[layer, sleeping], kind="stable")]
        shares[layer, in_turn] = (grids.awake[layer].sum() + np.arange(len(in_turn))) / grids.there[layer].sum()
    return shares


@growth_strategy("random", signals=(), wakes="lowest", score="random draw")
def by_chance(grids: Grids, rng: np.random.Generator) -> Scores:
    """Any heads, by a draw for each."""
    return rng.random(grids.there.shape)
