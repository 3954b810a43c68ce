"""The built-in ways to prune: by one signal, by two, or by chance."""

import numpy as np

from neural_plasticity.selection.strategies import Grids, Mask, Scores, strategy

ENTROPY_SHARE = 0.6  # of the ranks that are combined
GRADIENT_SHARE = 0.4


@strategy("taylor", signals=("taylor",), prunes="lowest")
def taylor(grids: Grids, _rng: np.random.Generator) -> Scores:
    """The heads whose absence changes the loss least, to first order."""
    return grids["taylor"]


@strategy("fisher", signals=("fisher",), prunes="lowest")
def fisher(grids: Grids, _rng: np.random.Generator) -> Scores:
    """The heads whose gates have the smallest squared slope."""
    return grids["fisher"]


@strategy("ablation", signals=("ablation",), prunes="lowest")
def ablation(grids: Grids, _rng: np.random.Generator) -> Scores:
    """The heads whose absence raises the loss least, by trying; those that do harm first."""
    return grids["ablation"]


@strategy("gradient", signals=("gradient",), prunes="lowest")
def gradient(grids: Grids, _rng: np.random.Generator) -> Scores:
    """The heads that the loss pulls at least."""
    return grids["gradient"]


@strategy("magnitude", signals=("magnitude",), prunes="lowest")
def magnitude(grids: Grids, _rng: np.random.Generator) -> Scores:
    """The heads of the smallest weights."""
    return grids["magnitude"]


@strategy("entropy", signals=("entropy",), prunes="highest")
def entropy(grids: Grids, _rng: np.random.Generator) -> Scores:
    """The heads that look everywhere and at nothing in particular."""
    return grids["entropy"]


@strategy(
    "combined",
    signals=("entropy", "gradient"),
    prunes="lowest",
    score=f"combined rank ({ENTROPY_SHARE} entropy, {GRADIENT_SHARE} gradient)",
)
def combined(grids: Grids, _rng: np.random.Generator) -> Scores:
    """The heads that come early by both high entropy and small gradient: 0.6 of the one rank and 0.4 of the other."""
    known = np.isfinite(grids["entropy"]) & np.isfinite(grids["gradient"])
    score = ENTROPY_SHARE * _ranks(-grids["entropy"], known) + GRADIENT_SHARE * _ranks(grids["gradient"], known)
    return np.round(score, 9)  # sums that are equal on paper are equal here too, so that a tie is one


@strategy("random", signals=(), prunes="lowest", score="random draw")
def by_chance(grids: Grids, rng: np.random.Generator) -> Scores:
    """Any heads, by a draw for each; what to compare every other strategy with."""
    return rng.random(grids.there.shape)


def _ranks(values: Scores, known: Mask) -> Scores:
    """The place of each value among all from 1, the mean place where several are alike."""
    found = np.full(values.shape, np.nan)
    ordered = np.sort(values[known])
    left, right = (np.searchsorted(ordered, values[known], side) for side in ("left", "right"))
    found[known] = (left + right + 1) / 2
    return found
