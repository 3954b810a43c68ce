"""The picture of what heads are worth by one strategy after another."""

from collections.abc import Mapping
from math import ceil
from typing import Any, Unpack, cast

import numpy as np

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.canvas import Figure, Look, Style
from neural_plasticity.figures.coerce import Grid, array_of, grid_of
from neural_plasticity.figures.gradients import strengths
from neural_plasticity.figures.heat import draw_grid, has_gaps, key
from neural_plasticity.figures.panels import panels
from neural_plasticity.figures.scale import whole_positive


def visualize_head_importance(
    model_name: str,
    importance_scores: Any,
    num_layers: int | None = None,
    num_heads: int | None = None,
    title: str = "",
    annotate: bool = True,
    **style: Unpack[Style],
) -> Figure:
    """A heat map for each strategy: its score of every head, a colour bar of its own for each, as their units differ.

    `importance_scores` is a dict by strategy of lists of (layer, head, score), or of grids. Heads without a score are hatched.
    """
    look = Look.of(**style)
    if not isinstance(importance_scores, Mapping) or not importance_scores:
        seen = "empty" if isinstance(importance_scores, Mapping) else f"a {type(importance_scores).__name__}"
        raise SettingNotUsable(f"importance_scores is {seen}; it is a dict by strategy of lists of (layer, head, score).")
    scores = cast("Mapping[str, Any]", importance_scores)
    grids = {str(name): _grid(each, str(name), num_layers, num_heads) for name, each in scores.items()}
    layers, heads = next(iter(grids.values())).values.shape
    columns = min(len(grids), 3)
    default = (
        min(max(2.0 + 0.35 * heads, 4.6), 6.0) * columns,
        ceil(len(grids) / columns) * min(max(1.8 + 0.3 * layers, 3.0), 6.0),
    )
    figure, drawn = panels(look, len(grids), (min(default[0], 13.0), min(default[1], 16.0)))
    for axes, (name, grid) in zip(drawn, grids.items(), strict=True):
        draw_grid(axes, grid, strengths(grid, look, "score"), annotate=annotate, title=name)
    key(figure, [], gaps=any(has_gaps(grid.values) for grid in grids.values()))
    figure.headline(title or f"Head importance in {model_name}")
    return figure.finished(look)


def _grid(scores: Any, strategy: str, num_layers: int | None, num_heads: int | None) -> Grid:
    """The scores of one strategy; lists of (layer, head, score) or anything that is a grid."""
    name = f"importance_scores['{strategy}']"
    triples = _triples(scores, name)
    if triples is None:
        return grid_of(scores, name)
    layers = whole_positive(num_layers, "num_layers") if num_layers is not None else int(triples[:, 0].max()) + 1
    heads = whole_positive(num_heads, "num_heads") if num_heads is not None else int(triples[:, 1].max()) + 1
    values = np.full((layers, heads), np.nan)
    for layer, head, score in triples.tolist():
        if not (0 <= layer < layers and 0 <= head < heads and layer == int(layer) and head == int(head)):
            raise SettingNotUsable(
                f"{name} scores head {layer:g}.{head:g} of {layers} layers of {heads} heads; correct one of them."
            )
        values[int(layer), int(head)] = score
    return Grid(values, tuple(range(layers)))


def _triples(scores: Any, name: str) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Rows of (layer, head, score), or None where the scores are no list of tuples."""
    if not isinstance(scores, (list, tuple)) or not all(isinstance(each, tuple) for each in cast("list[Any]", scores)):
        return None
    found = array_of(list(cast("list[Any]", scores)), name)
    if found.ndim != 2 or found.shape[1] != 3:
        raise SettingNotUsable(f"{name} has shape {found.shape}; it is a list of (layer, head, score).")
    return found
