"""A report that stays true while a run goes on: written again now and then, and at the end."""

import logging
import os
import time
from itertools import count
from pathlib import Path

from neural_plasticity.dashboard.report import report
from neural_plasticity.errors import PlasticityError, said
from neural_plasticity.record import Event, Failed, Finished, Run, RunStarted
from neural_plasticity.record.sink import Arrays

NAME = "report.html"
OFTEN = 10.0  # seconds that a report stands at least
SHARE = 0.01  # of the time that goes by may be spent on writing reports

_log = logging.getLogger(__name__)


class StandingReport:
    """Keeps RUN/report.html; a report that cannot be written is complained of, and the run goes on."""

    def __init__(self, out: str | Path, folder: str | Path | None = None, *, often: float = OFTEN) -> None:
        """For a run that will begin in the folder `out`, or one that goes on in `folder`."""
        self._out, self._folder, self._often = Path(out), Path(folder) if folder is not None else None, often
        self._due = time.monotonic() + often
        self.seconds = 0.0  # of computing that went into reports so far

    def write(self, event: Event, tensors: Arrays | None = None) -> None:  # noqa: ARG002  the record has them
        """Take one event; the report follows when it is due."""
        if isinstance(event, RunStarted) and self._folder is None:
            self._folder = _begun(self._out, event.name)
        if isinstance(event, Finished | Failed) or time.monotonic() >= self._due:
            self._renew()

    def _renew(self) -> None:
        began = time.thread_time()
        if self._folder is not None:
            try:
                report(self._folder, self._folder / NAME)
            except (PlasticityError, OSError, ValueError, MemoryError) as fault:
                told = str(fault) if isinstance(fault, PlasticityError) else said(fault)
                _log.warning("The report of %s could not be written, and the run goes on: %s", self._folder.name, told)
        spent = time.thread_time() - began
        self.seconds += spent
        self._due = time.monotonic() + max(self._often, spent / SHARE)


def _begun(out: Path, name: str) -> Path | None:
    """The folder of the run that this process has just begun under a name: the last of that name that it writes."""
    found = None
    for number in count(1):
        folder = out / (name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            return found
        try:
            writer = Run(folder).description.get("writer")
        except PlasticityError:
            continue  # somebody else's folder that happens to have this name
        if isinstance(writer, dict) and writer.get("pid") == os.getpid():  # pyright: ignore[reportUnknownMemberType]
            found = folder
    return None
