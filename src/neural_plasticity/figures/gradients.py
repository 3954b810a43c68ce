"""Pictures of gradients: how strongly the loss pulls at each head, and which were pruned, revived or are weak."""

from typing import Any, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.canvas import Figure, Look, Style, dressed, figure_of
from neural_plasticity.figures.coerce import Floats, Grid, grid_of
from neural_plasticity.figures.heat import Overlay, Shades, heat_map, key, overlay, sized
from neural_plasticity.figures.lettering import number
from neural_plasticity.figures.scale import colours_of, numbered, upright
from neural_plasticity.figures.theme import MARKS
from neural_plasticity.heads import HeadId

_FEW = 150  # marks that may be wider than their bars and still be told apart


def visualize_gradient_norms(
    grad_norms: Any,
    pruned_heads: Any = None,
    revived_heads: Any = None,
    title: str = "Gradient norms",
    annotate: bool = True,
    **style: Unpack[Style],
) -> Figure:
    """The gradient norm of every head, with marks over those that were pruned and revived."""
    look = Look.of(**style)
    grid = grid_of(grad_norms, "grad_norms")
    overlays = [*overlay("pruned", pruned_heads, "pruned_heads", grid), *overlay("revived", revived_heads, "revived_heads", grid)]
    return heat_map(grid, strengths(grid, look, "gradient norm"), look, overlays, title=title, annotate=annotate)


def visualize_head_gradients(
    grad_norm_values: Any,
    pruned_heads: Any = None,
    revived_heads: Any = None,
    title: str = "Gradient norm of each head",
    annotate: bool = True,
    **style: Unpack[Style],
) -> Figure:
    """The gradient norm of every head, as `calculate_head_gradients` gives it."""
    return visualize_gradient_norms(grad_norm_values, pruned_heads, revived_heads, title, annotate, **style)


def plot_head_gradients_with_overlays(
    grad_norms: Any,
    pruned_heads: Any = None,
    revived_heads: Any = None,
    vulnerable_heads: Any = None,
    vulnerable_threshold: float = 0.01,
    title: str = "Gradient norms head by head",
    **style: Unpack[Style],
) -> Figure:
    """A bar for each head, layer by layer, with its state above it and the threshold below which a head is vulnerable.

    Where `vulnerable_heads` are not given, they are the heads below the threshold that are not pruned.
    """
    look = Look.of(**style)
    grid = grid_of(grad_norms, "grad_norms")
    if not np.isfinite(vulnerable_threshold) or vulnerable_threshold < 0:
        raise SettingNotUsable(f"vulnerable_threshold is {vulnerable_threshold!r:.60}; it is a gradient norm of 0 or more.")
    pruned = overlay("pruned", pruned_heads, "pruned_heads", grid)
    if vulnerable_heads is None:
        gone = {head for each in pruned for head in each.heads}
        vulnerable_heads = [head for head in grid.known() if grid[head] < vulnerable_threshold and head not in gone]
    overlays = [*pruned, *overlay("revived", revived_heads, "revived_heads", grid)]
    overlays += overlay("vulnerable", vulnerable_heads, "vulnerable_heads", grid)
    return _bars(grid, overlays, vulnerable_threshold, title, look)


def strengths(grid: Grid, look: Look, label: str) -> Shades:
    """Colours for how strong something is; about 0 to both sides where it has a sign."""
    signed = bool((grid.values < 0).any())
    name = look.theme.differences if signed else look.theme.strengths
    return Shades(colours_of(grid.values, signed=signed), look.map(name), label)


def _bars(grid: Grid, overlays: list[Overlay], threshold: float, title: str, look: Look) -> Figure:
    theme = look.theme
    figure = figure_of(look, (min(max(3.5 + 0.12 * grid.values.size, 6.4), 12.0), 4.2))
    axes = dressed(figure.add_subplot(), x="layer", y="gradient norm")
    values = grid.values.ravel()
    shown = np.isfinite(values)
    foot = _divided(axes, values[shown], threshold)
    places = np.arange(values.size)
    bars = axes.vlines(places[shown], foot, values[shown], colors=look.colours(1)[0], label="gradient norm")
    bars.set(capstyle="butt", linewidth=1.0)
    line = axes.axhline(threshold, color=theme.ink, linewidth=0.9, linestyle=(0, (4, 2)), label=f"threshold {number(threshold)}")
    drawn: list[PathCollection] = []
    marked = sum(len(each.heads) for each in overlays)
    for each in overlays:
        mark = MARKS[each.state]
        at = [(_place(grid, head), _height(grid, head, foot)) for head in each.heads]
        look_of = {"c": theme.fill(mark), "edgecolors": mark.edge, "linewidths": 0.7}
        drawn.append(axes.scatter(*zip(*at, strict=True), marker=mark.marker, **look_of))
        drawn[-1].set(label=mark.word, zorder=4, clip_on=False)
        if each.state == "revived":  # above the bar's end, where the mark of having been pruned may stand
            drawn[-1].set_offset_transform(axes.transData + ScaledTranslation(0, 6 / 72, figure.dpi_scale_trans))
    axes.set_xlim(-1, values.size)
    for row in range(1, len(grid.layers)):
        axes.axvline(row * grid.heads - 0.5, color=theme.grid, linewidth=0.6, zorder=0)
    key(figure, overlays, others=[Line2D([], [], color=look.colours(1)[0], linewidth=3, label="gradient norm"), line])
    figure.headline(title)

    def fit() -> None:
        each = axes.get_window_extent().width * 72 / figure.dpi / (values.size + 1)
        bars.set_linewidth(min(max(0.7 * each, 0.3), 14.0))
        for scattered in drawn:
            sized(scattered, min(max(0.8 * each, 5.0 if marked < _FEW else 2.5), 7.0))
        _layers(axes, grid)

    figure.once_laid_out(fit)
    return figure.finished(look)


def _divided(axes: Axes, values: Floats, threshold: float) -> float:
    """Set the y axis; where the bars stand on it."""
    above = np.append(values, threshold)
    if values.size and above.min() > 0 and above.max() > 30 * above.min():
        upright(axes, [above], log=True)
        return axes.get_ylim()[0]
    upright(axes, [above], zero=True, log=False)
    return 0.0


def _place(grid: Grid, head: HeadId) -> int:
    return grid.row(head) * grid.heads + head.head


def _height(grid: Grid, head: HeadId, foot: float) -> float:
    value = grid[head]
    return value if np.isfinite(value) else foot


def _layers(axes: Axes, grid: Grid) -> None:
    """The number of each layer beneath the middle of its bars."""
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    room = axes.get_window_extent().width * 72 / figure.dpi
    each = figure.theme.size * (0.9 + 0.6 * len(str(max(grid.layers))))
    middles = [row * grid.heads + (grid.heads - 1) / 2 for row in range(len(grid.layers))]
    numbered(axes.xaxis, [str(layer) for layer in grid.layers], room, each, middles)
