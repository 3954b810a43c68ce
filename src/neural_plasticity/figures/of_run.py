"""Pictures of a run that a function for bare arrays draws: each asks the chronicle for what that function takes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neural_plasticity.figures.canvas import Figure, Look
from neural_plasticity.figures.chronicle import Chronicle, Reading
from neural_plasticity.figures.coerce import Grid
from neural_plasticity.figures.decisions import visualize_pruning_decisions
from neural_plasticity.figures.entropy import nats, percent, visualize_entropy_vs_gradient
from neural_plasticity.figures.experiments import plot_experiment_summary, plot_strategy_comparison
from neural_plasticity.figures.gradients import strengths
from neural_plasticity.figures.heat import Overlay, Shades, heat_map
from neural_plasticity.figures.importance import visualize_head_importance
from neural_plasticity.figures.lettering import number
from neural_plasticity.figures.phases import visualize_complete_training_process
from neural_plasticity.figures.results import rows_of_run
from neural_plasticity.figures.rounds import rounds
from neural_plasticity.figures.states import states
from neural_plasticity.figures.told import history, results
from neural_plasticity.figures.tradeoff import without
from neural_plasticity.figures.training import visualize_training_progress
from neural_plasticity.figures.warmup import visualize_warmup_dashboard

# What says how much a head is worth to the model, in the order in which it is shown.
WORTH = ("taylor", "fisher", "ablation", "gradient", "magnitude", "output_norm")
_MEASURES = 4  # of them, unless others are named: two rows of two


def _titled(title: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a figure, with a title where they name none."""
    return {"title": title, **options}


def entropy(told: Chronicle, *, cycle: int | None = None, min_value: float | None = 0.0, **options: Any) -> Figure:
    """How widely each head looked, and what became of it in the cycle."""
    read = told.grid("entropy", cycle)
    return _marked(told, read, lambda look: nats(read.grid, look, min_value), f"Attention entropy{read.when}", **options)


def normalized_entropy(told: Chronicle, *, cycle: int | None = None, **options: Any) -> Figure:
    """How near that was to looking everywhere."""
    read = told.grid("normalized_entropy", cycle)
    shown = read._replace(grid=Grid(100 * read.grid.values, read.grid.layers))
    named: dict[str, Any] = {"write": "{:.0f}".format, **options}
    return _marked(told, shown, lambda look: percent(shown.grid, look), f"Entropy in percent of its maximum{read.when}", **named)


def gradient(told: Chronicle, *, cycle: int | None = None, **options: Any) -> Figure:
    """How strongly the loss pulled at each head, and what became of it in the cycle."""
    read = told.grid("gradient", cycle)
    return _marked(told, read, lambda look: strengths(read.grid, look, "gradient norm"), f"Gradient norms{read.when}", **options)


def _marked(
    told: Chronicle,
    read: Reading,
    shades: Callable[[Look], Shades],
    named: str,
    *,
    title: str = "",
    annotate: bool = True,
    write: Callable[[float], str] | None = None,
    **style: Any,
) -> Figure:
    """A map of what was measured in a cycle, with the marks of those who went then, had gone, or are back."""
    look, marks = Look.of(**style), states(told, read.grid, read.cycle)
    whole: dict[str, Any] = {"annotate": annotate, "write": write, "note": measured_first(marks)}
    return heat_map(read.grid, shades(look), look, marks, title=title or named, **whole)


def measured_first(marks: Sequence[Overlay]) -> str:
    """What numbers and marks of one map have to do with each other, where it bears any."""
    return "measured as the cycle began; marks show what became of the heads by its end" if marks else ""


def importance(told: Chronicle, *, cycle: int | None = None, signals: Any = None, **options: Any) -> Figure:
    """What each head was worth, by every measure that there is of it in one cycle."""
    if signals is None:
        there = [name for name in WORTH if name in told.signals]
        at = told.together(there[:1]) if cycle is None else cycle
        chosen = [name for name in there if at in told.grids(name)][:_MEASURES] or there[:1]
    else:
        chosen = list(signals)
        at = told.together(chosen) if cycle is None else cycle
    reads = {name: told.grid(name, at) for name in chosen}
    when = next(iter(reads.values())).when if reads else ""
    title = f"Head importance in {told.model}{when}"
    return visualize_head_importance(told.model, {name: read.grid for name, read in reads.items()}, **_titled(title, options))


