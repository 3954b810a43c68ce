"""Everything that can happen in a run, as frozen dataclasses; docs/record.md describes each.

An event is plain data. Arrays do not stand in it: they lie in the safetensors file that its
field `tensors` names, which the writer fills in after that file is safely on disk.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from neural_plasticity.heads import HeadId

SCHEMA = 1  # raised when a reader of the last version could not read what is written now


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened; `kind` is its name in the file."""

    kind: ClassVar[str] = ""
    tensors: str | None = None


KINDS: dict[str, type[Event]] = {}
E_ = TypeVar("E_", bound=type[Event])


def _kind(name: str) -> Callable[[E_], E_]:
    """Give an event class its name in the file."""

    def enrol(event: E_) -> E_:
        event.kind = name
        KINDS[name] = event
        return event

    return enrol


def _empty() -> dict[str, float]:
    return {}


@_kind("run")
@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """A run began, or went on after a stop."""

    name: str
    job: str
    resumed: bool = False


@_kind("phase")
@dataclass(frozen=True, kw_only=True)
class PhaseStarted(Event):
    """A phase began; `steps` is how many it plans, where that is known.

    Where heads learn at rates of their own, the tensors hold `rates`: the multiplier of each, layers × heads.
    """

    phase: str
    cycle: int | None = None
    steps: int | None = None


@_kind("metrics")
@dataclass(frozen=True, kw_only=True)
class Metrics(Event):
    """Numbers of one training or evaluation step."""

    step: int
    values: Mapping[str, float]
    epoch: float | None = None


@_kind("heads")
@dataclass(frozen=True, kw_only=True)
class HeadsMeasured(Event):
    """Signals were measured; the tensors hold one layers × heads grid for each."""

    signals: tuple[str, ...]
    cycle: int | None = None
    step: int | None = None
    path: str | None = None


@_kind("decision")
@dataclass(frozen=True, kw_only=True)
class DecisionMade(Event):
    """One head, what will happen to it, and why."""

    head: HeadId
    action: str
    score: float
    rank: int
    threshold: float
    reason: str
    strategy: str
    cycle: int | None = None


@_kind("operation")
@dataclass(frozen=True, kw_only=True)
class Operation(Event):
    """The model was changed: which heads, how, what it weighs now, and how exactly it was proved."""

    action: str
    mode: str
    heads: tuple[HeadId, ...]
    before: Mapping[str, float] = field(default_factory=_empty)
    after: Mapping[str, float] = field(default_factory=_empty)
    largest_difference: float | None = None
    cycle: int | None = None


@_kind("sample")
@dataclass(frozen=True, kw_only=True)
class Sample(Event):
    """Text that the model wrote after a prompt."""

    prompt: str
    text: str
    seed: int
    stage: str
    cycle: int | None = None


@_kind("attention")
@dataclass(frozen=True, kw_only=True)
class Attention(Event):
    """Attention maps of chosen heads on one text; the tensors hold them by head."""

    heads: tuple[HeadId, ...]
    tokens: tuple[str, ...]
    stage: str
    cycle: int | None = None


@_kind("evaluation")
@dataclass(frozen=True, kw_only=True)
class Evaluation(Event):
    """What the model is worth on held-out text; the tensors hold the loss of every document."""

    stage: str
    values: Mapping[str, float]
    documents: tuple[str, ...] = ()
    cycle: int | None = None


@_kind("comparison")
@dataclass(frozen=True, kw_only=True)
class Compared(Event):
    """Two stages set side by side: quality document by document, speed pass by pass.

    `documents` are those that lost most, the worst first; the tensors hold the difference of every document.
    """

    before: str
    after: str
    values: Mapping[str, float]
    documents: tuple[str, ...] = ()
    method: str = ""


@_kind("notice")
@dataclass(frozen=True, kw_only=True)
class Notice(Event):
    """Something that a reader should know: what was left out, cut short or decided, and why.

    Where programs ask for it too, `about` names it: "settled" is the `step` that found the loss of a warm-up settled.
    """

    message: str
    cycle: int | None = None
    about: str | None = None
    step: int | None = None


@_kind("checkpoint")
@dataclass(frozen=True, kw_only=True)
class Checkpoint(Event):
    """All that resuming needs was saved in this folder, relative to the run."""

    folder: str
    step: int
    cycle: int | None = None


@_kind("request")
@dataclass(frozen=True, kw_only=True)
class Request(Event):
    """A viewer asked for something, and the experiment decided."""

    name: str
    wish: Mapping[str, Any]
    granted: bool
    answer: str


@_kind("finished")
@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """The run came to its end."""

    summary: Mapping[str, float] = field(default_factory=_empty)


@_kind("failed")
@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    """The run stopped early, and why."""

    error: str
    message: str
    phase: str | None = None
