"""The one coercion: whatever holds numbers, as float64 arrays. Torch tensors are known by what they can do, not by their class."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from neural_plasticity.errors import SettingNotUsable, said
from neural_plasticity.heads import HeadGrid, HeadId

Floats = NDArray[np.float64]

_LARGEST = 1e100
# What numpy and torch say of contents that are no numbers, of tensors without contents, and of numbers beyond float64.
_UNREADABLE = (TypeError, ValueError, RuntimeError, OverflowError)


@dataclass(frozen=True, eq=False)
class Grid:
    """A number for each head: rows are the layers that `layers` names, NaN where there is none."""

    values: Floats
    layers: tuple[int, ...]
    label: str = ""

    @property
    def heads(self) -> int:
        """How many heads the widest layer has."""
        return self.values.shape[1]

    def row(self, head: HeadId) -> int:
        """The row that this head's layer stands in."""
        return self.layers.index(head.layer)

    def __getitem__(self, head: HeadId) -> float:
        return float(self.values[self.row(head), head.head])

    def __contains__(self, head: HeadId) -> bool:
        return head.layer in self.layers and 0 <= head.head < self.heads

    def known(self) -> list[HeadId]:
        """Every head that has a number, layer by layer."""
        return [HeadId(self.layers[row], head) for row, head in np.argwhere(~np.isnan(self.values)).tolist()]


def array_of(numbers: Any, name: str) -> Floats:
    """Numbers of any kind as a float64 array of the shape that they have."""
    if isinstance(numbers, HeadGrid):
        return _within_reach(numbers.values)
    if hasattr(numbers, "detach") and hasattr(numbers, "cpu"):  # a torch tensor; bfloat16 and MPS need the way round
        numbers = _of_tensor(numbers, name)
    try:
        read = np.asarray(numbers)
        found = None if read.dtype.kind in "cSUMm" else read.astype(np.float64)
    except _UNREADABLE as fault:
        raise SettingNotUsable(f"{name} cannot be read as numbers ({said(fault)}); pass a tensor, an array or lists.") from fault
    if found is None:
        raise SettingNotUsable(f"{name} cannot be read as numbers (it holds {read.dtype}); pass a tensor, an array or lists.")
    return _within_reach(found)


def _within_reach(numbers: Floats) -> Floats:
    """No axis can hold numbers whose ratios and differences overflow: the largest count as infinite, the smallest as 0."""
    size = np.abs(numbers)
    return np.where(size > _LARGEST, np.copysign(np.inf, numbers), np.where(size < 1 / _LARGEST, 0.0, numbers))


def _of_tensor(tensor: Any, name: str) -> Any:
    try:
        here = tensor.detach().cpu().to_dense()
        found = None if here.is_complex() else here.double().numpy()
    except (RuntimeError, TypeError, AttributeError) as fault:  # AttributeError: something else that can be detached
        raise SettingNotUsable(f"{name} is a tensor that cannot be read ({said(fault)}); pass one with numbers in it.") from fault
    if found is None:
        raise SettingNotUsable(f"{name} is a tensor of complex numbers; pass one of real numbers.")
    return found


def grid_of(numbers: Any, name: str) -> Grid:
    """A number for each head from a tensor, an array, a `HeadGrid`, lists (also uneven ones), or a dict by layer."""
    if isinstance(numbers, Grid):
        return numbers
    label = numbers.label if isinstance(numbers, HeadGrid) else ""
    if isinstance(numbers, Mapping):
        by_layer = _by_layer(cast("Mapping[Any, Any]", numbers), name)
        layers = tuple(sorted(by_layer))
        values = _rows([by_layer[layer] for layer in layers], name)
    elif isinstance(numbers, (list, tuple)):
        rows = cast("Sequence[Any]", numbers)
        values = array_of([rows], name) if rows and all(_is_number(row) for row in rows) else _rows(rows, name)
        layers = tuple(range(len(values)))
    else:
        values = array_of(numbers, name)
        values = values[None] if values.ndim == 1 else values
        layers = tuple(range(len(values))) if values.ndim else ()
    if values.ndim != 2 or not values.size:
        raise SettingNotUsable(f"{name} has shape {_shape(values.shape)}; it is layers × heads, with at least one head.")
    return Grid(values, layers, label)


def like(numbers: Any, name: str, grid: Grid, whose: str) -> Grid:
    """A grid of the same heads as another."""
    found = grid_of(numbers, name)
    if found.values.shape != grid.values.shape or found.layers != grid.layers:
        raise SettingNotUsable(
            f"{name} has shape {_shape(found.values.shape)} and {whose} {_shape(grid.values.shape)}; "
            "give both for the same layers × heads."
        )
    return found


