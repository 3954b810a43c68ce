"""Curves over steps: never clipped, gaps left open, infinities marked, and markers at the steps where things happened."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from neural_plasticity.figures.canvas import Figure, letters, theme_at
from neural_plasticity.figures.coerce import Floats
from neural_plasticity.figures.lettering import cut, plain, width
from neural_plasticity.figures.scale import plain_numbers, upright

_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))


class Curve(NamedTuple):
    """Numbers over steps, and how they are drawn."""

    label: str
    steps: Floats
    values: Floats
    colour: str
    turn: int = 0  # which dashes: colours alone do not tell curves apart for everybody
    faint: bool = False
    staircase: bool = False


def draw_curves(axes: Axes, curves: Iterable[Curve], *, zero: bool = False, whole: bool = False) -> list[Line2D]:
    """The curves in one panel whose axis holds all their numbers; the lines, for a legend."""
    theme = theme_at(axes)
    drawn: list[Line2D] = []
    shown = [curve for curve in curves if np.isfinite(curve.steps).any()]
    for curve in shown:
        drawn.append(_draw(axes, curve))
    upright(axes, [curve.values for curve in shown], zero=zero, whole=whole)
    along(axes, [curve.steps for curve in shown])
    infinite = np.concatenate([np.empty(0), *(curve.steps[np.isposinf(curve.values)] for curve in shown)])
    if infinite.size:
        style: dict[str, Any] = {"linestyle": "", "marker": "^", "markersize": 6, "color": theme.ink, "label": "infinite"}
        drawn += axes.plot(infinite, np.full(infinite.size, 0.97), transform=axes.get_xaxis_transform(), **style)
    if not any(np.isfinite(curve.values).any() for curve in shown) and not infinite.size:
        nothing(axes)
    return drawn


def _draw(axes: Axes, curve: Curve) -> Line2D:
    """One curve: a gap where a number is missing among many, a joined row of points where most steps have none."""
    known = np.isfinite(curve.values)
    sparse = known.sum() <= max(1, curve.values.size // 2) or known.sum() < 3
    alone = known & ~np.append(False, known[:-1]) & ~np.append(known[1:], False)
    steps, values = (curve.steps[known], curve.values[known]) if sparse else (curve.steps, np.where(known, curve.values, np.nan))
    (line,) = axes.plot(steps, values)
    line.set(color=curve.colour, label=plain(curve.label, theme_at(axes)), linewidth=1.0 if curve.faint else 1.7)
    line.set(linestyle=_DASHES[curve.turn % len(_DASHES)], alpha=0.45 if curve.faint else 1.0)
    line.set_drawstyle("steps-post" if curve.staircase else "default")
    if sparse:
        line.set(marker="o", markersize=4)
    elif alone.any():  # a number between two gaps has no line to stand in
        line.set(marker="o", markersize=3, markevery=np.flatnonzero(alone).tolist())
    return line


def along(axes: Axes, steps: Iterable[Floats]) -> None:
    """The x axis from the first step to the last."""
    every = np.concatenate([np.empty(0), *steps])
    every = every[np.isfinite(every)]
    low, high = (float(every.min()), float(every.max())) if every.size else (0.0, 1.0)
    room = 0.02 * (high - low) or 0.5
    axes.set_xlim(low - room, high + room)
    plain_numbers(axes.xaxis, whole=high - low >= 2)


def nothing(axes: Axes, words: str = "nothing recorded yet") -> None:
    """Say in an empty panel that it is empty."""
    theme = theme_at(axes)
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", **letters(theme, 1.0, theme.muted))
    axes.set(xticks=[], yticks=[])


def posts(axes: Axes, at: Sequence[tuple[float, str]]) -> list[Line2D]:
    """Upright lines at these steps with a word each; those words are written that have room before the next."""
    theme, figure = theme_at(axes), axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    if at:
        headroom(axes)
        figure.once_laid_out(lambda: _write_posts(axes, figure, sorted(at)))
    return [axes.axvline(step, color=theme.muted, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1.5) for step, _ in at]


def _write_posts(axes: Axes, figure: Figure, posts: list[tuple[float, str]]) -> None:
    theme = figure.theme
    size = theme.size * 0.8
    low, high = axes.get_xlim()
    room = axes.get_window_extent().width * 72 / figure.dpi
    free = -1.0
    style: dict[str, Any] = letters(theme, 0.8, theme.muted) | {
        "xycoords": axes.get_xaxis_transform(),
        "textcoords": "offset points",
        "va": "top",
        "bbox": {"facecolor": theme.background, "edgecolor": "none", "pad": 0.6},  # the next post may stand within the word
    }
    for step, label in posts:
        text = cut(plain(label, theme), size, theme.font, 130)
        wide = width(text, size, theme.font) + 6
        place = (step - low) / (high - low) * room
        leftwards = place + wide > room
        begin = place - wide if leftwards else place
        if text and begin >= free:
            free = begin + wide
            side: dict[str, Any] = {"ha": "right" if leftwards else "left", "xytext": (-3 if leftwards else 3, -1)}
            axes.annotate(text, (step, 1.0), **side, **style).set_in_layout(False)


def headroom(axes: Axes) -> None:
    """Room over the curves for a line of words."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.1 if axes.get_yscale() == "log" else high + 0.1 * (high - low))


def smoothed(values: Floats, window: int) -> Floats:
    """The mean of each number and its neighbours, fewer of them at the ends; gaps are left out of it."""
    known = np.isfinite(values)
    total = np.append(0.0, np.cumsum(np.where(known, values, 0.0)))
    number = np.append(0, np.cumsum(known))
    places = np.arange(values.size)
    first, last = np.maximum(places - window // 2, 0), np.minimum(places + window // 2 + 1, values.size)
    counted = number[last] - number[first]
    return np.divide(total[last] - total[first], counted, out=np.full(values.shape, np.nan), where=counted > 0)


def thinned(values: Floats, most: int) -> list[int]:
    """Which of many numbers to draw: at most so many, the extremes of every stretch among them, a gap where there are gaps."""
    if values.size <= most:
        return list(range(values.size))
    gaps = bool(np.isnan(values).any()) and most >= 3
    ends = {0, values.size - 1} if most >= 5 else set[int]()
    stretches = max((most - len(ends)) // (3 if gaps else 2), 1)
    kept = set(ends)
    for stretch in np.array_split(np.arange(values.size), stretches):
        kept |= _extremes(values, stretch, gaps)
    return sorted(kept)


def _extremes(values: Floats, stretch: np.ndarray[tuple[int], np.dtype[np.int64]], gaps: bool) -> set[int]:
    piece = values[stretch]
    missing = np.isnan(piece)
    found: set[int] = {int(stretch[missing.argmax()])} if gaps and missing.any() else set()
    if not missing.all():
        found |= {int(stretch[np.nanargmin(piece)]), int(stretch[np.nanargmax(piece)])}
    return found
