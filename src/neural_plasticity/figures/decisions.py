"""The picture of a pruning: which heads went, and why."""

from collections.abc import Mapping
from typing import Any, Unpack, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.gridspec import GridSpec

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.canvas import Figure, Look, Style, dressed, figure_of, theme_at
from neural_plasticity.figures.coerce import Grid, grid_of, like
from neural_plasticity.figures.gradients import strengths
from neural_plasticity.figures.heat import Overlay, draw_grid, has_gaps, key, sized
from neural_plasticity.figures.lettering import number
from neural_plasticity.figures.panels import facts
from neural_plasticity.figures.scale import plain_numbers, upright
from neural_plasticity.figures.theme import MARKS
from neural_plasticity.heads import HeadId

_WIDE = 6.5  # inches from which the panels stand side by side


def visualize_pruning_decisions(
    grad_norm_values: Any,
    pruning_mask: Any,
    title: str = "Pruning decisions",
    annotate: bool = True,
    *,
    reasons: Any = None,
    measured: str = "gradient norm",
    **style: Unpack[Style],
) -> Figure:
    """Which heads were pruned and why: where they stand, their places in the order of all gradient norms, and the reasons.

    `pruning_mask` is True where a head was pruned. `reasons` are the decisions of a plan, or a dict by (layer, head);
    without them the panel says at which place from the smallest each pruned head stood. `measured` is what the numbers are
    called where they are no gradient norms.
    """
    look = Look.of(**style)
    grid = grid_of(grad_norm_values, "grad_norm_values")
    pruned = _pruned(pruning_mask, grid)
    order = sorted((head for head in grid.known() if np.isfinite(grid[head])), key=lambda head: grid[head])
    figure = figure_of(look, (11.0, min(max(3.4 + 0.25 * len(grid.layers), 4.4), 9.0)))
    across, along, why = _panels(figure)
    marks = [Overlay("pruned", pruned)] if pruned else []
    draw_grid(across, grid, strengths(grid, look, measured), marks, annotate=annotate)
    _in_order(along, grid, order, set(pruned), measured)
    given = _reasons(reasons)
    facts(why, "why" if given else f"why: {measured}, place from the smallest", _why(grid, order, pruned, given))
    key(figure, [*marks, Overlay("active", [])], gaps=has_gaps(grid.values))
    figure.headline(title, _summary(grid, order, pruned, measured, bool(given)))
    return figure.finished(look)


def _panels(figure: Figure) -> tuple[Axes, Axes, Axes]:
    wide, high = figure.get_size_inches()
    if wide >= _WIDE:
        places = GridSpec(2, 2, figure=figure, width_ratios=[1.25, 1])
        return figure.add_subplot(places[:, 0]), figure.add_subplot(places[0, 1]), figure.add_subplot(places[1, 1])
    if high < 4.5:
        raise SettingNotUsable(f"figsize is ({wide:g}, {high:g}), and three panels so wide need a height of 4.5 inches; give more.")
    places = GridSpec(3, 1, figure=figure, height_ratios=[1.5, 1, 1])
    return figure.add_subplot(places[0]), figure.add_subplot(places[1]), figure.add_subplot(places[2])


def _pruned(mask: Any, grid: Grid) -> list[HeadId]:
    """The heads that the mask marks."""
    marked = like(mask, "pruning_mask", grid, "grad_norm_values").values
    if not np.isin(marked[~np.isnan(marked)], [0.0, 1.0]).all():
        seen = marked[~np.isnan(marked) & (marked != 0) & (marked != 1)][0]
        raise SettingNotUsable(f"pruning_mask holds {number(float(seen))}; it is True where a head was pruned and False elsewhere.")
    return [HeadId(grid.layers[row], head) for row, head in np.argwhere(marked == 1).tolist()]


def _in_order(axes: Axes, grid: Grid, order: list[HeadId], pruned: set[HeadId], measured: str) -> None:
    """All heads from the smallest number to the largest, each with its mark."""
    dressed(axes, title=f"all heads by {measured}", x="place from the smallest", y=measured)
    values = np.array([grid[head] for head in order])
    for state in ("active", "pruned"):
        places = [place for place, head in enumerate(order) if (head in pruned) == (state == "pruned")]
        mark = MARKS[state]
        theme = theme_at(axes)
        edge = mark.edge if state == "pruned" else theme.muted if theme.active == mark.colour else theme.background
        at = [place + 1 for place in places]
        drawn = axes.scatter(at, values[places], marker=mark.marker, c=theme.fill(mark), edgecolors=edge)
        drawn.set(label=mark.word, zorder=4 if state == "pruned" else 3)
        sized(drawn, (6.0 if state == "pruned" else 4.0) if len(order) <= 200 else 2.6)
    upright(axes, [values], log=bool(values.size and values.min() > 0 and values.max() > 30 * values.min()))
    axes.set_xlim(0, max(len(order), 1) + 1)
    plain_numbers(axes.xaxis, whole=True)


def _why(grid: Grid, order: list[HeadId], pruned: list[HeadId], reasons: dict[HeadId, str]) -> list[tuple[str, str]]:
    """A line for each pruned head, the smallest gradient norm first; as many as can be read."""
    places = {head: place for place, head in enumerate(order, 1)}
    in_order = sorted(pruned, key=lambda head: (head not in reasons, places.get(head, len(order) + 1)))
    lines = [(f"head {head}", reasons.get(head) or _by_place(grid, head, places, len(order))) for head in in_order]
    if not lines:
        return [("no head was pruned", "")]
    shown = 9
    return lines if len(lines) <= shown else [*lines[: shown - 1], (f"and {len(lines) - shown + 1} more", "")]


def _by_place(grid: Grid, head: HeadId, places: Mapping[HeadId, int], count: int) -> str:
    if head not in places:
        return "no gradient norm"
    return f"{number(grid[head])}, place {places[head]} of {count}"


def _summary(grid: Grid, order: list[HeadId], pruned: list[HeadId], measured: str, given: bool) -> str:
    """Whether the numbers alone explain what was pruned; where reasons are given, these say it."""
    total = len(grid.known())
    said = f"{len(pruned)} of {total} heads pruned"
    if not pruned or given:
        return said
    smallest = set(order[: len(pruned)])
    # heads of the same norm may stand in any order, so numbers are compared and not places
    highest = max((grid[head] for head in smallest), default=np.nan)
    others = sum(1 for head in pruned if not grid[head] <= highest)
    if not others:
        return f"{said}: those with the smallest {measured}s, up to {number(highest)}"
    return f"{said}; {others} of them not among the {len(pruned)} smallest {measured}s, so something else decided there"


def _reasons(reasons: Any) -> dict[HeadId, str]:
    """The reason of each head, from a dict or from the decisions of a plan."""
    if reasons is None:
        return {}
    if isinstance(reasons, Mapping):
        return {HeadId(*head): str(reason) for head, reason in cast("Mapping[tuple[int, int], Any]", reasons).items()}
    found: dict[HeadId, str] = {}
    for decision in getattr(reasons, "decisions", reasons):
        if not hasattr(decision, "head") or not hasattr(decision, "reason"):
            raise SettingNotUsable(f"reasons holds {decision!r:.60}; pass decisions with .head and .reason, or a dict by head.")
        found[HeadId(*decision.head)] = str(decision.reason)
    return found
