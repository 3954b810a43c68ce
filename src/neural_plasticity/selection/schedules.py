"""How the level is reached over cycles."""

from collections.abc import Callable
from dataclasses import dataclass

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.selection.amounts import share, whole
from neural_plasticity.selection.strategies import one_of


@dataclass(frozen=True)
class Stage:
    """What one cycle comes to: prune until `level` + `exchange` of the original heads are pruned, then regrow until `level` are."""

    level: float
    exchange: float = 0.0


def _one_shot(level: float, _time: float) -> float:
    """All in the first cycle; the later ones only train."""
    return level


def _iterative(level: float, time: float) -> float:
    """The same share of the heads that are left, in every cycle."""
    return 1 - (1 - level) ** time


def _linear(level: float, time: float) -> float:
    """The same number of heads in every cycle."""
    return level * time


def _cubic(level: float, time: float) -> float:
    """Fast at first, when there is most to spare, and ever slower: what is still to do falls with the cube of the time left."""
    return level * (1 - (1 - time) ** 3)


# The level after a share of the cycles.
SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "one_shot": _one_shot,
    "iterative": _iterative,
    "linear": _linear,
    "cubic": _cubic,
    "drop_and_grow": _one_shot,  # and from then on an exchange in every cycle
}
EXCHANGING = ("drop_and_grow",)


def stages(schedule: str, level: float, cycles: int, exchange: float = 0.05) -> tuple[Stage, ...]:
    """A stage for each cycle, the last one at `level`.

    Only `drop_and_grow` exchanges heads: from the second cycle on, as large a share of the original heads as `exchange`.
    """
    reach, wanted, number = one_of(schedule, SCHEDULES, "schedule"), share("level", level), whole("cycles", cycles, least=1)
    levels = [*(reach(wanted, cycle / number) for cycle in range(1, number)), wanted]
    if schedule not in EXCHANGING:
        return tuple(Stage(each) for each in levels)
    more, left = share("exchange", exchange), 1 - wanted
    if more == 0 or more > left + 1e-9:
        raise SettingNotUsable(
            f"At level {wanted:g}, {schedule} exchanges a share of all heads above 0 and up to {left:.3g}, not {more:g}; "
            "choose another exchange, or another level."
        )
    return (Stage(wanted), *(Stage(wanted, min(more, left)) for _ in levels[1:]))
