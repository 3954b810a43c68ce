"""Pictures over cycles: a map of all heads for each, in the same colours, and what a run let grow again."""

from typing import Any, Unpack

import numpy as np
from matplotlib.axes import Axes

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.canvas import Figure, Look, Style, dressed, figure_of, legend, panel_width, theme_at
from neural_plasticity.figures.chronicle import Chronicle, moment
from neural_plasticity.figures.coerce import Grid
from neural_plasticity.figures.gradients import strengths
from neural_plasticity.figures.heat import Overlay, Shades, colour_bar, draw_grid, handle, heat_figure, key, sized
from neural_plasticity.figures.lines import Curve, draw_curves, nothing
from neural_plasticity.figures.of_run import deciding, measured_first, words
from neural_plasticity.figures.panels import panels
from neural_plasticity.figures.scale import colours_of, numbered, upright
from neural_plasticity.figures.states import states
from neural_plasticity.figures.theme import MARKS
from neural_plasticity.heads import HeadId

_FROM_ZERO = ("entropy", "normalized_entropy")


def maps(told: Chronicle, *, signal: str | None = None, annotate: bool = False, title: str = "", **style: Unpack[Style]) -> Figure:
    """One signal of all heads, a small map for each cycle in the same colours: who was pruned then, who sleeps, who came back."""
    look = Look.of(**style)
    chosen = signal or deciding(told)
    grids = _grids(told, chosen)
    shades = _shades(grids, look, chosen)
    figure, drawn = _small(look, grids)
    overlays: list[Overlay] = []
    for axes, (cycle, grid) in zip(drawn, grids.items(), strict=True):
        marks = states(told, grid, cycle)
        overlays += marks
        image = draw_grid(axes, grid, shades, marks, annotate=annotate, title=_named(cycle, grids), bar=False)
    colour_bar(image, drawn, shades)  # pyright: ignore[reportPossiblyUnboundVariable]  # there is a grid
    unique = {mark.state: mark for mark in overlays}
    key(figure, [unique[state] for state in ("pruned", "dormant", "revived", "grown") if state in unique])
    over = " from cycle to cycle" if len(grids) > 1 else ""
    figure.headline(title or f"{words(chosen).capitalize()}{over}", measured_first(overlays))
    return figure.finished(look)


def frames(
    told: Chronicle, *, signal: str | None = None, title: str = "", annotate: bool = True, **style: Unpack[Style]
) -> list[Figure]:
    """The same maps one after the other, each a picture of its own."""
    look = Look.of(**style)
    chosen = signal or deciding(told)
    grids = _grids(told, chosen)
    shades = _shades(grids, look, chosen)
    found: list[Figure] = []
    for cycle, grid in grids.items():
        figure, axes = heat_figure(grid, look)
        marks = states(told, grid, cycle)
        draw_grid(axes, grid, shades, marks, annotate=annotate)
        key(figure, [Overlay(state, []) for state in ("pruned", "dormant", "revived")])  # the same room in every frame
        when = _named(cycle, grids)
        figure.headline(f"{title or words(chosen).capitalize()}{', ' if when else ''}{when}")
        found.append(figure.finished(look))
    return found


def _named(cycle: int, grids: dict[int, Grid]) -> str:
    """When a map was measured; nothing where it is the only one of a run without cycles."""
    return moment(cycle) if cycle or len(grids) > 1 else ""


def _grids(told: Chronicle, signal: str) -> dict[int, Grid]:
    grids = told.grids(signal)
    if not grids:
        raise SettingNotUsable(
            f"{told.run.name} has no {signal}; choose one of its signals: {', '.join(told.signals) or 'there are none'}."
        )
    return dict(sorted(grids.items()))


def _shades(grids: dict[int, Grid], look: Look, signal: str) -> Shades:
    """The same colours for all."""
    every = Grid(np.concatenate([grid.values for grid in grids.values()]), ())
    if signal in _FROM_ZERO:
        return Shades(colours_of(every.values, low=0.0), look.map(look.theme.amounts), words(signal))
    return strengths(every, look, words(signal))


