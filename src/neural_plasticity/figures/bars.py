"""Bars beside each other: means with their intervals, never clipped, each with its number."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from neural_plasticity.figures.canvas import Figure, letters, panel_width, theme_at
from neural_plasticity.figures.lettering import cut, number, plain, width
from neural_plasticity.figures.lines import nothing
from neural_plasticity.figures.scale import upright
from neural_plasticity.figures.trials import mean_and_interval

_HATCHES = ("", "///", "...", "xxx")


def draw_bars(
    axes: Axes,
    names: Sequence[str],
    groups: Mapping[str, Sequence[Sequence[float]]],
    colours: Sequence[str],
    *,
    close: bool = False,
) -> list[Patch]:
    """A cluster for each name, in it a bar for each group: the mean of the values, with its interval. Handles for a legend.

    A bar without a value leaves its place empty, unless clusters are `close`.
    """
    theme = theme_at(axes)
    found = {group: [mean_and_interval(values) for values in every] for group, every in groups.items()}
    every = np.array([numbers for group in found.values() for numbers in group], dtype=float).ravel()
    known = every[np.isfinite(every)]
    far = bool(known.size and known.min() > 0 and known.max() > 50 * known.min())
    upright(axes, [every], zero=not far, log=far)
    foot = axes.get_ylim()[0] if far else 0.0
    wide = 0.8 / max(len(found), 1)
    labels: list[tuple[float, float, str]] = []
    looks: dict[str, dict[str, Any]] = {
        group: {"facecolor": colours[place % len(colours)], "hatch": _HATCHES[place % 4]} for place, group in enumerate(found)
    }
    for at in range(len(names)):
        there = [group for group in found if not close or np.isfinite(found[group][at][0])]
        for place, group in enumerate(there):
            mean, low, high = found[group][at]
            x = at + (place - (len(there) - 1) / 2) * wide
            if not np.isfinite(mean):
                labels.append((x, foot, "none"))
                continue
            drawn = axes.bar(x, mean - foot, wide * 0.92, bottom=foot, edgecolor=theme.background, linewidth=0, **looks[group])
            drawn.set_label(plain(group, theme))
            labels.append((x, high if mean >= 0 else low, number(mean)))
            if high > low:
                axes.vlines(x, low, high, color=theme.ink, linewidth=1.1, zorder=4)
    if known.size and known.min() < 0:
        axes.axhline(0, color=theme.muted, linewidth=0.8)
    _finish(axes, names, labels, wide, bool(known.size))
    return [Patch(edgecolor=theme.background, label=plain(group, theme), linewidth=0, **look) for group, look in looks.items()]


def _finish(axes: Axes, names: Sequence[str], labels: list[tuple[float, float, str]], wide: float, some: bool) -> None:
    """Names beneath the clusters and numbers over the bars, by the room that there is."""
    if not some:
        nothing(axes)
        return
    theme, figure = theme_at(axes), axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    axes.set_xlim(-0.55, max(len(names), 1) - 0.45)
    low, high = axes.get_ylim()
    if axes.get_yscale() != "log":
        axes.set_ylim(low - (0.08 * (high - low) if low < 0 else 0), high + (0.1 * (high - low) if high > 0 else 0))
    shown = [plain(name, theme) for name in names]
    longest = max((width(name, theme.size * 0.9, theme.font) for name in shown), default=0.0)
    each = panel_width(axes) / max(len(shown), 1)
    turned = longest > each
    fits = [cut(name, theme.size * 0.9, theme.font, 90.0) for name in shown]
    axes.set_xticks(range(len(fits)), fits, parse_math=False, rotation=35 if turned else 0, ha="right" if turned else "center")
    axes.tick_params(axis="x", length=0)
    figure.once_laid_out(lambda: _number_bars(axes, figure, labels, wide))


def _number_bars(axes: Axes, figure: Figure, labels: list[tuple[float, float, str]], wide: float) -> None:
    theme = figure.theme
    low, high = axes.get_xlim()
    room = axes.get_window_extent().width * 72 / figure.dpi / (high - low) * wide
    widest = max((width(text, 1.0, theme.font) for _, _, text in labels), default=1.0)
    size = min(theme.size * 0.85, 0.92 * room / widest)
    if size < 5.0:
        return
    for x, y, text in labels:
        down = y < 0
        side: dict[str, Any] = {"xytext": (0, -2 if down else 2), "va": "top" if down else "bottom"}
        drawn = axes.annotate(text, (x, y), textcoords="offset points", ha="center", **side, **letters(theme, size / theme.size))
        drawn.set_in_layout(False)
