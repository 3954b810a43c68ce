"""The picture of a training: losses, perplexity, heads and sparsity over the steps."""

from typing import Any, Unpack

import numpy as np
from matplotlib.axes import Axes

from neural_plasticity.figures.canvas import Figure, Look, Style, dressed, legend
from neural_plasticity.figures.coerce import Floats
from neural_plasticity.figures.history import history_of
from neural_plasticity.figures.lines import Curve, draw_curves, nothing, posts, thinned
from neural_plasticity.figures.panels import panels
from neural_plasticity.figures.scale import whole_positive
from neural_plasticity.figures.theme import MARKS

_KEYS = ("step", "epoch", "train_loss", "eval_loss", "pruned_heads", "revived_heads", "sparsity", "perplexity")
_PANELS = (
    ("loss", "nats per token", ("train_loss", "eval_loss")),
    ("perplexity", "", ("perplexity",)),
    ("heads", "", ("pruned_heads", "revived_heads")),
    ("sparsity", "", ("sparsity",)),
)


def visualize_training_progress(
    metrics_history: Any, max_display_points: int = 100, title: str = "Training progress", **style: Unpack[Style]
) -> Figure:
    """What a training went through, a panel for each kind of number that the history holds.

    The history is a dict of columns, a list of dicts or a table, with any of the keys step, epoch, train_loss, eval_loss,
    pruned_heads, revived_heads, sparsity and perplexity. Of long ones at most `max_display_points` are drawn for each curve,
    the extremes among them; epochs begin where they began.
    """
    look = Look.of(**style)
    most = max(whole_positive(max_display_points, "max_display_points"), 2)
    history = history_of(metrics_history, "metrics_history", _KEYS)
    steps = history["step"]
    there = [each for each in _PANELS if any(key in history for key in each[2])] or [_PANELS[0]]
    figure, drawn = panels(look, len(there), (9.0, 2.9 * ((len(there) + 1) // 2) + 0.5) if len(there) > 1 else (6.4, 4.0))
    for axes, (name, unit, keys) in zip(drawn, there, strict=True):
        dressed(axes, title=name, x="step", y=unit)
        curves = _curves(history, keys, look, most)
        lines = draw_curves(axes, curves, zero=name in ("heads", "sparsity"), whole=name == "heads")
        if not steps.size:
            nothing(axes)
        _epochs(axes, steps, history.get("epoch"))
        if len(lines) > 1:
            legend(axes, lines)
    figure.headline(title)
    return figure.finished(look)


def _curves(history: dict[str, Floats], keys: tuple[str, ...], look: Look, most: int) -> list[Curve]:
    """The curves of one panel; counts of heads in the colours of their states."""
    found: list[Curve] = []
    colours = dict(zip(("train_loss", "eval_loss", "perplexity", "sparsity"), look.colours(4), strict=True))
    colours |= {"pruned_heads": MARKS["pruned"].colour, "revived_heads": MARKS["revived"].colour}
    for turn, key in enumerate(keys):
        if key in history:
            kept = thinned(history[key], most)
            staircase = key.endswith("_heads") or key == "sparsity"
            label = key.partition("_")[0]
            found.append(Curve(label, history["step"][kept], history[key][kept], colours[key], turn=turn, staircase=staircase))
    return found


def _epochs(axes: Axes, steps: Floats, epochs: Floats | None) -> None:
    """An upright line at the first step of every epoch but the first."""
    if epochs is None:
        return
    whole = np.floor(epochs)
    known = np.isfinite(whole)
    steps, whole = steps[known], whole[known]
    begins = np.flatnonzero(np.diff(whole) > 0) + 1
    posts(axes, [(float(steps[place]), f"epoch {whole[place]:.0f}") for place in begins])