def _small(look: Look, grids: dict[int, Grid]) -> tuple[Figure, list[Axes]]:
    """So many small panels of a size that suits the grids."""
    layers, heads = next(iter(grids.values())).values.shape
    each = min(max(1.0 + 0.13 * heads, 2.2), 3.4), min(max(0.9 + 0.12 * layers, 1.7), 3.2)
    count = len(grids)
    wide = (look.figsize or (12.0, 0.0))[0]
    columns = max(min(count, int((wide - 0.9) / (each[0] if look.figsize is None else 1.2))), 1)
    columns = -(-count // -(-count // columns))  # as even as can be
    rows = -(-count // columns)
    figure = figure_of(look, (max(each[0] * columns + 0.9, 4.8), each[1] * rows + 0.9))
    if figure.get_size_inches()[1] < 1.2 * rows + 0.8:
        wide, high = figure.get_size_inches()
        raise SettingNotUsable(
            f"figsize is ({wide:g}, {high:g}), and {count} maps need a height of {1.2 * rows + 0.8:.1f}; give more."
        )
    places = figure.add_gridspec(rows, columns)
    return figure, [figure.add_subplot(places[place // columns, place % columns]) for place in range(count)]


def growth(told: Chronicle, *, title: str = "What grew again", **style: Unpack[Style]) -> Figure:
    """How many heads worked from cycle to cycle; and what waking each sleeper promised, those that were woken marked."""
    look = Look.of(**style)
    figure, (awake, promise) = panels(look, 2, (11.0, 4.4))
    _awake(awake, told, look)
    _promise(promise, told, look)
    total = sum(len(told.befell("revived", cycle)) for cycle in range(told.cycles + 1))
    figure.headline(title, f"{total} times a head came back; {told.awake(told.cycles)} of {len(told.heads)} heads work at the end")
    return figure.finished(look)


def _awake(axes: Axes, told: Chronicle, look: Look) -> None:
    dressed(axes, title="heads at work", x="cycle")
    cycles = np.arange(told.cycles + 1.0)
    awake = np.array([told.awake(int(cycle)) for cycle in cycles], dtype=float)
    lines = draw_curves(axes, [Curve("at work", cycles, awake, look.colours(1)[0], staircase=True)], zero=True, whole=True)
    drawn: list[Any] = [*lines]
    for became, shift in (("pruned", -0.1), ("revived", 0.1)):
        mark = MARKS[became]
        counts = [len(told.befell(became, int(cycle))) for cycle in cycles]
        bars = axes.bar(cycles + shift, counts, 0.18, color=mark.colour, label=became, zorder=3)
        drawn.append(bars)
    axes.set_xlim(-0.4, told.cycles + 0.4)
    _count(axes, 0, told.cycles)
    legend(axes, drawn)


def _promise(axes: Axes, told: Chronicle, look: Look) -> None:
    """A mark for each sleeper of each cycle at the slope of waking it, side by side where many are alike."""
    dressed(axes, title="loss for waking a head", x="cycle", y="nats; below 0 it falls")
    shown: list[float] = []
    for cycle, grid in told.grids("wake").items():
        for state, heads in _sleepers(told, grid, cycle).items():
            values = [grid[head] for head in heads]
            mark = MARKS[state]
            across = cycle + (np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(len(values)))
            drawn = axes.scatter(across, values, marker=mark.marker, c=mark.colour, edgecolors=mark.edge)
            drawn.set(label=mark.word, zorder=3 if state == "dormant" else 4)
            sized(drawn, 4.0 if state == "dormant" else 6.0)
            shown += values
    if not shown:
        nothing(axes, "no signal of waking was measured")
        return
    upright(axes, [np.array(shown)], zero=True, log=False)
    axes.axhline(0, color=look.theme.muted, linewidth=0.8)
    axes.set_xlim(0.4, told.cycles + 0.6)
    _count(axes, 1, told.cycles)
    words = {"pruned": "pruned just now"}
    handles = [handle(state, look.theme, 5.0 if state == "dormant" else 7.0) for state in ("revived", "dormant", "pruned")]
    for drawn in handles:
        drawn.set_label(words.get(str(drawn.get_label()), str(drawn.get_label())))
    legend(axes, handles)


def _sleepers(told: Chronicle, grid: Grid, cycle: int) -> dict[str, list[HeadId]]:
    """The heads that slept when waking was weighed: those woken, those left, and those that had gone to sleep just then."""
    back, fresh = set(told.befell("revived", cycle)), set(told.befell("pruned", cycle))
    found: dict[str, list[HeadId]] = {"dormant": [], "pruned": [], "revived": []}
    for head in grid.known():
        found["revived" if head in back else "pruned" if head in fresh else "dormant"].append(head)
    return found


def _count(axes: Axes, first: int, last: int) -> None:
    """A tick for each cycle, as many as have room."""
    theme = theme_at(axes)
    places = [float(cycle) for cycle in range(first, last + 1)]
    numbered(axes.xaxis, [f"{place:.0f}" for place in places], panel_width(axes), theme.size * 2.2, places)
