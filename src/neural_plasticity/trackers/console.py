"""The console: a progress bar on a terminal, plain lines elsewhere, results as they come."""

import unicodedata
from collections.abc import Mapping
from typing import Any

from rich.console import Console as Terminal
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from neural_plasticity.record import Evaluation, Event, Failed, Metrics, PhaseStarted, RunStarted, Sample

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

    def write(self, event: Event, tensors: Any = None) -> None:
        """Show one event, if it is one to be seen here."""
        del tensors
        match event:
            case RunStarted():
                self._terminal.print(Text(f"run {visible(event.name)}", style="bold"))
            case PhaseStarted():
                self._begin(event)
            case Metrics():
                self._advance(event)
            case Evaluation():
                self._line(f"{visible(event.stage)}: {_listed(event.values)}")
            case Sample():
                self._end_progress()
                sample = Text(visible(event.prompt), style="bold").append(visible(event.text), style="not bold")
                self._terminal.print(Padding(sample, (0, 4)) if self._terminal.is_terminal else sample, soft_wrap=True)
            case Failed():
                self._line(f"stopped in phase {visible(event.phase or 'setup')}")
            case _:
                pass

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._end_progress()

    def _begin(self, phase: PhaseStarted) -> None:
        self._end_progress()
        self._phase = phase
        if phase.steps is None or not self._terminal.is_terminal:
            self._terminal.print(Text(f"{phase.phase} …"))
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[seen]}", markup=False),
        )
        self._progress = Progress(*columns, console=self._terminal, transient=True)
        self._task = self._progress.add_task(phase.phase, total=phase.steps, seen="")
        self._progress.start()

    def _advance(self, metrics: Metrics) -> None:
        seen = _listed(metrics.values)
        if self._progress is not None:
            self._progress.update(self._task, completed=metrics.step, seen=seen)
        elif self._phase.steps and metrics.step % max(1, self._phase.steps // PLAIN_LINES) == 0:
            self._terminal.print(Text(f"{self._phase.phase} {metrics.step}/{self._phase.steps}  {seen}"))

    def _line(self, text: str) -> None:
        self._end_progress()
        self._terminal.print(Text(text), soft_wrap=True)

    def _end_progress(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _listed(values: Mapping[str, float]) -> str:
    return "  ".join(f"{visible(name)} {_number(value)}" for name, value in values.items())


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e12 else f"{value:.4g}"


def visible(text: str) -> str:
    """The text with control characters spelled out, so that a model cannot steer the terminal."""
    return "".join(_spelled(character) for character in text)


def _spelled(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs"):
        return character
    return character.encode("unicode_escape").decode("ascii")
