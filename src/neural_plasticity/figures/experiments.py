"""Pictures of experiments: how strategies and levels of pruning compare, and how far fine-tuning made up for it."""

from collections.abc import Iterable
from math import isfinite
from typing import Any, Unpack

import numpy as np
from matplotlib.axes import Axes

from neural_plasticity.figures.bars import draw_bars
from neural_plasticity.figures.canvas import Figure, Look, Style, dressed, legend, theme_at
from neural_plasticity.figures.lettering import number, plain
from neural_plasticity.figures.lines import along, nothing
from neural_plasticity.figures.panels import panels
from neural_plasticity.figures.scale import upright
from neural_plasticity.figures.trials import STAGES, Trial, compared, mean_and_interval, trials_of

_MARKERS = "osD^vP*X"
_STAGE_WORDS = ("baseline", "pruned", "fine-tuned")


def plot_experiment_summary(results_df: Any, title: str = "Experiment", *, note: str = "", **style: Unpack[Style]) -> Figure:
    """Four panels of an experiment: perplexity across the stages, recovery against the level of pruning, what pruning did
    beside what fine-tuning did, and the best of each level. Repeats with other seeds become a mean and its interval. The
    `note` stands beneath the title.
    """
    look = Look.of(**style)
    trials = trials_of(results_df)
    strategies = list(dict.fromkeys(trial.strategy for trial in trials))
    models = list(dict.fromkeys(trial.model for trial in trials if trial.model))
    figure, (stages, recovery, effects, best) = panels(look, 4, (11.0, 7.6))
    colours = dict(zip(strategies, look.colours(len(strategies)), strict=True))
    _stages(stages, trials, colours)
    _recovery(recovery, trials, colours)
    dressed(effects, title="change of perplexity")
    groups = {
        "by pruning": [[t.pruning_effect for t in trials if t.strategy == each] for each in strategies],
        "by fine-tuning": [[t.tuning_effect for t in trials if t.strategy == each] for each in strategies],
    }
    handles = draw_bars(effects, strategies, groups, [look.theme.muted, look.colours(1)[0]])
    legend(effects, handles)
    _best(best, trials, look)
    figure.headline(title, "; ".join(part for part in (", ".join(models), note) if part))
    return figure.finished(look)


def plot_strategy_comparison(
    comparison_df: Any,
    strategies: Iterable[str] | None = None,
    model_name: str = "",
    pruning_level: float | None = None,
    title: str = "Strategies compared",
    *,
    note: str = "",
    **style: Unpack[Style],
) -> Figure:
    """The perplexity of each strategy before pruning, after it and after fine-tuning; and what each step changed.

    `comparison_df` has a row for each strategy, or for each strategy and seed, with the columns Strategy, Baseline
    Perplexity, Pruned Perplexity and Fine-tuned Perplexity; the effects follow from them. The `note` stands beneath the title.
    """
    look = Look.of(**style)
    found = compared(comparison_df, strategies)
    figure, (perplexities, effects) = panels(look, 2, (11.0, 4.4))
    first, second, third = look.colours(3)
    dressed(perplexities, title="perplexity")
    groups = {
        word: [[getattr(trial, stage) for trial in trials] for trials in found.values()]
        for word, stage in zip(_STAGE_WORDS, STAGES, strict=True)
    }
    legend(perplexities, draw_bars(perplexities, list(found), groups, [look.theme.muted, second, first]))
    dressed(effects, title="change")
    changes = {
        "pruning": [[trial.pruning_effect for trial in trials] for trials in found.values()],
        "fine-tuning": [[trial.tuning_effect for trial in trials] for trials in found.values()],
        "net": [[trial.net_effect for trial in trials] for trials in found.values()],
    }
    legend(effects, draw_bars(effects, list(found), changes, [second, first, third]))
    figure.headline(title, "; ".join(part for part in (_where(model_name, pruning_level, found), note) if part))
    return figure.finished(look)


def plot_recovery_comparison(
    comparison_df: Any,
    strategies: Iterable[str] | None = None,
    model_name: str = "",
    pruning_level: float | None = None,
    title: str = "Recovery compared",
    **style: Unpack[Style],
) -> Figure:
    """How much of the harm fine-tuning undid, for each strategy; where pruning did none, how much better the end is, downwards."""
    look = Look.of(**style)
    found = compared(comparison_df, strategies)
    figure, (axes,) = panels(look, 1, (6.4, 4.2))
    dressed(axes, y="percent")
    recovered = [[trial.recovery for trial in trials] for trials in found.values()]
    improved = [[-trial.improvement for trial in trials] for trials in found.values()]
    handles = draw_recovery(axes, list(found), recovered, improved, look)
    legend(axes, handles)
    figure.headline(title, _where(model_name, pruning_level, found))
    return figure.finished(look)


def draw_recovery(axes: Axes, names: list[str], recovered: list[list[float]], improved: list[list[float]], look: Look) -> list[Any]:
    """One bar for each name: what was recovered, or improved, or both side by side where seeds differ in that."""
    groups: dict[str, list[list[float]]] = {}
    if any(isfinite(value) for values in recovered for value in values) or not any(map(_known, improved)):
        groups["recovery"] = recovered
    if any(map(_known, improved)):
        groups["improvement (downwards)"] = improved
    return draw_bars(axes, names, groups, look.colours(2), close=True)


