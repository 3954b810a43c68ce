"""The words for heads: who one is, what state it is in, and one number for each of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class HeadId(NamedTuple):
    """One attention head by its place in the original model; kept for life."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"{self.layer}.{self.head}"


class HeadState(StrEnum):
    """What has become of a head."""

    ACTIVE = "active"
    DORMANT = "dormant"
    REMOVED = "removed"
    REVIVED = "revived"
    GROWN = "grown"


@dataclass(frozen=True, eq=False)
class HeadGrid:
    """One float per head: layers × heads, NaN where a layer has no such head."""

    values: NDArray[np.float64]
    label: str = ""

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        if values.ndim != 2:
            raise ValueError(f"A head grid is layers × heads, so it has two dimensions, not {values.ndim} ({values.shape}).")
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    @classmethod
    def from_layers(cls, layers: Sequence[Sequence[float]], label: str = "") -> "HeadGrid":
        """A grid from one row per layer; shorter rows are layers with fewer heads."""
        values = np.full((len(layers), max((len(row) for row in layers), default=0)), np.nan)
        for layer, row in enumerate(layers):
            values[layer, : len(row)] = row
        return cls(values, label)

    def __getitem__(self, head: tuple[int, int]) -> float:
        return float(self.values[head])

    def items(self) -> Iterator[tuple[HeadId, float]]:
        """Every head that is there, with its number, layer by layer."""
        for layer, head in np.argwhere(~np.isnan(self.values)).tolist():
            yield HeadId(layer, head), float(self.values[layer, head])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HeadGrid):
            return NotImplemented
        return self.label == other.label and np.array_equal(self.values, other.values, equal_nan=True)

    __hash__ = None  # type: ignore[assignment]  # holds an array
