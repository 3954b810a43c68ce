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

from neural_plasticity.errors import CorruptRecord, SettingNotUsable, said
from neural_plasticity.record.coding import UNREADABLE, decode
from neural_plasticity.record.events import Event
from neural_plasticity.record.folder import EVENTS, TENSORS, read_description, read_plain, require_plain

_REMEMBERED = 256  # bytes before the cursor that its checksum covers; a line ends with its time, so never the same twice

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
            if len(text) > 60 or not (0 <= cursor.offset < 2**62 and bool(cursor.offset) == bool(cursor.seq)):
                raise ValueError
        except ValueError:
            raise SettingNotUsable(
                f"The cursor {text[:60]!r} is not one of ours; start from the beginning, without a cursor."
            ) from None
        return cursor


class Page(NamedTuple):
    """What stood behind a cursor; `restarted` says that the reader's past was cut away and this begins anew.

    `more` says that it was cut off, since no more bytes were asked for.
    """

    entries: list[Entry]
    cursor: Cursor
    restarted: bool
    more: bool = False


class Run:
    """A run folder, read as it is now; every call looks at the files again."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()
        read_description(self.folder)

    @property
    def description(self) -> dict[str, Any]:
        """Settings, environment, anatomy and versions, from `run.json`."""
        return read_description(self.folder)

    @cached_property
    def name(self) -> str:
        """The name of the run, which is its folder's."""
        return self.folder.name

    def read(self, cursor: Cursor | None = None, most: int | None = None) -> Page:
        """All whole lines behind the cursor, from the beginning without one; of `most` bytes, unless a single line is longer.

        A torn last line, as a killed writer leaves it or a live one has it underway, is not there yet.
        A line that cannot be read ends the page; asked for what is behind it, this raises CorruptRecord.
        """
        start = cursor or Cursor()
        raw = self._tail(start, most)
        restarted = raw is None
        if raw is None:
            start = Cursor()
            raw = self._tail(start, most) or b""
        whole = raw[: raw.rfind(b"\n") + 1]
        before = raw[: min(_REMEMBERED, start.offset)]
        lines = whole[len(before) :].split(b"\n")[:-1]
        entries: list[Entry] = []
        for number, line in enumerate(lines, start.seq):
            try:
                entries.append(read_line(self.folder / EVENTS, number, line))
            except CorruptRecord:
                if not entries:
                    raise
                break
        read = sum(len(line) + 1 for line in lines[: len(entries)])
        checksum = zlib.crc32(whole[: len(before) + read][-_REMEMBERED:])
        more = most is not None and len(raw) == len(before) + most
        return Page(entries, Cursor(start.offset + read, start.seq + len(entries), checksum), restarted, more)

    def _tail(self, cursor: Cursor, most: int | None) -> bytes | None:
        """The bytes the checksum covers and those behind them, or None where they are not what was read before."""
        covered = min(_REMEMBERED, cursor.offset)
        try:
            raw = read_plain(self.folder / EVENTS, cursor.offset - covered, -1 if most is None else covered + most)
            if most is not None and b"\n" not in raw[covered:]:  # a line longer than that is read as a whole
                raw = read_plain(self.folder / EVENTS, cursor.offset - covered)
        except FileNotFoundError:
            read_description(self.folder)  # says so if the whole run is gone
            return b"" if cursor.offset == 0 else None
        except OSError as fault:
            raise CorruptRecord(f"{self.folder / EVENTS} cannot be opened ({said(fault)}); check its permissions.") from fault
        if len(raw) < covered or zlib.crc32(raw[:covered]) != cursor.checksum:
            return None
        return raw

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
        if path.parent.resolve() != self.folder / TENSORS:
            raise CorruptRecord(
                f"An event of {self.folder} names tensors outside the run ({event.tensors!r:.80}); do not trust it."
            )
        try:
            require_plain(path)
            return load_file(path)
        except (OSError, SafetensorError, *UNREADABLE) as fault:
            raise CorruptRecord(
                f"{path} cannot be read ({said(fault)}); the {event.kind} event that names it stands without its arrays."
            ) from fault


def read_line(path: Path, number: int, line: bytes) -> Entry:
    """One whole line of a record, which must be ours and carry its own number."""
    try:
        entry = Entry(*decode(line))
        seen = "" if entry.seq == number else f"it carries the number {entry.seq}"
    except UNREADABLE as fault:
        raise _corrupt(path, number, f"it cannot be read ({said(fault)})") from fault
    if seen:
        raise _corrupt(path, number, seen)
    return entry


def _corrupt(path: Path, number: int, seen: str) -> CorruptRecord:
    return CorruptRecord(
        f"{path}, line {number + 1}: {seen}; the {number} events before it are sound, "
        "so restore the file from a copy or cut it before that line."
    )


def open_run(folder: str | Path) -> Run:
    """A run by its folder, over or still going on."""
    return Run(folder)