def _known(values: list[float]) -> bool:
    return any(isfinite(value) for value in values)


def _stages(axes: Axes, trials: list[Trial], colours: dict[str, str]) -> None:
    """A line for each strategy and level, from stage to stage."""
    dressed(axes, title="perplexity across the stages")
    drawn: dict[str, Any] = {}
    shown: list[float] = []
    most = 0
    for place, (strategy, colour) in enumerate(colours.items()):
        levels = sorted({trial.level for trial in trials if trial.strategy == strategy})
        for rank, level in enumerate(levels, 1):
            chosen = [trial for trial in trials if trial.strategy == strategy and _same(trial.level, level)]
            means = [mean_and_interval(getattr(trial, stage) for trial in chosen) for stage in STAGES]
            values = [mean for mean, _, _ in means]
            (line,) = axes.plot(range(3), values, color=colour, marker=_MARKERS[place % len(_MARKERS)], markersize=5, linewidth=1.4)
            line.set(label=_label(axes, strategy), alpha=0.35 + 0.65 * rank / len(levels), linewidth=0.9 + 0.9 * rank / len(levels))
            drawn[strategy] = line
            _intervals(axes, range(3), means, colour)
            shown += [value for each in means for value in each]
        most = max(most, len(levels))
    upright(axes, [np.array(shown)])
    axes.set_xlim(-0.2, 2.2)
    axes.set_xticks(range(3), _STAGE_WORDS)
    if most > 1:
        axes.set_xlabel("bold: more heads pruned")
    if not np.isfinite(shown).any():
        nothing(axes)
    if drawn:
        legend(axes, list(drawn.values()))


def _intervals(axes: Axes, places: Iterable[float], means: list[tuple[float, float, float]], colour: str) -> None:
    """The intervals that there are: one value alone has none."""
    known = [(place, low, high) for place, (_, low, high) in zip(places, means, strict=True) if high > low]
    if known:
        at, lows, highs = zip(*known, strict=True)
        axes.vlines(at, lows, highs, color=colour, linewidth=1.0)


def _label(axes: Axes, strategy: str) -> str:
    return plain(strategy, theme_at(axes)) or "no name"


def _same(level: float, other: float) -> bool:
    return level == other or (level != level and other != other)


def _recovery(axes: Axes, trials: list[Trial], colours: dict[str, str]) -> None:
    """Recovery against level, a line for each strategy."""
    dressed(axes, title="recovery by level", x="share of heads pruned", y="percent")
    shown: list[float] = [0.0]
    levels: set[float] = set()
    for place, (strategy, colour) in enumerate(colours.items()):
        mine = [trial for trial in trials if trial.strategy == strategy and isfinite(trial.level)]
        at = sorted({trial.level for trial in mine})
        means = [mean_and_interval(trial.drawn_recovery for trial in mine if trial.level == level) for level in at]
        if not any(isfinite(mean) for mean, _, _ in means):
            continue
        (line,) = axes.plot(at, [mean for mean, _, _ in means], color=colour, marker=_MARKERS[place % len(_MARKERS)], markersize=5)
        line.set(label=_label(axes, strategy), linewidth=1.4)
        _intervals(axes, at, means, colour)
        shown += [value for each in means for value in each]
        levels |= set(at)
    if not levels:
        nothing(axes, "nothing was fine-tuned after pruning" if trials else "nothing recorded yet")
        return
    upright(axes, [np.array(shown)], log=False)
    along(axes, [np.array(sorted(levels))])
    if len(levels) == 1:  # a share is not below 0
        axes.set_xlim(0.0, max(1.0, *levels))
    axes.axhline(0, color=axes.spines["bottom"].get_edgecolor(), linewidth=0.8)
    if any(trial.improvement > 0 for trial in trials):
        dressed(axes, title="recovery (below 0: improvement)", x="share of heads pruned", y="percent")


def _best(axes: Axes, trials: list[Trial], look: Look) -> None:
    """The strategy with the lowest perplexity after fine-tuning, for each level."""
    dressed(axes, title="best perplexity of each level")
    names: list[str] = []
    values: list[list[float]] = []
    for level in sorted({trial.level for trial in trials if isfinite(trial.level)}):
        there = [trial for trial in trials if trial.level == level]
        means = {each.strategy: mean_and_interval(t.fine_tuned for t in there if t.strategy == each.strategy)[0] for each in there}
        known = {strategy: mean for strategy, mean in means.items() if isfinite(mean)}
        if known:
            winner = min(known, key=lambda strategy: known[strategy])
            names.append(f"{number(level)} {winner}")
            values.append([trial.fine_tuned for trial in there if trial.strategy == winner])
    draw_bars(axes, names, {"best": values}, look.colours(1))


def _where(model: str, level: float | None, found: dict[str, list[Trial]]) -> str:
    seeds = sorted({len(trials) for trials in found.values()}) or [0]
    parts = [model, "" if level is None else f"{number(100 * level if level <= 1 else level)} % of heads pruned"]
    several = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
    parts.append(f"mean and 95 % interval of {several} seeds" if seeds[-1] > 1 else "")
    return ", ".join(part for part in parts if part)
