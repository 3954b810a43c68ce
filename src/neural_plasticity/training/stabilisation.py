"""Whether a loss has settled: from the losses alone, with the doubt that their noise leaves.

A line through the latest losses says how much a further window of steps would change the loss, and its standard
error how far to trust that. The shortest look-back that can tell decides: noisy losses are looked at over more
steps, until the change is surely within the tolerance, or surely not.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neural_plasticity.errors import SettingNotUsable

WINDOW = 20
TOLERANCE = 0.01
PATIENCE = 10
FARTHEST = 16  # windows; what lies behind them says nothing about now
DOUBT = 1.5  # standard errors
# Neighbouring medians of three share losses, so their trend is less sure than that of as many independent numbers:
# by this factor in variance, simulated for normal noise (2.73 over 20 of them, 2.63 over 160).
SHARED = 2.7
SEGMENTS = 5
DEGREE = 3

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of steps, counted from 1, both ends included: the line through its losses, and how they scatter around it."""

    start: int
    end: int
    slope: float
    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Stabilisation:
    """What losses say of their own settling.

    `smoothed` and `fit`, a cubic, have a value for every loss. `step`, counted from 1, is where the loss was first
    called settled and has been ever since.
    """

    smoothed: tuple[float, ...]
    is_stable: bool
    step: int | None
    fit: tuple[float, ...]
    segments: tuple[Segment, ...]

    def as_results(self, losses: Sequence[float], duration: float) -> dict[str, Any]:
        """The plain results of a warm-up with these losses, which took so many seconds; NaN where there was no loss."""
        first, last = (float(losses[0]), float(losses[-1])) if len(losses) else (math.nan, math.nan)
        return {
            "losses": [float(loss) for loss in losses],
            "smoothed_losses": list(self.smoothed),
            "total_steps": len(losses),
            "duration": duration,
            "initial_loss": first,
            "final_loss": last,
            "improvement_percent": 100 * (first - last) / abs(first) if first else math.nan,
            "is_stable": self.is_stable,
            "stabilization_step": self.step,
            "polynomial_fit": list(self.fit),
            "segment_analysis": [asdict(segment) for segment in self.segments],
        }


class Settling:
    """Told one loss after the other, knows at every step whether the loss has settled.

    Settled is what would change by no more than `tolerance`, as a share of the loss, over a further `window` of
    steps, up or down, and was so at `patience` steps in a row.
    """

    def __init__(self, *, window: int = WINDOW, tolerance: float = TOLERANCE, patience: int = PATIENCE) -> None:
        _require("window", window, window >= 4 and window == int(window), "a whole number of at least 4")
        _require("tolerance", tolerance, 0 < tolerance < math.inf, "above 0")
        _require("patience", patience, patience >= 1 and patience == int(patience), "a whole number of at least 1")
        self._window, self._tolerance, self._patience = int(window), tolerance, int(patience)
        self._latest: deque[float] = deque(maxlen=3)
        self._quiet: deque[float] = deque(maxlen=FARTHEST * self._window)
        self._steps = self._held = 0

    def add(self, loss: float) -> bool:
        """Whether the loss has settled with this one."""
        if not math.isfinite(loss):
            raise SettingNotUsable(
                f"Loss {self._steps + 1} is {loss}, which settles nowhere; stop at the first that is not finite."
            )
        self._steps += 1
        self._latest.append(float(loss))
        if len(self._latest) == 3:  # a median of three: one loss that stands alone counts for nothing
            self._quiet.append(sorted(self._latest)[1])
        self._held = self._held + 1 if _is_level(np.array(self._quiet), self._window, self._tolerance) else 0
        return self.is_stable

    @property
    def is_stable(self) -> bool:
        """Whether the loss has settled by now."""
        return self._held >= self._patience

    @property
    def step(self) -> int | None:
        """The step, counted from 1, from which on the loss has been called settled until now."""
        return self._steps - self._held + self._patience if self.is_stable else None


def stabilisation(
    losses: Sequence[float], *, window: int = WINDOW, tolerance: float = TOLERANCE, patience: int = PATIENCE
) -> Stabilisation:
    """Whether and where losses have settled, their smoothed trend, a polynomial through them, and segment by segment."""
    settling = Settling(window=window, tolerance=tolerance, patience=patience)
    for loss in losses:
        settling.add(loss)
    values = np.array(losses, dtype=np.float64)
    return Stabilisation(
        smoothed=tuple(_smoothed(values, window).tolist()),
        is_stable=settling.is_stable,
        step=settling.step,
        fit=tuple(_fit(values).tolist()),
        segments=tuple(_segments(values)),
    )


def _is_level(quiet: Floats, window: int, tolerance: float) -> bool:
    """Whether a further window of steps would change the loss by no more than the tolerance."""
    for length in _look_backs(window, len(quiet)):
        recent = quiet[-length:]
        slope, mean, variance = _line(recent)
        change = abs(slope) * window
        doubt = DOUBT * math.sqrt(SHARED * variance / _spread(length)) * window
        allowed = tolerance * abs(mean)
        if change + doubt <= allowed:
            return True
        if change - doubt > allowed:
            return False
    return False


def _look_backs(window: int, most: int) -> Iterator[int]:
    """Lengths from one window on, each by half or a third longer than the one before."""
    length = window
    while length <= most:
        yield length
        if length + length // 2 <= most:
            yield length + length // 2
        length *= 2


def _spread(length: int) -> float:
    """The sum of squares of so many consecutive steps around their middle."""
    return length * (length**2 - 1) / 12


def _line(values: Floats) -> tuple[float, float, float]:
    """The least-squares line through values one step apart: slope, mean, and the variance around it."""
    length = len(values)
    if length < 3:
        return (float(values[-1] - values[0]) if length == 2 else 0.0), float(values.mean()), 0.0
    steps = np.arange(length) - (length - 1) / 2
    mean = float(values.mean())
    around = values - mean
    slope = float(steps @ around) / _spread(length)
    left = around - slope * steps
    return slope, mean, float(left @ left) / (length - 2)


def _smoothed(values: Floats, window: int) -> Floats:
    """Means over a window around each step; narrower towards the ends, so that these do not lag."""
    steps = np.arange(len(values))
    reach = np.minimum(window // 2, np.minimum(steps, len(values) - 1 - steps))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[steps + reach + 1] - sums[steps - reach]) / (2 * reach + 1)


def _fit(values: Floats) -> Floats:
    """The cubic through the values, at every step."""
    if len(values) < 2:
        return values.copy()
    steps = np.arange(len(values), dtype=np.float64)
    return np.polynomial.Polynomial.fit(steps, values, min(DEGREE, len(values) - 1))(steps)


def _segments(values: Floats) -> Iterator[Segment]:
    """Runs of the same length, as far as that goes."""
    start = 0
    for run in np.array_split(values, min(SEGMENTS, len(values))) if len(values) else []:
        slope, mean, variance = _line(run)
        yield Segment(start + 1, start + len(run), slope, mean, math.sqrt(variance))
        start += len(run)


def _require(name: str, value: float, usable: bool, needed: str) -> None:
    if not usable:
        raise SettingNotUsable(f"The {name} of a settling is {value!r:.40}; it must be {needed}.")
