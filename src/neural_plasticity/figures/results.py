"""Results of experiments from a file or a run folder, as a table in long form: a row for each stage of each trial."""

from collections.abc import Callable, Iterable, Mapping
from math import nan
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural_plasticity.errors import SettingNotUsable, said
from neural_plasticity.figures.trials import STAGES, grouped, require
from neural_plasticity.heads import HeadId
from neural_plasticity.record.events import Evaluation, Operation
from neural_plasticity.record.folder import DESCRIPTION
from neural_plasticity.record.run import Run

if TYPE_CHECKING:  # pandas takes longer to load than to draw a picture
    from pandas import DataFrame


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
    """The rows of a run, or of every run in a folder; runs that pruned nothing are left out, unless all are such."""
    inside = [] if (folder / DESCRIPTION).exists() else [Run(path.parent) for path in sorted(folder.glob(f"*/{DESCRIPTION}"))]
    runs = [run for run in inside if _pruned(run)] or inside or [Run(folder)]
    return [row for run in runs for row in rows_of_run(run)]


def _pruned(run: Run) -> bool:
    return any(event.stage == "pruned" for event in run.events(Evaluation))


def rows_of_cycles(run: Run) -> list[dict[str, Any]]:
    """The three stages of every cycle of a run, each at the level that it reached; where several reached the same, of the last.

    The baseline is that of the whole run, so that recovery says how much of all harm so far was undone.
    """
    shared, found = _stages(run)
    baseline = found[0].get("warm", found[0].get("baseline", nan))
    total, gone = _heads(run), set[HeadId]()
    by_level: dict[float, list[dict[str, Any]]] = {}
    for cycle in sorted(cycle for cycle in found if "pruned" in found[cycle]):
        for event in run.events(Operation):
            if (event.cycle or 0) == cycle:
                gone = gone | set(event.heads) if event.action == "prune" else gone - set(event.heads)
        level = round(len(gone) / total, 4) if total else shared["pruning_level"]
        stages = found[cycle] | {"baseline": baseline}
        own = shared | {"pruning_level": level, "cycle": cycle}
        by_level[level] = [own | {"stage": stage, "perplexity": stages[stage]} for stage in STAGES if stage in stages]
    return [row for rows in by_level.values() for row in rows]


def _heads(run: Run) -> int:
    """How many heads the model had."""
    sites = (run.description.get("anatomy") or {}).get("sites") or []
    return sum(int(site.get("heads", 0)) for site in sites)


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
    """The three stages of a run: what it began with, after its warm-up if it had one, and its last pruning and fine-tuning."""
    shared, by_cycle = _stages(run)
    found = {stage: value for _, stages in sorted(by_cycle.items()) for stage, value in stages.items()}
    found["baseline"] = found.get("warm", found.get("baseline", nan))  # what the text itself taught is no recovery
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
