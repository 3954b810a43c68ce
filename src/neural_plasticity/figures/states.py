"""The marks that the heads of a run bear in a cycle: who was pruned in it, who slept already, who is back."""

from neural_plasticity.figures.chronicle import Chronicle
from neural_plasticity.figures.coerce import Grid
from neural_plasticity.figures.heat import Overlay
from neural_plasticity.heads import HeadId


def states(told: Chronicle, grid: Grid, cycle: int) -> list[Overlay]:
    """The marks of a cycle: pruned in it, asleep since an earlier one, awake again."""
    pruned = set(told.befell("pruned", cycle))
    by_state: dict[str, list[HeadId]] = {"pruned": sorted(head for head in pruned if head in grid)}
    for head in told.heads:
        state = told.state(head, cycle)
        if head in grid and state != "active" and not (state == "dormant" and head in pruned):
            by_state.setdefault(state, []).append(head)
    return [Overlay(state, heads) for state, heads in by_state.items() if heads]
