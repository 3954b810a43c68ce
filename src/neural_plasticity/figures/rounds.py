"""The picture of one run's cycles: what pruning and fine-tuning did in each, and how many heads sleep after it."""

from typing import Unpack

import numpy as np
from matplotlib.axes import Axes

from neural_plasticity.figures.bars import draw_bars
from neural_plasticity.figures.canvas import Figure, Look, Style, dressed, legend, panel_width
from neural_plasticity.figures.chronicle import Chronicle
from neural_plasticity.figures.experiments import draw_recovery
from neural_plasticity.figures.lettering import number
from neural_plasticity.figures.lines import Curve, draw_curves, nothing
from neural_plasticity.figures.panels import panels
from neural_plasticity.figures.results import Round, rounds_of
from neural_plasticity.figures.scale import numbered, upright
from neural_plasticity.figures.theme import MARKS


def rounds(told: Chronicle, *, title: str = "", note: str = "", **style: Unpack[Style]) -> Figure:
    """Four panels with a place for each cycle of a run: its perplexities, what pruning and fine-tuning changed since the cycle
    began, which share of that harm was undone, and how many heads sleep.
    """
    look = Look.of(**style)
    known = rounds_of(told)
    figure, (perplexity, effects, recovery, heads) = panels(look, 4, (11.0, 7.6))
    _perplexity(perplexity, known, look)
    _effects(effects, known, look)
    _recovery(recovery, known, look)
    _asleep(heads, told, known)
    said = ", ".join(part for part in (told.model, _from_to(known)) if part)
    figure.headline(title or f"Cycles of {told.run.name}", f"{said}; {note}" if note else said)
    return figure.finished(look)


def _perplexity(axes: Axes, known: list[Round], look: Look) -> None:
    """Before and after the fine-tuning of each cycle, and the model before the first."""
    dressed(axes, title="perplexity", x="cycle")
    cycles = np.array([each.cycle for each in known], dtype=float)
    tuned, pruned = look.colours(2)
    curves = [
        Curve("pruned", cycles, np.array([each.pruned for each in known]), pruned, turn=1),
        Curve("fine-tuned", cycles, np.array([each.fine_tuned for each in known]), tuned),
    ]
    lines = draw_curves(axes, [curve for curve in curves if np.isfinite(curve.values).any()])
    for line in lines:
        line.set(marker="o", markersize=5)
    first = known[0].baseline
    if np.isfinite(first):
        lines.append(axes.axhline(first, color=look.theme.muted, linewidth=1.1, linestyle=(0, (2, 2)), label="baseline"))
        upright(axes, [np.array([first]), *(curve.values for curve in curves)])
    axes.set_xlim(cycles.min() - 0.5, cycles.max() + 0.5)
    numbered(axes.xaxis, [f"{cycle:.0f}" for cycle in cycles], panel_width(axes), look.theme.size * 2.2, cycles.tolist())
    legend(axes, lines)


def _effects(axes: Axes, known: list[Round], look: Look) -> None:
    dressed(axes, title="change of perplexity in each cycle", x="cycle")
    groups = {"by pruning": [[each.trial.pruning_effect] for each in known]}
    if _was_tuned(known):
        groups["by fine-tuning"] = [[each.trial.tuning_effect] for each in known]
    legend(axes, draw_bars(axes, _names(known), groups, [look.theme.muted, look.colours(1)[0]]))


def _recovery(axes: Axes, known: list[Round], look: Look) -> None:
    dressed(axes, title="harm undone in each cycle", x="cycle", y="percent")
    if not _was_tuned(known):
        nothing(axes, "nothing was fine-tuned after pruning")
        return
    recovered, improved = [[each.trial.recovery] for each in known], [[-each.trial.improvement] for each in known]
    legend(axes, draw_recovery(axes, _names(known), recovered, improved, look))


def _asleep(axes: Axes, told: Chronicle, known: list[Round]) -> None:
    dressed(axes, title=f"heads asleep, of {len(told.heads)}", x="cycle")
    counts = [[float(len(told.heads) - told.awake(each.cycle))] for each in known]
    draw_bars(axes, _names(known), {"asleep": counts}, [MARKS["dormant"].colour])


def _was_tuned(known: list[Round]) -> bool:
    return any(np.isfinite(each.fine_tuned) for each in known)


def _names(known: list[Round]) -> list[str]:
    return [str(each.cycle) for each in known]


def _from_to(known: list[Round]) -> str:
    """The perplexity before the first cycle, and after the last one."""
    last = known[-1].fine_tuned if np.isfinite(known[-1].fine_tuned) else known[-1].pruned
    return f"perplexity {number(known[0].baseline)} before the first cycle, {number(last)} after the last"
