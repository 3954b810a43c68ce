"""A run as its pictures need it: what was measured in each cycle, what was learned step by step, what befell each head."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.coerce import Floats, Grid
from neural_plasticity.heads import HeadId
from neural_plasticity.record.events import (
    Attention,
    DecisionMade,
    Evaluation,
    Event,
    Finished,
    HeadsMeasured,
    Metrics,
    Notice,
    Operation,
    PhaseStarted,
)
from neural_plasticity.record.folder import runs_in
from neural_plasticity.record.run import Entry, Run

LEARNING = ("warm-up", "fine-tuning")
ACTIONS = {"prune": "pruned", "revive": "revived", "grow": "grown", "forget": "removed"}
_AWAKE = ("active", "revived", "grown")

E_ = TypeVar("E_", bound=Event)


class Course(NamedTuple):
    """A stretch of learning: what was recorded of its steps, and how many steps had been taken before it."""

    phase: str
    cycle: int | None
    before: int
    began: float
    rows: list[tuple[float, Metrics]]

    @property
    def losses(self) -> list[float]:
        """The loss of each step."""
        return [row.values["train_loss"] for _, row in self.rows if "train_loss" in row.values]

    @property
    def duration(self) -> float:
        """How long it took, in seconds."""
        return self.rows[-1][0] - self.began if self.rows else 0.0


class Turn(NamedTuple):
    """What befell a head, when, and why."""

    cycle: int
    became: str
    reason: str


class Seen(NamedTuple):
    """The attention of some heads at one moment of a run."""

    when: str
    tokens: tuple[str, ...]
    maps: dict[HeadId, Floats]


class Reading(NamedTuple):
    """A grid that was measured, and the words that say when."""

    grid: Grid
    cycle: int
    when: str


@dataclass(frozen=True)
class Chronicle:
    """One run, its events read once."""

    run: Run
    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, run: Any) -> "Chronicle":
        """The chronicle of a run: its folder, a `Run`, or an experiment or outcome that has one."""
        if isinstance(run, Chronicle):
            return run
        found = run_of(run)
        return cls(found, tuple(found.entries()))

    def events(self, kind: type[E_]) -> list[E_]:
        """All events of one kind, in order."""
        return [entry.event for entry in self.entries if isinstance(entry.event, kind)]

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """What was asked of the run."""
        named = self.run.description.get("settings")
        return cast("Mapping[str, Any]", named) if isinstance(named, dict) else {}

    @property
    def model(self) -> str:
        """The name of the model."""
        return str(self.settings.get("model") or self.run.name)

    @property
    def seen(self) -> str:
        """What the run holds, in words: every kind of event, and the signals measured."""
        kinds = ", ".join(dict.fromkeys(entry.event.kind for entry in self.entries)) or "no events"
        return f"{kinds} (signals: {', '.join(self.signals)})" if self.signals else kinds

    @cached_property
    def signals(self) -> tuple[str, ...]:
        """Every signal that was measured."""
        return tuple(dict.fromkeys(signal for event in self.events(HeadsMeasured) for signal in event.signals))

    def grids(self, signal: str) -> dict[int, Grid]:
        """What was measured of one signal, by cycle; 0 for what belongs to none."""
        events = [event for event in self.events(HeadsMeasured) if signal in event.signals]
        return {event.cycle or 0: self._grid(event, signal) for event in events}

    def _grid(self, event: HeadsMeasured, signal: str) -> Grid:
        values = np.asarray(self.run.tensors(event)[signal], dtype=np.float64)
        return Grid(values, tuple(range(len(values))), signal)

    def grid(self, signal: str, cycle: int | None = None) -> Reading:
        """One signal in one cycle, the last in which it was measured if none is named."""
        grids = self.grids(signal)
        if not grids or (cycle is not None and cycle not in grids):
            there = ", ".join(map(str, sorted(grids))) or "none"
            raise SettingNotUsable(
                f"{self.run.name} has no {signal} of cycle {cycle}; it was measured in cycle {there}, and the signals are "
                f"{', '.join(self.signals) or 'none'}."
            )
        chosen = max(grids) if cycle is None else cycle
        return Reading(grids[chosen], chosen, f", {moment(chosen)}" if max(grids) > 1 else "")

    def together(self, signals: Iterable[str]) -> int | None:
        """The last cycle in which all these signals were measured; None where there is none."""
        measured = self.events(HeadsMeasured)
        cycles = [{event.cycle or 0 for event in measured if signal in event.signals} for signal in signals]
        return max(set[int].intersection(*cycles), default=None) if cycles else None

    @cached_property
    def heads(self) -> tuple[HeadId, ...]:
        """Every head of the model as it was, from the anatomy in the run's description, else from what was measured."""
        sites: Any = cast("dict[str, Any]", self.run.description.get("anatomy") or {}).get("sites") or ()
        try:
            named = [HeadId(int(site["layer"]), head) for site in sites for head in range(int(site["heads"]))]
        except (TypeError, KeyError, ValueError):
            named = []
        measured = [head for signal in self.signals[:1] for grid in self.grids(signal).values() for head in grid.known()]
        touched = [head for event in self.events(Operation) for head in event.heads]
        return tuple(sorted(set(named or measured) | set(touched)))

    @cached_property
    def cycles(self) -> int:
        """How many cycles began."""
        found = [getattr(entry.event, "cycle", None) or 0 for entry in self.entries]
        return max(found, default=0)

    @cached_property
    def lives(self) -> dict[HeadId, list[Turn]]:
        """What befell each head, in order; nothing for those that were left alone."""
        why = {(each.cycle or 0, each.head, ACTIONS.get(each.action, each.action)): each for each in self.events(DecisionMade)}
        lives: dict[HeadId, list[Turn]] = {head: [] for head in self.heads}
        for event in self.events(Operation):
            became, cycle = ACTIONS.get(event.action, event.action), event.cycle or 0
            for head in event.heads:
                made = why.get((cycle, head, became))
                lives[head].append(Turn(cycle, became, made.reason if made else ""))
        return lives

    def state(self, head: HeadId, cycle: int) -> str:
        """The state of a head when a cycle ended."""
        turns = [turn.became for turn in self.lives.get(head, []) if turn.cycle <= cycle]
        return {"pruned": "dormant"}.get(turns[-1], turns[-1]) if turns else "active"

    def befell(self, became: str, cycle: int) -> list[HeadId]:
        """The heads that this befell in a cycle."""
        return [head for head, turns in self.lives.items() if any(turn[:2] == (cycle, became) for turn in turns)]

    def awake(self, cycle: int) -> int:
        """How many heads worked when a cycle ended."""
        return sum(1 for head in self.heads if self.state(head, cycle) in _AWAKE)

    @cached_property
    def courses(self) -> list[Course]:
        """Every stretch of learning, in order."""
        found: list[Course] = []
        now: Course | None = None
        for entry in self.entries:
            event = entry.event
            if isinstance(event, PhaseStarted):
                now = self._begun(found, event, entry.time) if event.phase in LEARNING else None
            elif isinstance(event, Metrics) and now is not None:
                now.rows.append((entry.time, event))
        return [course for course in found if course.rows]

    @staticmethod
    def _begun(found: list[Course], event: PhaseStarted, time: float) -> Course:
        """The course that a phase begins; one that a resumed run takes up again goes on."""
        if found and (found[-1].phase, found[-1].cycle) == (event.phase, event.cycle):
            return found[-1]
        before = max((course.before + len(course.losses) for course in found), default=0)
        found.append(Course(event.phase, event.cycle, before, time, []))
        return found[-1]

    def evaluations(self) -> dict[int, dict[str, Evaluation]]:
        """What was evaluated, by cycle and stage; 0 is before the first cycle."""
        found: dict[int, dict[str, Evaluation]] = {}
        for event in self.events(Evaluation):
            found.setdefault(event.cycle or 0, {})[event.stage] = event
        return found

    @property
    def ended(self) -> bool:
        """Whether the run came to its end."""
        return bool(self.events(Finished))

    @property
    def settled(self) -> Notice | None:
        """What was said when the warm-up ended because its loss had settled."""
        return next((event for event in self.events(Notice) if event.about == "settled"), None)

    @cached_property
    def gazes(self) -> list[Seen]:
        """Every time that attention was looked at."""
        return [
            Seen(_when(event), event.tokens, {head: self._map(event, head) for head in event.heads})
            for event in self.events(Attention)
        ]

    def _map(self, event: Attention, head: HeadId) -> Floats:
        found = self.run.tensors(event)
        if str(head) not in found:
            raise SettingNotUsable(f"{self.run.name} names the attention of head {head} and does not hold it; record the run anew.")
        return np.asarray(found[str(head)], dtype=np.float64)


