"""Decisions in plain words: numbers as short as they may be, and what they stand for."""

from collections.abc import Mapping

from neural_plasticity.heads import HeadGrid
from neural_plasticity.selection.strategies import End, GrowthStrategy, Strategy


def unit_of(strategy: Strategy | GrowthStrategy, grids: Mapping[str, HeadGrid]) -> str:
    """The unit of a strategy's scores: its own, or that of the signal that they are, as the grid's label has it."""
    if strategy.unit or strategy.score not in grids:
        return strategy.unit
    label = grids[strategy.score].label
    return label.partition("(")[2].removesuffix(")") if label.endswith(")") else ""


def standing(score: float, unit: str, limit: float, first: End, of: str) -> tuple[str, str]:
    """A score with its unit, and where it stands: `below the 0.004 of the first head kept`."""
    text, other = told_apart(score, limit)
    side = "level with" if score == limit else "below" if first == "lowest" else "above"
    return f"{text} {unit}".rstrip(), f"{side} the {other} {of}"


def told_apart(one: float, other: float) -> tuple[str, str]:
    """Two numbers as short texts that differ where the numbers do."""
    for digits in range(3, 17):
        texts = f"{one:.{digits}g}", f"{other:.{digits}g}"
        if texts[0] != texts[1] or one == other:
            return texts
    return repr(one), repr(other)
