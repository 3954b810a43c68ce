"""Histories of metrics as they come: a dict of columns, a list of rows, or a table."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.coerce import Floats, series_of


def columns_of(history: Any, name: str) -> dict[str, Any]:
    """The history as columns by name."""
    if history is None:
        return {}
    if hasattr(history, "columns") and hasattr(history, "to_dict"):  # a table of pandas
        return {str(key): value for key, value in history.to_dict("list").items()}
    if isinstance(history, Mapping):
        return {str(key): value for key, value in cast("Mapping[Any, Any]", history).items()}
    if isinstance(history, Iterable) and not isinstance(history, (str, bytes)):
        rows = list(cast("Iterable[Any]", history))
        if all(isinstance(row, Mapping) for row in rows):
            keys = dict.fromkeys(key for row in rows for key in row)
            return {str(key): [row.get(key) for row in rows] for key in keys}
    raise SettingNotUsable(f"{name} is a {type(history).__name__}; it is a dict of columns, a list of dicts, or a table.")


def rows_of(table: Any, name: str) -> list[dict[str, Any]]:
    """A table as rows."""
    columns = columns_of(table, name)
    lengths = {key: len(value) for key, value in columns.items()}
    if len(set(lengths.values())) > 1:
        raise SettingNotUsable(f"The columns of {name} differ in length ({_listed(lengths)}); give each as many rows.")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def history_of(history: Any, name: str, wanted: Sequence[str]) -> dict[str, Floats]:
    """The wanted columns that are there, as numbers in the order of their steps; `step` counts from 1 if it is missing."""
    columns = columns_of(history, name)
    found = {key: series_of(_counted(columns[key]), f"{name}['{key}']") for key in wanted if columns.get(key) is not None}
    lengths = {key: len(value) for key, value in found.items()}
    if len(set(lengths.values())) > 1:
        raise SettingNotUsable(
            f"The columns of {name} differ in length ({_listed(lengths)}); give None where a step has no number."
        )
    count = next(iter(lengths.values()), 0)
    steps = found.get("step", np.arange(1.0, count + 1))
    if not np.isfinite(steps).all():
        raise SettingNotUsable(f"{name}['step'] holds {steps[~np.isfinite(steps)][0]}; every row needs the step it belongs to.")
    order = np.argsort(steps, kind="stable")
    return {"step": steps[order]} | {key: value[order] for key, value in found.items() if key != "step"}


def _counted(column: Any) -> Any:
    """Lists of heads as how many they are; everything else as it is."""
    if isinstance(column, (list, tuple)) and any(isinstance(each, (list, tuple, set, frozenset)) for each in column):
        return [None if each is None else len(each) if hasattr(each, "__len__") else each for each in cast("Sequence[Any]", column)]
    return column


def _listed(lengths: Mapping[str, int]) -> str:
    return ", ".join(f"{key} {length}" for key, length in lengths.items())