def moment(cycle: int) -> str:
    """A cycle in words; 0 is what belongs to none."""
    return f"cycle {cycle}" if cycle else "outside the cycles"


def _when(event: Attention) -> str:
    words = {"before": "before", "warm": "after warm-up", "fine_tuned": "fine-tuned", "pruned": "pruned"}
    of_cycle = {"fine_tuned": f"after cycle {event.cycle}", "pruned": f"pruned in cycle {event.cycle}"}
    named = words if event.cycle is None else words | of_cycle
    return named.get(event.stage, event.stage)


def run_of(run: Any) -> Run:
    """The run that a folder, an outcome or an experiment stands for."""
    if isinstance(run, Run):
        return run
    if isinstance(run, (str, Path)):
        return Run(run)
    for name in ("run", "folder"):
        inner = getattr(run, name, None)
        if isinstance(inner, (Run, str, Path)):
            return run_of(inner)
    raise SettingNotUsable(f"A {type(run).__name__} is no run; pass a run folder, a Run, or an outcome.")


def chronicles_of(runs: Any) -> list[Chronicle]:
    """The chronicles of one run or several; a folder that holds runs stands for all of them."""
    if isinstance(runs, (str, Path)):
        runs = runs_in(Path(runs)) or runs
    several = runs if isinstance(runs, Iterable) and not isinstance(runs, (str, Path)) else [runs]
    return [Chronicle.of(run) for run in cast("Iterable[Any]", several)]