def entropy_vs_gradient(told: Chronicle, *, cycle: int | None = None, **options: Any) -> Figure:
    """Whether heads that look widely are those that the loss pulls at."""
    at = told.together(("entropy", "gradient")) if cycle is None else cycle
    across = told.grid("entropy", at)
    up = told.grid("gradient", across.cycle)
    return visualize_entropy_vs_gradient(across.grid, up.grid, **_titled(f"Entropy and gradient{across.when}", options))


def pruning_decisions(told: Chronicle, *, cycle: int | None = None, **options: Any) -> Figure:
    """Which heads a cycle pruned, where they stood in the order, and why."""
    pruned = [each for each in range(told.cycles + 1) if told.befell("pruned", each)]
    chosen = (pruned or [told.cycles])[-1] if cycle is None else cycle
    signal = deciding(told)
    read = told.grid(signal, chosen)
    gone = told.befell("pruned", chosen)
    mask = np.zeros(read.grid.values.shape)
    for head in gone:
        mask[read.grid.row(head), head.head] = 1
    reasons = {head: turn.reason for head in gone for turn in told.lives[head] if turn[:2] == (chosen, "pruned") and turn.reason}
    title = f"Pruning decisions{read.when}"
    named: dict[str, Any] = {"title": title, "reasons": reasons or None, "measured": words(signal)} | options
    return visualize_pruning_decisions(read.grid, mask, **named)


def deciding(told: Chronicle) -> str:
    """The signal that decided what was pruned, or the nearest one that was measured."""
    strategy = str(told.settings.get("strategy"))
    wanted = (strategy, "gradient", *WORTH, *told.signals)
    return next((name for name in wanted if name in told.signals), strategy)


def words(signal: str) -> str:
    """A signal's name as it is read."""
    return {"gradient": "gradient norm"}.get(signal, signal.replace("_", " "))


def training_progress(told: Chronicle, **options: Any) -> Figure:
    """Losses, perplexity and heads over all steps."""
    return visualize_training_progress(history(told), **options)


def warmup(told: Chronicle, **options: Any) -> Figure:
    """The warm-up, and whether its loss settled."""
    return visualize_warmup_dashboard(results(told)["warmup"], **options)


def complete(told: Chronicle, **options: Any) -> Figure:
    """The whole run on one page."""
    return visualize_complete_training_process(results(told), **_titled(f"From warm-up to fine-tuning: {told.model}", options))


def ablation(told: Chronicle, *, cycle: int | None = None, annotate: bool = True, title: str = "", **style: Any) -> Figure:
    """How the loss changes when one head alone falls silent."""
    look, read = Look.of(**style), told.grid("ablation", cycle)
    shades = strengths(read.grid, look, "change of the loss (nats)")
    return heat_map(read.grid, shades, look, title=title or f"What each head's silence costs{read.when}", annotate=annotate)


def summary(many: list[Chronicle], *, left_out: Sequence[str] = (), **options: Any) -> Figure:
    """Of one run its cycles; of several perplexity by stage and recovery by level at their ends."""
    note = without(left_out)
    if len(many) == 1:
        return rounds(many[0], note=note, **options)
    return plot_experiment_summary([row for told in many for row in rows_of_run(told.run)], note=note, **options)


def strategies(many: list[Chronicle], *, left_out: Sequence[str] = (), **options: Any) -> Figure:
    """The strategies of several runs beside each other; runs that differ in nothing but the seed become a mean."""
    rows = [rows_of_run(told.run) for told in many]
    levels = {row["pruning_level"] for each in rows for row in each}
    table = [_compared(each, several=len(levels) > 1) for each in rows]
    models = ", ".join(dict.fromkeys(told.model for told in many))
    named: dict[str, Any] = {"model_name": models, "pruning_level": next(iter(levels)) if len(levels) == 1 else None}
    return plot_strategy_comparison(table, note=without(left_out), **(named | options))


def _compared(rows: list[dict[str, Any]], *, several: bool) -> dict[str, Any]:
    stages = {row["stage"]: row["perplexity"] for row in rows}
    level = rows[0]["pruning_level"]
    return {
        "Strategy": f"{rows[0]['strategy']} {number(float(level))}" if several and level is not None else str(rows[0]["strategy"]),
        "Baseline Perplexity": stages.get("baseline"),
        "Pruned Perplexity": stages.get("pruned"),
        "Fine-tuned Perplexity": stages.get("fine_tuned"),
    }
