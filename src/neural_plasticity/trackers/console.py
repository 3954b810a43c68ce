"""The console: a progress bar on a terminal, plain lines elsewhere, results as they come."""

import unicodedata
from collections.abc import Mapping

import numpy as np
from rich.console import Console as Terminal
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from neural_plasticity.heads import HeadId, HeadState
from neural_plasticity.record import (
    Checkpoint,
    Compared,
    Evaluation,
    Event,
    Failed,
    HeadsMeasured,
    Metrics,
    Notice,
    Operation,
    PhaseStarted,
    Run,
    RunStarted,
    Sample,
)
from neural_plasticity.record.sink import Arrays
from neural_plasticity.trackers.sentences import compared, evaluated, numbers_listed, operated

THERE, GONE, BACK = "o", ".", "+"  # heads in the map
LEGEND = {THERE: "is awake", GONE: "was pruned", BACK: "came back"}
LETTERS = {HeadState.DORMANT: GONE, HeadState.REMOVED: GONE, HeadState.REVIVED: BACK}
STYLES = {THERE: "", GONE: "dim", BACK: "bold"}
PLAIN_LINES = 4  # progress lines a phase, where there is no terminal to draw a bar on


class _Terminal(Terminal):
    """A terminal whose viewer may leave: a run goes on without being watched."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Console:
    """Shows a run to somebody who sits in front of it."""

    def __init__(self, terminal: Terminal | None = None) -> None:
        self._terminal = terminal or _Terminal(stderr=True)
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._phase = PhaseStarted(phase="setup")
        self._name = "setup"
        self._heads: dict[HeadId, str] = {}  # and the letter that each has in the map

    def write(self, event: Event, tensors: Arrays | None = None) -> None:
        """Show one event, if it is one to be seen here."""
        match event:
            case PhaseStarted():
                self._begin(event)
            case Metrics():
                self._advance(event)
            case HeadsMeasured():
                self._learn_of_heads(tensors or {})
            case Operation():
                self._show_operation(event)
            case Sample():
                self._end_progress()
                sample = Text(visible(event.prompt), style="bold").append(visible(event.text), style="not bold")
                self._terminal.print(Padding(sample, (0, 4)) if self._terminal.is_terminal else sample, soft_wrap=True)
            case _:
                self._show_line(event)

    def _show_line(self, event: Event) -> None:
        """Events that one line tells of; the others are for the record."""
        match event:
            case RunStarted():
                again = ", going on" if event.resumed else ""
                self._terminal.print(Text(f"run {visible(event.name)}{again}", style="bold"))
            case Evaluation():
                self._line(evaluated(event))
            case Compared():
                self._line(compared(event))
            case Notice():
                self._line(event.message)
            case Failed():
                self._line(f"stopped in phase {event.phase or 'setup'}")
            case _:
                pass

    def meet(self, states: Mapping[HeadId, HeadState]) -> None:
        """Learn, without a word, which heads a model comes with: no number is measured of those that sleep already."""
        self._heads.update({head: LETTERS.get(state, THERE) for head, state in states.items()})

    def recall(self, run: Run) -> None:
        """Learn, without a word, what became of the heads of a run up to its last checkpoint, from where it goes on."""
        entries = list(run.entries())
        last = max((place for place, entry in enumerate(entries) if isinstance(entry.event, Checkpoint)), default=0)
        for entry in entries[:last]:
            if isinstance(entry.event, HeadsMeasured):
                self._learn_of_heads(run.tensors(entry.event))
            elif isinstance(entry.event, Operation):
                self._learn_of_operation(entry.event)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._end_progress()

    def _begin(self, phase: PhaseStarted) -> None:
        self._end_progress()
        self._phase = phase
        self._name = visible(phase.phase if phase.cycle is None else f"cycle {phase.cycle}: {phase.phase}")
        if phase.steps is None or not self._terminal.is_terminal:
            self._terminal.print(Text(f"{self._name} …"))
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[seen]}", markup=False),
        )
        self._progress = Progress(*columns, console=self._terminal, transient=True)
        self._task = self._progress.add_task(self._name, total=phase.steps, seen="")
        self._progress.start()

    def _advance(self, metrics: Metrics) -> None:
        seen = "  ".join(each for each in (visible(numbers_listed(metrics.values)), self._sparsity()) if each)
        if self._progress is not None:
            self._progress.update(self._task, completed=metrics.step, seen=seen)
        elif self._phase.steps and metrics.step % max(1, self._phase.steps // PLAIN_LINES) == 0:
            self._terminal.print(Text(f"{self._name} {metrics.step}/{self._phase.steps}  {seen}".rstrip()), soft_wrap=True)

    def _sparsity(self) -> str:
        gone = sum(letter == GONE for letter in self._heads.values())
        return f"pruned {gone / len(self._heads):.0%}" if gone else ""

    def _learn_of_heads(self, grids: Arrays) -> None:
        """Every head that a signal has a number for is there."""
        for grid in grids.values():
            for layer, head in np.argwhere(~np.isnan(grid)).tolist():
                self._heads.setdefault(HeadId(layer, head), THERE)

    def _learn_of_operation(self, event: Operation) -> None:
        self._heads.update(dict.fromkeys(event.heads, GONE if event.action == "prune" else BACK))

    def _show_operation(self, event: Operation) -> None:
        """What was done, and the map of all heads as they are now: a row for each layer."""
        self._learn_of_operation(event)
        self._line(operated(event))
        seen = set(self._heads.values())
        self._line(f"heads by layer: {', '.join(f'{letter} {what}' for letter, what in LEGEND.items() if letter in seen)}")
        for layer in sorted({head.layer for head in self._heads}):
            row = Text(f"{layer:5d} ")
            for head in sorted(head for head in self._heads if head.layer == layer):
                row.append(f" {self._heads[head]}", style=STYLES[self._heads[head]])
            self._terminal.print(row, soft_wrap=True)

    def _line(self, text: str) -> None:
        self._end_progress()
        self._terminal.print(Text(visible(text)), soft_wrap=True)

    def _end_progress(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def visible(text: str) -> str:
    """The text with control characters spelled out, so that a model cannot steer the terminal."""
    return "".join(_spelled(character) for character in text)


def _spelled(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs"):
        return character
    return character.encode("unicode_escape").decode("ascii")
