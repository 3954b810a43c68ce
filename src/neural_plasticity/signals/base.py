"""What a signal is, and where all of them are written down."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Flag, auto
from typing import Any

from torch import Tensor

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.plugins import load_plugins, require_free

GROUP = "neural_plasticity.signals"


class Needs(Flag):
    """What a signal wants from the pass, and with it what its function is given."""

    ATTENTION = auto()  # an `Attended` for every call of attention
    DISTANCE = auto()  # with it, how far each query looks
    EVERY_WEIGHT = auto()  # with it, every single weight, block by block
    OUTPUT = auto()  # a `Heard` for every call of attention
    GATES = auto()  # each sample's slopes of the loss by the heads' gates, samples × heads
    DORMANT = auto()  # the same, of heads that are closed
    WEIGHTS = auto()  # once, at the end: the pieces of weight of each head
    GRADIENTS = auto()  # once, at the end: the gradients of these pieces
    LESIONS = auto()  # the loss with each head left out, less the loss with it


FROM_ATTENTION = Needs.ATTENTION | Needs.DISTANCE | Needs.EVERY_WEIGHT
FROM_OUTPUT = Needs.OUTPUT | Needs.GATES | Needs.DORMANT


@dataclass(frozen=True, slots=True)
class Signal:
    """A number for each head: what it needs from the pass, how it is read there, and how what was read is summed up.

    `read` gives a value for every query, sample or head. The values of real queries (or of samples, each by its
    number of tokens) are added up over all calls, batches and ranks, and `finish` makes of (sum, number) the
    result for each head. A signal that is `summed` adds up by itself: its values are added as they are.
    """

    name: str
    unit: str
    says: str
    needs: Needs
    read: Callable[[Any], Tensor]
    finish: Callable[[Tensor, Tensor], Tensor]
    summed: bool = False


SIGNALS: dict[str, Signal] = {}


def mean(total: Tensor, number: Tensor) -> Tensor:
    """The sum over what was added up, by its number."""
    return total / number


def signal(
    name: str,
    *,
    needs: Needs,
    unit: str,
    finish: Callable[[Tensor, Tensor], Tensor] = mean,
    summed: bool = False,
) -> Callable[[Callable[[Any], Tensor]], Callable[[Any], Tensor]]:
    """Enrol the function below as a signal; its docstring's first line says what the number is."""

    def enrol(read: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
        require_free(name, SIGNALS, "signal", read)
        says = (read.__doc__ or "").strip().partition("\n")[0]
        SIGNALS[name] = Signal(name, unit, says, needs, read, finish, summed)
        return read

    return enrol


def signals() -> dict[str, Signal]:
    """Every signal there is, by name: the built-in ones, and those of installed plugins."""
    load_plugins(GROUP, "signals")
    return dict(sorted(SIGNALS.items()))


def chosen(names: Iterable[str]) -> list[Signal]:
    """The signals of these names, each once."""
    if isinstance(names, str):
        names = [names]
    known = signals()
    found = []
    for name in dict.fromkeys(names):
        if name not in known:
            near = get_close_matches(str(name), known, 1)
            hint = f"did you mean {near[0]}?" if near else "choose one of them"
            raise SettingNotUsable(f"There is no signal '{name}'; known are {', '.join(known)}: {hint}")
        found.append(known[name])
    return found
