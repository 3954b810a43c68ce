"""What a strategy is, and where all of them are written down."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.plugins import load_plugins, require_free

GROUP = "neural_plasticity.strategies"

End = Literal["lowest", "highest"]
Scores: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]


class PruningStrategy(StrEnum):
    """The built-in ways to choose what goes; the same names serve everywhere."""

    GRADIENT = "gradient"
    ENTROPY = "entropy"
    RANDOM = "random"
    COMBINED = "combined"
    MAGNITUDE = "magnitude"
    TAYLOR = "taylor"
    FISHER = "fisher"
    ABLATION = "ablation"


DEFAULT = PruningStrategy.TAYLOR
DEFAULT_GROWTH = "gradient_sensitivity"


class Grids(dict[str, Scores]):
    """What a strategy sees: the numbers of each signal, layers × heads, and which heads there are, awake and wakeable.

    NaN stands where no head is, and, when it is asked what to prune, where a head sleeps.
    """

    def __init__(self, numbers: Mapping[str, Scores], there: Mask, awake: Mask, wakeable: Mask) -> None:
        super().__init__(numbers)
        self.there = there
        self.awake = awake
        self.wakeable = wakeable


Rate = Callable[[Grids, np.random.Generator], Scores]
R_ = TypeVar("R_", bound=Rate)


@dataclass(frozen=True, slots=True)
class Strategy:
    """How heads are chosen to be pruned: a score for each, and the end of the order that goes first.

    `score` is what the number is called where a decision is explained; the name of a signal where it is that.
    """

    name: str
    signals: tuple[str, ...]
    prunes: End
    says: str
    rate: Rate
    score: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class GrowthStrategy:
    """How sleeping heads are chosen to be woken: a score for each, and the end of the order that wakes first.

    Only what lies beyond `bound` wakes. `compares` says that the awake heads need numbers too, and `ties` which
    signal settles ties where it is given, the highest first.
    """

    name: str
    signals: tuple[str, ...]
    wakes: End
    says: str
    rate: Rate
    score: str
    unit: str = ""
    bound: float | None = None
    compares: bool = False
    ties: str = ""


STRATEGIES: dict[str, Strategy] = {}
GROWTH: dict[str, GrowthStrategy] = {}


def strategy(name: str, *, signals: tuple[str, ...], prunes: End, score: str = "", unit: str = "") -> Callable[[R_], R_]:
    """Enrol the function below as a way to prune; its docstring's first line says what goes."""

    def enrol(rate: R_) -> R_:
        require_free(name, STRATEGIES, "strategy", rate)
        STRATEGIES[name] = Strategy(name, *_declared(name, signals, prunes), _first_line(rate), rate, score or name, unit)
        return rate

    return enrol


def growth_strategy(
    name: str,
    *,
    signals: tuple[str, ...],
    wakes: End,
    score: str = "",
    unit: str = "",
    bound: float | None = None,
    compares: bool = False,
    ties: str = "",
) -> Callable[[R_], R_]:
    """Enrol the function below as a way to wake heads; its docstring's first line says which wake."""

    def enrol(rate: R_) -> R_:
        require_free(name, GROWTH, "growth strategy", rate)
        declared = _declared(name, signals, wakes)
        GROWTH[name] = GrowthStrategy(name, *declared, _first_line(rate), rate, score or name, unit, bound, compares, ties)
        return rate

    return enrol


def _declared(name: str, signals: tuple[str, ...], end: End) -> tuple[tuple[str, ...], End]:
    if end not in ("lowest", "highest"):
        raise SettingNotUsable(f"The strategy {name} declares that the {end!r:.40} go first; declare 'lowest' or 'highest'.")
    if isinstance(signals, str):  # ("taylor") is a string too, and would be read letter by letter
        signals = (signals,)
    return tuple(signals), end


def _first_line(rate: Rate) -> str:
    return (rate.__doc__ or "").strip().partition("\n")[0]


def strategies() -> dict[str, Strategy]:
    """Every way to prune there is, by name: the built-in ones, and those of installed plugins."""
    load_plugins(GROUP, "strategies")
    return dict(sorted(STRATEGIES.items()))


def growth_strategies() -> dict[str, GrowthStrategy]:
    """Every way to wake heads there is, by name: the built-in ones, and those of installed plugins."""
    load_plugins(GROUP, "strategies")
    return dict(sorted(GROWTH.items()))


def strategy_of(name: str) -> Strategy:
    """The way to prune of this name."""
    return one_of(name, strategies(), "strategy")


def growth_strategy_of(name: str) -> GrowthStrategy:
    """The way to wake heads of this name."""
    return one_of(name, growth_strategies(), "growth strategy")


T_ = TypeVar("T_")


def one_of(name: object, known: Mapping[str, T_], what: str) -> T_:
    """What stands under this name, or a refusal that lists the names, the closest first."""
    found = known.get(name) if isinstance(name, str) else None
    if found is None:
        wanted = str(name).lower()
        closest = sorted(known, key=lambda each: (-SequenceMatcher(None, wanted, each).ratio(), each))
        raise SettingNotUsable(f"There is no {what} {str(name)!r:.60}; choose one of {', '.join(closest)}.")
    return found
