"""The one writer of a run: append-only, locked, and never leaving half an event behind."""

import os
import platform
import re
import threading
import time
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from filelock import FileLock, Timeout
from safetensors.numpy import save

from neural_plasticity.errors import NotARun, RecordError, RecordNotWritable, RunLocked, said
from neural_plasticity.record.coding import UNREADABLE, decode, encode
from neural_plasticity.record.events import KINDS, SCHEMA, Checkpoint, Event, Failed, Finished
from neural_plasticity.record.folder import (
    DESCRIPTION,
    EVENTS,
    LOCK,
    TENSORS,
    description_bytes,
    not_writable,
    read_description,
    read_plain,
    require_plain,
    write_whole,
)
from neural_plasticity.record.run import Entry, read_line
from neural_plasticity.record.sink import Arrays
from neural_plasticity.record.state import began_at

_LASTING = (Checkpoint, Finished, Failed)  # forced to the disk itself, so that a power cut spares them
_OURS = re.compile(rf"(\d{{8,}})-(?:{'|'.join(KINDS)})-[0-9a-f]{{8}}\.safetensors(?:\.partial)?")


class _End(NamedTuple):
    """Where the record ends: one value, so that an interrupt never leaves half of it changed."""

    events: int
    size: int


class Writer:
    """Appends events to a run folder; a sink like any other, and the one that makes the truth."""

    def __init__(self, folder: str | Path, description: Mapping[str, Any] | None = None, *, keep: int | None = None) -> None:
        """Begin a run with its description, or go on with the one that is there.

        Going on drops a torn last line, and everything from event number `keep` on where that is given.
        """
        self.folder = Path(folder).resolve()
        self._process = os.getpid()
        self._turn = threading.RLock()
        self._pending = b""
        if description is None:
            read_description(self.folder)  # refuse a folder that is no run before leaving a lock in it
        self._lock = _locked(self.folder)
        try:
            self._end = _End(0, 0) if description is not None else _cut(self.folder, keep)
            if description is not None:
                self._begin(description)
            self.description = read_description(self.folder)
            self.describe(writer={"pid": os.getpid(), "host": platform.node(), "began": began_at(os.getpid())})
            self._file = os.open(self.folder / EVENTS, os.O_WRONLY | os.O_APPEND)
        except OSError as fault:
            self._lock.release()
            raise not_writable(self.folder, fault) from fault
        except BaseException:
            self._lock.release()
            raise
        self._closed = False

    def _begin(self, description: Mapping[str, Any]) -> None:
        taken = [name for name in (DESCRIPTION, EVENTS, TENSORS) if os.path.lexists(self.folder / name)]
        if taken:
            raise RecordNotWritable(f"{self.folder} already holds {taken[0]}; choose another folder, or resume the run there.")
        (self.folder / TENSORS).mkdir()
        write_whole(self.folder / EVENTS, b"")
        write_whole(self.folder / DESCRIPTION, description_bytes({"schema": SCHEMA, **description}))

    def describe(self, **sections: Any) -> None:
        """Add to or replace parts of the run's description."""
        self.description |= sections
        write_whole(self.folder / DESCRIPTION, description_bytes(self.description))

    def write(self, event: Event, tensors: Arrays | None = None) -> Entry:
        """Record one event; when this returns, every reader can see it, and a kill cannot take it back."""
        with self._turn:
            self._ready()
            entry = Entry(self._end.events, time.time(), event)
            _readable(entry)
            if tensors:
                entry = entry._replace(event=replace(event, tensors=self._write_tensors(event, tensors)))
            self._append(_readable(entry))
            if isinstance(event, _LASTING):
                self._force()
            return entry

    def _ready(self) -> None:
        if self._closed:
            raise RecordNotWritable(f"The record of {self.folder} is closed; open the run again to add to it.")
        if os.getpid() != self._process:
            raise RecordNotWritable(
                f"The record of {self.folder} belongs to process {self._process}; a forked child cannot add to it."
            )
        self._look_after_folder()

    def _append(self, line: bytes) -> None:
        """The whole line or nothing: what a full disk took of it is cut off again."""
        self._pending = line
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
        except BaseException as fault:
            os.ftruncate(self._file, self._end.size)
            if isinstance(fault, OSError):
                raise not_writable(self.folder / EVENTS, fault) from fault
            raise
        self._end = _End(self._end.events + 1, self._end.size + len(line))

    def _force(self) -> None:
        try:
            os.fsync(self._file)
        except OSError as fault:
            raise not_writable(self.folder / EVENTS, fault) from fault

    def _write_tensors(self, event: Event, tensors: Arrays) -> str:
        """The name carries a checksum: after a cut, an event that was read before does not find another's arrays."""
        content = save({key: _storable(array) for key, array in tensors.items()})
        name = f"{self._end.events:08d}-{event.kind}-{zlib.crc32(content):08x}.safetensors"
        write_whole(self.folder / TENSORS / name, content)
        return name

    def _look_after_folder(self) -> None:
        """Writing into a file that no path leads to any more would lose everything without a word."""
        held = os.fstat(self._file)
        try:
            there = (self.folder / EVENTS).lstat()
        except OSError:
            there = None
        if there is None or not os.path.samestat(there, held):
            raise RecordNotWritable(
                f"The run folder {self.folder} was deleted, moved or replaced while the run was going on; "
                "put it back, or start the run anew in a folder that stays."
            )
        if held.st_size == self._end.size + len(self._pending) and self._pending:  # Ctrl-C struck just behind a whole line
            self._end = _End(self._end.events + 1, held.st_size)
        elif held.st_size != self._end.size:  # or twice, and left a part of one
            os.ftruncate(self._file, self._end.size)
        self._pending = b""

    def close(self) -> None:
        """Leave the record whole on the disk and let others write it."""
        if self._closed:
            return
        self._closed = True
        try:
            self._force()
        finally:
            os.close(self._file)
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _locked(folder: Path) -> FileLock:
    """The lock of a run folder, taken. The system itself frees it when its owner dies, however it dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0, thread_local=False)
        lock.acquire()
    except Timeout:
        raise RunLocked(
            f"{folder} is being written by {_owner(folder)}; wait until it ends or stop it, then try again. Reading it is fine."
        ) from None
    except OSError as fault:
        raise not_writable(folder, fault) from fault
    return lock


def _owner(folder: Path) -> str:
    try:
        writer = read_description(folder).get("writer")
    except RecordError:
        writer = None
    return f"process {writer.get('pid')} on {writer.get('host')}" if isinstance(writer, dict) else "another process"  # pyright: ignore[reportUnknownMemberType]


def _readable(entry: Entry) -> bytes:
    """The line of an event that every reader will be able to read, or a refusal before anything is written."""
    try:
        line = encode(*entry)
        decode(line)
    except UNREADABLE as fault:
        raise TypeError(
            f"This {entry.event.kind} event cannot be recorded, since its fields are not of their types: {said(fault)}."
        ) from fault
    return line


def _cut(folder: Path, keep: int | None) -> _End:
    """Drop the torn tail and what `keep` does not spare; returns where the record now ends.

    The shorter file takes the place of the longer one in one step, so no reader sees it half cut.
    """
    path = folder / EVENTS
    if (folder / TENSORS).is_symlink():
        raise NotARun(f"{folder / TENSORS} is a link and could lead anywhere; do not trust this run.")
    (folder / TENSORS).mkdir(exist_ok=True)
    raw = read_plain(path) if os.path.lexists(path) else b""
    kept = raw[: raw.rfind(b"\n") + 1].splitlines(keepends=True)[:keep]
    for number, line in enumerate(kept):
        read_line(path, number, line)
    content = b"".join(kept)
    if content != raw or not path.exists():
        write_whole(path, content)
    require_plain(path)
    for tensors in (folder / TENSORS).iterdir():
        ours = _OURS.fullmatch(tensors.name)
        if ours and int(ours[1]) >= len(kept):
            tensors.unlink()
    return _End(len(kept), len(content))


def _storable(array: Any) -> Any:
    """Contiguous, and no wider than fp32: the record is for looking, not for computing on."""
    array = np.asarray(array, order="C")
    return array.astype(np.float32) if array.dtype == np.float64 else array