def heads_of(heads: Any, name: str, grid: Grid) -> list[HeadId]:
    """Heads named as (layer, head), or marked True in a mask of the grid's shape; all must be in the grid."""
    if heads is None:
        return []
    if isinstance(heads, (str, bytes, int, float)) or not (hasattr(heads, "__len__") or isinstance(heads, Iterable)):
        raise _no_heads(name, repr(heads)[:60])
    unordered = isinstance(heads, (set, frozenset)) or not hasattr(heads, "__len__")
    found = array_of(list(cast("Iterable[Any]", heads)) if unordered else heads, name)
    if _is_mask(heads, found, grid):
        return [HeadId(grid.layers[row], head) for row, head in np.argwhere(found != 0).tolist()]
    if not found.size:
        return []
    if found.ndim != 2 or found.shape[1] != 2 or not np.isfinite(found).all() or not np.array_equal(found, np.floor(found)):
        raise _no_heads(name, f"of shape {_shape(found.shape)}")
    chosen = list(dict.fromkeys(HeadId(int(layer), int(head)) for layer, head in found.tolist()))
    chosen = sorted(chosen) if isinstance(heads, (set, frozenset)) else chosen  # a set has an order of its own on every day
    for head in chosen:
        if head not in grid:
            raise SettingNotUsable(
                f"{name} names head {head}, and there are layers {_span(grid.layers)} of {grid.heads} heads; name heads of these."
            )
    return chosen


def series_of(numbers: Any, name: str) -> Floats:
    """Numbers in a row, NaN for None."""
    if isinstance(numbers, (list, tuple)):
        numbers = [_number_of(each, name) for each in cast("Sequence[Any]", numbers)]
    found = array_of(numbers, name)
    found = found[None] if found.ndim == 0 else found
    if found.ndim != 1:
        raise SettingNotUsable(f"{name} has shape {_shape(found.shape)}; it is one number after another.")
    return found


def _number_of(each: Any, name: str) -> float | None:
    """One number of a series, None where there is none."""
    try:
        if each is None or _is_number(each):
            return None if each is None else float(each)
        fault = None
    except _UNREADABLE as refusal:  # a tensor without contents, a letter of numpy's, a number beyond float64
        fault = refusal
    raise SettingNotUsable(f"{name} holds {each!r:.60}; it is one number after another, None where there is none.") from fault


def _rows(rows: Sequence[Any], name: str) -> Floats:
    arrays = [array_of(row, f"{name}, layer {layer},") for layer, row in enumerate(rows)]
    wrong = next((array.shape for array in arrays if array.ndim != 1), None)
    if wrong is not None:
        raise SettingNotUsable(f"{name} has a layer of shape {_shape(wrong)}; each layer is one number for each head.")
    return np.array(HeadGrid.from_layers([array.tolist() for array in arrays]).values)


def _is_mask(heads: Any, found: Floats, grid: Grid) -> bool:
    """Whether these are True and False, one for each head, and not pairs of numbers."""
    if found.shape != grid.values.shape:
        return False
    kind = str(getattr(heads, "dtype", ""))
    first: Any = heads[0][0] if isinstance(heads, (list, tuple)) and found.size else None
    return "bool" in kind or isinstance(first, (bool, np.bool_))


def _is_number(value: Any) -> bool:
    """One number: a plain one, or an array or tensor that holds just one without an axis."""
    return isinstance(value, Real) or (hasattr(value, "shape") and len(value.shape) == 0) or isinstance(value, np.generic)


def _by_layer(named: Mapping[Any, Any], name: str) -> dict[int, Any]:
    """The values by the numbers of their layers."""
    found: dict[int, Any] = {}
    for key, value in named.items():
        layer = _layer(key)
        if layer is None:
            raise SettingNotUsable(f"{name} has a key {key!r:.60}; the keys of a dict by layer are the layers' numbers.")
        if layer in found:
            raise SettingNotUsable(f"{name} has two keys for layer {layer}, of which {key!r:.60} is one; name each layer once.")
        found[layer] = value
    return found


def _layer(key: Any) -> int | None:
    """The number that a key is, or the one number in its name; None where that is not clear."""
    if isinstance(key, str):
        numbers = re.findall(r"\d+", key)
        return int(numbers[0]) if len(numbers) == 1 and not key.lstrip().startswith("-") else None
    if isinstance(key, bool) or not isinstance(key, (int, float, np.integer, np.floating)):
        return None
    number = float(key)
    return int(number) if number >= 0 and number.is_integer() else None


def _no_heads(name: str, seen: str) -> SettingNotUsable:
    return SettingNotUsable(f"{name} is {seen}; it is a list of (layer, head), or a mask of layers × heads.")


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "()"


def _span(layers: tuple[int, ...]) -> str:
    return f"{min(layers)} to {max(layers)}" if len(layers) > 1 else str(*layers)
