"""Results of experiments from a file or a run folder, as a table in long form: a row for each stage of each trial."""

from collections.abc import Callable, Iterable, Mapping
from math import nan
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from warnings import warn

from neural_plasticity.errors import SettingNotUsable, said
from neural_plasticity.figures.chronicle import Chronicle
from neural_plasticity.figures.trials import STAGES, Trial, grouped, require
from neural_plasticity.record.events import Evaluation
from neural_plasticity.record.folder import DESCRIPTION
from neural_plasticity.record.run import Run

if TYPE_CHECKING:  # pandas takes longer to load than to draw a picture
    from pandas import DataFrame


_STOPPED = "not finished"


def load_results_from_file(path: str | PathLike[str]) -> "DataFrame":
    """The results in a csv, json or parquet file, in a run folder or in all runs of a folder, as `plot_experiment_summary`
    takes them.

    Columns that follow from the perplexities are filled in where the file has none: `perplexity_change` of pruned rows;
    `perplexity_change_from_baseline`, `perplexity_change_from_pruned`, `recovery_percentage` and `improvement_percentage`
    of fine-tuned ones.
    """
    place = Path(path)
    if place.is_dir():
        return results_from_rows(_rows_of_folder(place))
    if not place.is_file():
        raise SettingNotUsable(f"There is no {place}; pass a csv, json or parquet file of results, or a run folder.")
    suffix = place.suffix.lower()
    if suffix in (".pkl", ".pickle"):
        raise SettingNotUsable(f"{place} is a pickle, and pickles run code; save the results as csv, json or parquet.")
    read = _readers().get(suffix)
    if read is None:
        raise SettingNotUsable(f"{place} is no file of results; pass one that ends in .csv, .json or .parquet, or a run folder.")
    try:
        table = read(place)
    except (ValueError, OSError, KeyError, TypeError) as fault:  # what pandas and pyarrow raise on broken files
        raise SettingNotUsable(f"{place} cannot be read as {suffix} ({said(fault)}); save the results anew.") from fault
    return _completed(table, str(place))


def results_from_rows(rows: Iterable[Mapping[str, Any]]) -> "DataFrame":
    """Results from rows of model, strategy, pruning_level, stage and perplexity."""
    from pandas import DataFrame

    return _completed(DataFrame([dict(row) for row in rows]), "the rows")


def _rows_of_folder(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run, or of every run in a folder; runs that cannot be compared are left out with a warning, unless all are
    such.
    """
    inside = [] if (folder / DESCRIPTION).exists() else [Run(path.parent) for path in sorted(folder.glob(f"*/{DESCRIPTION}"))]
    lacking = {run: _lacks(run) for run in inside}
    fit = next((group for why in ("", _STOPPED) if (group := [run for run in inside if lacking[run] == why])), inside)
    left = [f"{run.name} ({lacking[run]})" for run in inside if run not in fit]
    if left:
        warn(f"{len(left)} of the {len(inside)} runs in {folder} are left out of the results: {', '.join(left)}.", stacklevel=3)
    return [row for run in fit or [Run(folder)] for row in rows_of_run(run)]


def _lacks(run: Run) -> str:
    """Why the numbers of a run cannot stand beside those of others; nothing where they can."""
    told = Chronicle.of(run)
    if not any(event.stage == "pruned" and "perplexity" in event.values for event in told.events(Evaluation)):
        return "no evaluation of a pruned model"
    return "" if told.ended else _STOPPED


class Round(NamedTuple):
    """A cycle of a run: its perplexities, that of the model before the first cycle, and that with which this one began."""

    cycle: int
    baseline: float
    before: float
    pruned: float
    fine_tuned: float

    @property
    def trial(self) -> Trial:
        """What this cycle alone did."""
        return Trial("", "", nan, self.before, self.pruned, self.fine_tuned)


def rounds_of(told: Chronicle) -> list[Round]:
    """Every cycle of a run that pruned, each beginning with the model that the one before it left; NaN where nothing is known."""
    _, found = _stages(told.run)
    before = baseline = _baseline(found)["baseline"]
    rounds: list[Round] = []
    for cycle, stages in sorted(found.items()):
        if "pruned" in stages:
            rounds.append(Round(cycle, baseline, before, stages["pruned"], stages.get("fine_tuned", nan)))
        before = stages.get("fine_tuned", stages.get("pruned", before))
    return rounds


def _baseline(found: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """What a run began with, after its warm-up if it had one: what the text itself taught is no recovery."""
    first = found.get(0, {})
    return {"baseline": first.get("warm", first.get("baseline", nan))}


def _stages(run: Run) -> tuple[dict[str, Any], dict[int, dict[str, float]]]:
    """What all rows of a run share, and the perplexities of its stages by cycle; 0 is before the first."""
    settings = run.description.get("settings") or {}
    found: dict[int, dict[str, float]] = {0: {}}
    for event in run.events(Evaluation):
        if "perplexity" in event.values:
            found.setdefault(event.cycle or 0, {})[event.stage] = event.values["perplexity"]
    if not any("pruned" in stages for stages in found.values()):
        raise SettingNotUsable(f"{run.folder} holds no evaluation of a pruned model; pass a run that pruned.")
    shared = {"model": settings.get("model"), "strategy": settings.get("strategy"), "pruning_level": settings.get("level")}
    return shared | {"seed": settings.get("seed")}, found


def rows_of_run(run: Run) -> list[dict[str, Any]]:
    """The three stages of a run: what it began with, and the last cycle that pruned, before and after its fine-tuning."""
    shared, by_cycle = _stages(run)
    last = max(cycle for cycle, stages in by_cycle.items() if "pruned" in stages)
    found = by_cycle[last] | _baseline(by_cycle)
    return [shared | {"stage": stage, "perplexity": found[stage]} for stage in STAGES if stage in found]


def _readers() -> dict[str, Callable[[Path], "DataFrame"]]:
    import pandas

    return {".csv": pandas.read_csv, ".json": _read_json, ".parquet": pandas.read_parquet}


def _read_json(place: Path) -> "DataFrame":
    """A list of rows, or a dict with such a list under `results`; one row a line too."""
    import json

    from pandas import DataFrame

    text = place.read_text(encoding="utf-8")
    try:
        found: Any = json.loads(text)
    except ValueError:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(found, dict) and isinstance(found.get("results"), list):
        found = found["results"]
    return DataFrame(found)


def _completed(table: "DataFrame", where: str) -> "DataFrame":
    """The table with the columns that follow from its perplexities, where it has none of its own."""
    require([dict.fromkeys(table.columns)], ("strategy", "pruning_level", "stage", "perplexity"), where)
    rows: list[dict[str, Any]] = table.to_dict("records")
    for trial, places in grouped(rows, where):
        _fill(rows, places.get("pruned"), {"perplexity_change": trial.pruning_effect})
        following = {
            "perplexity_change_from_baseline": trial.net_effect,
            "perplexity_change_from_pruned": trial.tuning_effect,
            "recovery_percentage": trial.recovery,
            "improvement_percentage": trial.improvement,
        }
        _fill(rows, places.get("fine_tuned"), following)
    columns = dict.fromkeys([*table.columns, *(key for row in rows for key in row)])
    return type(table)(rows, columns=list(columns))


def _fill(rows: list[dict[str, Any]], place: int | None, numbers: Mapping[str, float]) -> None:
    """Put numbers where a row has none."""
    if place is not None:
        rows[place] |= {key: number for key, number in numbers.items() if _is_empty(rows[place].get(key))}


def _is_empty(value: Any) -> bool:
    """Whether a cell is empty."""
    return value is None or value != value
