"""Scales that hide nothing: from which number to which, how they are divided, and how their numbers are written."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import Formatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator, ScalarFormatter

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.coerce import Floats
from neural_plasticity.figures.lettering import number

_FAR = 6.0  # times the width of the middle half: how far off a value must lie to count as far
_FLATTENED = 20.0  # how many times wider than the middle nine tenths all values must be, for these to look flat


@dataclass(frozen=True, slots=True)
class Colours:
    """Which number the first colour stands for and which the last; `beyond` says on which side there are values past them."""

    low: float
    high: float
    beyond: str = "neither"


def colours_of(values: Floats, low: float | None = None, high: float | None = None, *, signed: bool = False) -> Colours:
    """Limits of colours by robust quantiles: a few values far off do not make all others look alike."""
    known = values[np.isfinite(values)]
    if not known.size:
        known = np.array([0.0, 1.0])
    inner_low, inner_high = _inner(known)
    if signed:
        reach = max(abs(inner_low), abs(inner_high)) or 1.0
        inner_low, inner_high = -reach, reach
    low = inner_low if low is None else low
    high = inner_high if high is None else high
    if not high > low:  # all alike, or all at the lowest
        high = low + (abs(low) or 1.0)
    return Colours(low, high, _beyond(values, low, high))


def _inner(known: Floats) -> tuple[float, float]:
    """The least and the largest value that do not lie far from the middle half."""
    first, third = np.quantile(known, [0.25, 0.75])
    far = _FAR * (third - first)
    near = known[(known >= first - far) & (known <= third + far)] if far > 0 else known
    return float(near.min()), float(near.max())


def _beyond(values: Floats, low: float, high: float) -> str:
    with np.errstate(invalid="ignore"):
        slack = 1e-9 * (high - low)
        under, over = bool((values < low - slack).any()), bool((values > high + slack).any())
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((under, over), "neither")


def upright(axes: Axes, series: Iterable[Floats], *, zero: bool = False, log: bool | None = None, whole: bool = False) -> None:
    """The y axis from the least to the largest number, never clipped and never inverted.

    Where a few numbers would flatten all others, and all are above 0, it is divided by their logarithms.
    """
    known = [each[np.isfinite(each)] for each in series]
    values = np.concatenate([np.empty(0), *known])
    if not values.size:
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_locator(NullLocator())
        return
    if log if log is not None else (not zero and _flattens(values)):
        _logarithmic(axes, values)
        return
    low, high = float(values.min()), float(values.max())
    low, high = (min(low, 0.0), max(high, 0.0)) if zero else (low, high)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    axes.set_ylim(low if zero and low == 0 else low - room, high if zero and high == 0 and low < 0 else high + room)
    plain_numbers(axes.yaxis, whole=whole)


def _flattens(values: Floats) -> bool:
    if values.min() <= 0:
        return False
    low, high = np.quantile(values, [0.05, 0.95])
    return bool(values.max() > 50 * values.min() and values.max() - values.min() > _FLATTENED * (high - low)) or bool(
        values.max() > 1000 * values.min()
    )


def _logarithmic(axes: Axes, values: Floats) -> None:
    low, high = float(values.min()), float(values.max())
    room = (high / low) ** 0.06 if high > low else 1.5
    axes.set_yscale("log")
    axes.set_ylim(low / room, high * room)
    decades = np.log10(high / low)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > 2.5 else (1.0, 2.0, 5.0), numticks=9))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(NullLocator())


def plain_numbers(axis: Axis, *, whole: bool = False) -> None:
    """Ticks at round numbers, few enough to be read and without formulas."""
    axis.set_major_locator(MaxNLocator(nbins=5, integer=whole, steps=[1, 2, 2.5, 5, 10], min_n_ticks=2))
    axis.set_major_formatter(plain_formatter())


class _Plain(ScalarFormatter):
    """Numbers without formulas, thousands set apart as everywhere else."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        text = super().__call__(x, pos)
        return f"{x:,.0f}" if abs(x) >= 1e4 and not self.get_offset() else text.replace("\N{MINUS SIGN}", "-")


def plain_formatter() -> Formatter:
    """Numbers as plain letters, with a power of ten at the end of the axis only where they are very small or large."""
    formatter = _Plain(useOffset=False, useMathText=False, useLocale=False)
    formatter.set_powerlimits((-3, 6))
    return formatter


def numbered(axis: Axis, labels: list[str], room: float, each: float, places: list[float] | None = None) -> None:
    """Labels at 0, 1, 2 … or at these places, as many as fit the room where each takes so much; the steps are round."""
    step = next((step for step in _STEPS if len(labels) / step * each <= room), len(labels))
    chosen = range(0, len(labels), step)
    at = [float(place) if places is None else places[place] for place in chosen]
    axis.set_ticks(at, [labels[place] for place in chosen], parse_math=False)


_STEPS = (1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 200, 250, 256, 500, 512, 1000, 1024, 2000, 2048, 4096)


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def whole_positive(value: int, name: str) -> int:
    """A count as it is; anything else is refused."""
    if not _is_whole(value) or value < 1:
        raise SettingNotUsable(f"{name} is {value!r:.60}; it must be a whole number of at least 1.")
    return value
