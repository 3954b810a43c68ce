"""What was tried and what came of it: one trial for each strategy, level and seed, and the numbers that follow from three."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan, sqrt
from typing import Any, NamedTuple

import numpy as np

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.coerce import series_of
from neural_plasticity.figures.history import rows_of
from neural_plasticity.student import student_t

STAGES = ("baseline", "pruned", "fine_tuned")


@dataclass(frozen=True, slots=True)
class Trial:
    """The perplexities of one model before pruning, after it and after fine-tuning; NaN where one is not known."""

    model: str
    strategy: str
    level: float
    baseline: float
    pruned: float
    fine_tuned: float

    @property
    def pruning_effect(self) -> float:
        """How much pruning raised the perplexity."""
        return self.pruned - self.baseline

    @property
    def tuning_effect(self) -> float:
        """How much fine-tuning changed it; below 0 is better."""
        return self.fine_tuned - self.pruned

    @property
    def net_effect(self) -> float:
        """What is left of both."""
        return self.fine_tuned - self.baseline

    @property
    def recovery(self) -> float:
        """Which share of the harm fine-tuning undid, in percent; NaN where pruning did none."""
        return 100 * (self.pruned - self.fine_tuned) / (self.pruned - self.baseline) if self.pruned > self.baseline else nan

    @property
    def improvement(self) -> float:
        """By how many percent the end is better than the beginning; NaN where pruning did harm."""
        return nan if self.pruned > self.baseline or not self.baseline else 100 * (self.baseline - self.fine_tuned) / self.baseline

    @property
    def drawn_recovery(self) -> float:
        """Recovery upwards; where there was no harm to recover from, improvement downwards."""
        return self.recovery if self.pruned > self.baseline else -self.improvement


class Read(NamedTuple):
    """A perplexity, and the row it was read from."""

    perplexity: float
    row: int


def trials_of(results: Any) -> list[Trial]:
    """The trials of results in long form: model, strategy, pruning_level, stage, perplexity."""
    return [trial for trial, _ in grouped(rows_of(results, "results_df"), "results_df")]


def grouped(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[Trial, dict[str, int]]]:
    """Every trial, and the row of each of its stages.

    Rows that agree in everything but the stage are one trial; a `seed` or `cycle` tells repeats apart, and else the order
    does. A baseline without strategy or level serves all trials of its model.
    """
    require(rows, ("strategy", "pruning_level", "stage", "perplexity"), name)
    tried: dict[tuple[Any, ...], dict[str, list[Read]]] = {}
    common: dict[tuple[Any, ...], list[Read]] = {}
    for place, row in enumerate(rows):
        stage, read = str(row["stage"]), Read(_number(row["perplexity"], "perplexity"), place)
        if stage not in STAGES:
            raise SettingNotUsable(f"{name} has a stage {stage!r:.60}; the stages are {', '.join(STAGES)}.")
        model, seed = _word(row.get("model")), _word(row.get("seed", row.get("cycle")))
        if stage == "baseline" and not (_word(row["strategy"]) and _word(row["pruning_level"])):
            common.setdefault((model, seed), []).append(read)
        else:
            level = _number(row["pruning_level"], "pruning_level")
            tried.setdefault((model, _word(row["strategy"]), level, seed), {}).setdefault(stage, []).append(read)
    return [trial for key, stages in tried.items() for trial in _trials(key, stages, common)]


def _trials(
    key: tuple[Any, ...], stages: Mapping[str, list[Read]], common: Mapping[tuple[Any, ...], list[Read]]
) -> list[tuple[Trial, dict[str, int]]]:
    model, strategy, level, seed = key
    baselines = stages.get("baseline") or common.get((model, seed)) or common.get((model, "")) or []
    lists = {"baseline": baselines, "pruned": stages.get("pruned", []), "fine_tuned": stages.get("fine_tuned", [])}
    count = max(len(lists["pruned"]), len(lists["fine_tuned"]), 1)
    found: list[tuple[Trial, dict[str, int]]] = []
    for place in range(count):
        there = {stage: _at(reads, place) for stage, reads in lists.items()}
        numbers = [nan if read is None else read.perplexity for read in there.values()]
        found.append((Trial(model, strategy, level, *numbers), {stage: read.row for stage, read in there.items() if read}))
    return found


def _at(reads: Sequence[Read], place: int) -> Read | None:
    """What was read in this repeat; one reading serves all repeats."""
    return reads[place] if place < len(reads) else reads[0] if len(reads) == 1 else None


def compared(comparison: Any, strategies: Iterable[str] | None) -> dict[str, list[Trial]]:
    """The trials of a comparison table by strategy, in the order asked for; a row for each strategy and seed."""
    rows = rows_of(comparison, "comparison_df")
    require(rows, ("Strategy",), "comparison_df")
    found: dict[str, list[Trial]] = {}
    for row in rows:
        numbers = [_number(row.get(f"{stage} Perplexity"), f"{stage} Perplexity") for stage in ("Baseline", "Pruned", "Fine-tuned")]
        found.setdefault(str(row["Strategy"]), []).append(Trial("", str(row["Strategy"]), nan, *numbers))
    if strategies is None:
        return found
    wanted = [strategies] if isinstance(strategies, str) else [str(each) for each in strategies]
    missing = [each for each in wanted if each not in found]
    if missing:
        raise SettingNotUsable(f"comparison_df has no row for {missing[0]!r:.60}; its strategies are {', '.join(found) or 'none'}.")
    return {each: found[each] for each in wanted}


def require(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], name: str) -> None:
    """All these columns, where there are rows at all."""
    missing = [column for column in columns if rows and column not in rows[0]]
    if missing:
        seen = ", ".join(map(str, rows[0]))
        raise SettingNotUsable(f"{name} has no column {missing[0]!r}; it has {seen:.200}, and needs {', '.join(columns)}.")


def mean_and_interval(values: Iterable[float]) -> tuple[float, float, float]:
    """The mean of the known values, and the ends of its 95 % interval, which are the mean itself for one value alone."""
    known = [value for value in values if isfinite(value)]
    if not known:
        return nan, nan, nan
    mean = sum(known) / len(known)
    if len(known) == 1:
        return mean, mean, mean
    freedom = len(known) - 1
    spread = sqrt(sum((value - mean) ** 2 for value in known) / freedom / len(known))
    half = student_t(freedom) * spread
    return mean, mean - half, mean + half


def _number(value: Any, column: str) -> float:
    return float(series_of([value], f"the column '{column}'")[0]) if value is not None else nan


def _word(value: Any) -> str:
    """What a cell says; nothing for one that is empty."""
    return "" if value is None or (isinstance(value, (float, np.floating)) and value != value) else str(value)
