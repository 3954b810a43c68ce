"""`Run`: a run folder read, also while it is being written.

Readers share nothing with the writer but the files. A cursor is the place behind the last line
that was read, with a checksum of what stands before it: a resumed run cuts its record back and
goes on, and a reader whose past was cut away notices and starts again.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType]

from neural_plasticity.errors import CorruptRecord, SettingNotUsable
from neural_plasticity.record.coding import decode
from neural_plasticity.record.events import Event
from neural_plasticity.record.folder import EVENTS, TENSORS, read_description

_REMEMBERED = 256  # bytes before the cursor that its checksum covers; more than the time stamps of a line

E_ = TypeVar("E_", bound=Event)


class Entry(NamedTuple):
    """An event with its number and the time it was recorded at, in seconds since 1970."""

    seq: int
    time: float
    event: Event


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a record; as text it can travel in a URL or a `Last-Event-ID`."""

    offset: int = 0
    seq: int = 0
    checksum: int = 0

    def __str__(self) -> str:
        return f"{self.offset}-{self.seq}-{self.checksum:08x}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """The cursor that was written as this text."""
        try:
            offset, seq, checksum = text.split("-")
            cursor = cls(int(offset), int(seq), int(checksum, 16))
        except ValueError:
            raise SettingNotUsable(
                f"The cursor {text[:60]!r} is not one of ours; start from the beginning, without a cursor."
            ) from None
        return cursor


class Page(NamedTuple):
    """What stood behind a cursor; `restarted` says that the reader's past was cut away and this begins anew."""

    entries: list[Entry]
    cursor: Cursor
    restarted: bool


class Run:
    """A run folder, read as it is now; every call looks at the files again."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        read_description(self.folder)

    @property
    def description(self) -> dict[str, Any]:
        """Settings, environment, anatomy and versions, from `run.json`."""
        return read_description(self.folder)

    @cached_property
    def name(self) -> str:
        """The name of the run, which is its folder's."""
        return self.folder.resolve().name

    def read(self, cursor: Cursor | None = None) -> Page:
        """All whole lines behind the cursor, from the beginning without one.

        A torn last line, as a killed writer leaves it or a live one has it underway, is not there yet.
        A line that cannot be read ends the page; asked for what is behind it, this raises CorruptRecord.
        """
        start = cursor or Cursor()
        raw = self._tail(start)
        restarted = raw is None
        if raw is None:
            start = Cursor()
            raw = self._tail(start) or b""
        whole = raw[: raw.rfind(b"\n") + 1]
        before = raw[: self._covered(start)]
        lines = whole[len(before) :].split(b"\n")[:-1]
        entries: list[Entry] = []
        for number, line in enumerate(lines, start.seq):
            try:
                entries.append(self._entry(number, line))
            except CorruptRecord:
                if not entries:
                    raise
                break
        read = sum(len(line) + 1 for line in lines[: len(entries)])
        checksum = zlib.crc32(whole[: len(before) + read][-_REMEMBERED:])
        return Page(entries, Cursor(start.offset + read, start.seq + len(entries), checksum), restarted)

    def _covered(self, cursor: Cursor) -> int:
        return min(_REMEMBERED, cursor.offset)

    def _tail(self, cursor: Cursor) -> bytes | None:
        """The bytes the checksum covers and all behind them, or None where they are not what was read before."""
        covered = self._covered(cursor)
        try:
            with (self.folder / EVENTS).open("rb") as file:
                file.seek(cursor.offset - covered)
                raw = file.read()
        except FileNotFoundError:
            read_description(self.folder)  # says so if the whole run is gone
            return b"" if cursor.offset == 0 else None
        if len(raw) < covered or zlib.crc32(raw[:covered]) != cursor.checksum:
            return None
        return raw

    def _entry(self, number: int, line: bytes) -> Entry:
        try:
            entry = Entry(*decode(line))
        except (ValueError, KeyError, TypeError) as fault:
            raise self._corrupt(number, f"it cannot be read ({fault!s:.120})") from fault
        if entry.seq != number:
            raise self._corrupt(number, f"it carries the number {entry.seq}")
        return entry

    def _corrupt(self, number: int, seen: str) -> CorruptRecord:
        return CorruptRecord(
            f"{self.folder / EVENTS}, line {number + 1}: {seen}; the {number} events before it are sound, "
            "so restore the file from a copy or cut it before that line."
        )

    def events(self, kind: type[E_]) -> list[E_]:
        """All events of one kind so far, in order."""
        return [entry.event for entry in self.entries() if isinstance(entry.event, kind)]

    def entries(self) -> Iterator[Entry]:
        """Everything recorded so far, in order; what is sound comes before a corrupt line is complained of."""
        page = self.read()
        while page.entries:
            yield from page.entries
            page = self.read(page.cursor)

    def tensors(self, event: Event) -> dict[str, NDArray[np.generic]]:
        """The arrays that belong to an event; none where it names none."""
        if event.tensors is None:
            return {}
        path = self.folder / TENSORS / event.tensors
        if path.parent.resolve() != (self.folder / TENSORS).resolve():
            raise CorruptRecord(
                f"An event of {self.folder} names the tensors {event.tensors!r}, outside the run; do not trust this run."
            )
        try:
            return load_file(path)
        except (OSError, SafetensorError) as fault:
            raise CorruptRecord(
                f"{path} cannot be read ({fault}); the {event.kind} event that names it stands without its arrays."
            ) from fault


def open_run(folder: str | Path) -> Run:
    """A run by its folder, over or still going on."""
    return Run(folder)
