"""Pictures of entropy: how widely each head looks, how near that is to the most there can be, and what its gradient says."""

from typing import Any, Unpack

import numpy as np
from matplotlib.axes import Axes

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.canvas import Figure, Look, Style, dressed, figure_of
from neural_plasticity.figures.coerce import Floats, Grid, array_of, grid_of, like
from neural_plasticity.figures.heat import Shades, colour_bar, heat_map
from neural_plasticity.figures.lettering import number
from neural_plasticity.figures.scale import Colours, colours_of, plain_numbers, upright, whole_positive


def visualize_entropy_heatmap(
    entropy: Any, title: str = "Attention entropy", min_value: float | None = 0.0, annotate: bool = True, **style: Unpack[Style]
) -> Figure:
    """The entropy of every head in nats; the colours begin at `min_value`, at the least entropy if it is None."""
    look = Look.of(**style)
    grid = grid_of(entropy, "entropy")
    return heat_map(grid, nats(grid, look, min_value), look, title=title, annotate=annotate)


def nats(grid: Grid, look: Look, min_value: float | None = 0.0) -> Shades:
    """Colours for entropies."""
    return Shades(colours_of(grid.values, low=min_value), look.map(look.theme.amounts), "entropy (nats)")


def percent(grid: Grid, look: Look) -> Shades:
    """Colours for shares of the most possible entropy, always the same."""
    return Shades(colours_of(grid.values, low=0.0, high=100.0), look.map(look.theme.amounts), "% of maximum")


def visualize_head_entropy(
    entropy_values: Any,
    title: str = "Attention entropy of each head",
    min_value: float | None = 0.0,
    annotate: bool = True,
    **style: Unpack[Style],
) -> Figure:
    """The entropy of every head in nats, as `calculate_head_entropy` gives it."""
    return visualize_entropy_heatmap(entropy_values, title, min_value, annotate, **style)


def visualize_normalized_entropy(
    entropy: Any,
    max_entropy: Any = None,
    title: str = "Entropy in percent of its maximum",
    annotate: bool = True,
    *,
    keys: int | None = None,
    causal: bool = True,
    **style: Unpack[Style],
) -> Figure:
    """The entropy of every head in percent of the most that it could be.

    That most is `max_entropy` in nats, one number or one for each head; or it follows from how many `keys` a text has:
    the mean of log(visible keys) over its queries if attention is `causal`, else log(keys).
    """
    look = Look.of(**style)
    grid = grid_of(entropy, "entropy")
    most = _most(max_entropy, keys, causal, grid)
    share = Grid(100 * grid.values / most, grid.layers)
    return heat_map(share, percent(share, look), look, title=title, annotate=annotate, write="{:.0f}".format)


def visualize_entropy_vs_gradient(
    entropy: Any, grad_norms: Any, title: str = "Entropy and gradient of each head", **style: Unpack[Style]
) -> Figure:
    """A point for each head, its entropy against its gradient norm, in the colour of its layer."""
    look = Look.of(**style)
    across = grid_of(entropy, "entropy")
    upward = like(grad_norms, "grad_norms", across, "entropy")
    known = np.isfinite(across.values) & np.isfinite(upward.values)
    figure = figure_of(look, (6.4, 4.6))
    axes = dressed(figure.add_subplot(), x="entropy (nats)", y="gradient norm", grid="both")
    x, y = across.values[known], upward.values[known]
    layers = np.repeat(np.array(across.layers, dtype=float)[:, None], across.heads, 1)[known]
    points = axes.scatter(x, y, c=layers, cmap=look.map(look.theme.strengths), s=34 if x.size < 400 else 9)
    points.set(edgecolor=look.theme.muted, linewidth=0.5, zorder=3)
    points.set_clim(min(across.layers), max(max(across.layers), min(across.layers) + 1))
    upright(axes, [y])
    _across(axes, x)
    colour_bar(points, [axes], Shades(Colours(*points.get_clim()), points.cmap, "layer"), whole=True)
    figure.headline(title, _correlation(x, y, int(known.size - known.sum())))
    return figure.finished(look)


def _across(axes: Axes, values: Floats) -> None:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    room = 0.05 * (high - low) or 0.5
    axes.set_xlim(low - room, high + room)
    plain_numbers(axes.xaxis)


def _correlation(x: Floats, y: Floats, left_out: int) -> str:
    """How far the two orders agree, where that can be told; and how many heads have no place."""
    words = [f"{left_out} heads without a value are left out"] if left_out else []
    if x.size > 2 and np.ptp(x) > 0 and np.ptp(y) > 0:
        agreement = float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])
        words.insert(0, f"rank correlation {agreement:.2f} over {x.size} heads")
    return "; ".join(words)


def _ranks(values: Floats) -> Floats:
    """Twice the place of each value among all, the mean place where several are alike."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")).astype(np.float64)


def _most(max_entropy: Any, keys: int | None, causal: bool, grid: Grid) -> Floats:
    if (max_entropy is None) == (keys is None):
        raise SettingNotUsable("The most possible entropy is not clear; pass either max_entropy in nats, or keys, a text's length.")
    if keys is not None:
        visible = np.arange(1, whole_positive(keys, "keys") + 1) if causal else np.array([keys])
        most = np.array(np.log(visible).mean())
    else:
        most = array_of(max_entropy.values if isinstance(max_entropy, Grid) else max_entropy, "max_entropy")
        if most.ndim:
            most = like(max_entropy, "max_entropy", grid, "entropy").values
    if bool((most <= 0).any()) or not bool(np.isfinite(most[~np.isnan(most)]).all()) or bool(np.isnan(most).all()):
        raise SettingNotUsable(f"The most possible entropy is {number(float(np.nanmin(most)))}; it must be above 0 nats.")
    return most
