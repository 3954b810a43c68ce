"""The runs that a server shows: those in a folder, also those that appear later, or a single one."""

import threading
import time
from pathlib import Path
from typing import Any

from neural_plasticity.errors import NotARun, RecordError
from neural_plasticity.record import Cursor, Event, Failed, Finished, Page, PhaseStarted, Run
from neural_plasticity.record.folder import DESCRIPTION, runs_in
from neural_plasticity.record.state import state_after

ASKED = 30.0  # seconds after a question in which the rows are kept true
INTERVAL = 1.0
TOLD = ("model", "strategy", "level", "cycles", "schedule", "mode", "seed")


class Shelf:
    """Runs by name, and a row about each, which a thread of its own keeps true while somebody asks."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()
        if not self.folder.is_dir():
            raise NotARun(f"{folder} is not a folder, so there is no run to show; name a run, or a folder that runs lie in.")
        self.single = (self.folder / DESCRIPTION).exists()
        if self.single:
            Run(self.folder)  # refuses what is none
        self._rows: dict[str, Row] = {}
        self._asked = 0.0
        self._question = threading.Event()
        self._stopped = threading.Event()
        threading.Thread(target=self._keep, daemon=True, name="shelf").start()

    def paths(self) -> dict[str, Path]:
        """Where each run lies, the newest name first; a link that leads out of the folder is none."""
        if self.single:
            return {_shown(self.folder.name): self.folder}
        try:
            found = runs_in(self.folder)
        except OSError:
            return {}  # the folder is gone; it may come back
        return {_shown(path.name): path for path in reversed(found) if path.resolve().parent == self.folder}

    def find(self, name: str) -> Run | None:
        """The run of this name, if it is on the shelf and can be opened."""
        path = self.paths().get(name)
        try:
            return Run(path) if path is not None else None
        except RecordError:
            return None

    def rows(self) -> list[dict[str, Any]]:
        """A row about each run, as far as they have been looked at."""
        self._asked = time.monotonic()
        self._question.set()
        known = dict(self._rows)
        return [known[name].told() if name in known else {"name": name, "state": "unread"} for name in self.paths()]

    def stop(self) -> None:
        """Look at the runs no more."""
        self._stopped.set()
        self._question.set()

    def _keep(self) -> None:
        while self._question.wait() and not self._stopped.is_set():
            paths = self.paths()
            for name, path in paths.items():
                self._rows.setdefault(name, Row(name, path)).look()
            for name in set(self._rows) - set(paths):
                del self._rows[name]
            if time.monotonic() - self._asked > ASKED:
                self._question.clear()
            self._stopped.wait(INTERVAL)


class Row:
    """What a list says of one run."""

    def __init__(self, name: str, path: Path) -> None:
        self._name, self._path = name, path
        self._cursor = Cursor()
        self._last: Event | None = None
        self._known: dict[str, Any] = {}
        self._row: dict[str, Any] = {"name": name, "state": "unread"}

    def told(self) -> dict[str, Any]:
        """The row as it is known now."""
        return self._row

    def look(self) -> None:
        """Read what is new in the run; one that cannot be read on is looked at from there until it can."""
        try:
            run = Run(self._path)
            page = run.read(self._cursor)
            settings = run.description.get("settings")
        except (RecordError, OSError) as fault:
            message = str(fault).replace(str(self._path), self._name)
            self._row = self._known | {"name": self._name, "state": "unreadable", "message": message}
            return
        if page.restarted:
            self._known, self._last = {}, None
        if page.entries:
            self._last = page.entries[-1].event
        if isinstance(settings, dict):
            self._known |= {name: settings[name] for name in TOLD if name in settings}
        self._known = _folded(self._known, page)
        self._row = self._known | {"name": self._name, "state": state_after(self._last, run)}
        self._cursor = page.cursor


def _folded(row: dict[str, Any], page: Page) -> dict[str, Any]:
    """A row with what a page of events adds to it."""
    for entry in page.entries:
        row.setdefault("began", entry.time)
        row["last"] = entry.time
        match entry.event:
            case Finished(summary=summary):
                row |= {"summary": dict(summary)}
            case Failed(message=message, error=error):
                row |= {"message": f"{error}: {message}"}
            case PhaseStarted(phase=phase, cycle=cycle):
                row |= {"phase": phase, "cycle": cycle}
            case _:
                pass
    return row | {"events": page.cursor.seq}


def _shown(name: str) -> str:
    """A name that can travel in a URL, also where the file system's is no Unicode."""
    return name.encode("utf-8", "backslashreplace").decode()
