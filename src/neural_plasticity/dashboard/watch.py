"""One run as all its viewers see it: read once, by one thread, for as long as anybody looks."""

import asyncio
import contextlib
import threading
import time
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Generator

from neural_plasticity.dashboard.feed import item_json
from neural_plasticity.errors import RecordError
from neural_plasticity.record import Cursor, Page, Run
from neural_plasticity.record.folder import EVENTS, read_plain

INTERVAL = 0.025  # seconds between two looks at a run that is watched
SELDOM = 1.0  # the same while nobody watches: whoever comes has it looked at first
LINGER = 30.0  # seconds that a run stays read after its last viewer left
BLOCK = 2**20  # bytes of a record that are read at once, so that what is read can be shown meanwhile
LONGEST = 256 * 1024  # bytes of events in one message, unless a single event is longer
_COVERED = 256  # bytes before a cursor that its checksum covers


class Past:
    """What has been read of a run, as JSON by number, and the cursor behind each event."""

    def __init__(self) -> None:
        self.items: list[bytes] = []
        self._sizes = array("q", [0])  # of all items up to each
        self._offsets = array("q", [0])
        self._checksums = array("L", [0])
        self._tail = b""

    def add(self, run: Run, page: Page) -> bool:
        """Take in a page that begins where this ends; False where the file was changed in between, so it has to be read again."""
        lines = _lines(run, self._offsets[-1], page.cursor.offset)
        if len(lines) != len(page.entries) or zlib.crc32((self._tail + b"".join(lines))[-_COVERED:]) != page.cursor.checksum:
            return False
        made = list[bytes]()
        for entry, line in zip(page.entries, lines, strict=True):
            self._tail = (self._tail + line)[-_COVERED:]
            self._offsets.append(self._offsets[-1] + len(line))
            self._checksums.append(zlib.crc32(self._tail))
            item = item_json(run, entry)
            self._sizes.append(self._sizes[-1] + len(item) + 1)
            made.append(item)
        self.items.extend(made)  # last: who sees an item finds all the rest
        return True

    def cursor(self, place: int) -> Cursor:
        """The cursor behind this many events."""
        return Cursor(self._offsets[place], place, self._checksums[place])

    def place(self, cursor: Cursor) -> int | None:
        """How many events lie before a cursor, or None where this is not the past that it was given in."""
        return cursor.seq if cursor.seq <= len(self.items) and self.cursor(cursor.seq) == cursor else None

    def stretch(self, start: int) -> int:
        """Where a message that begins here ends: after some events of a bounded size."""
        end = bisect_right(self._sizes, self._sizes[start] + LONGEST, start + 1, len(self.items) + 1) - 1
        return min(max(end, start + 1), len(self.items))


def _lines(run: Run, start: int, end: int) -> list[bytes]:
    """The lines between two places of the record, as they stand there: a cursor counts their bytes."""
    content = read_plain(run.folder / EVENTS, start, end - start)
    return [line + b"\n" for line in content.split(b"\n")[:-1]]


class Watch:
    """Follows one run; everything but the reading itself belongs to the event loop."""

    def __init__(self, run: Run, loop: asyncio.AbstractEventLoop) -> None:
        self.run = run
        self.past = Past()
        self.corrupt: str | None = None
        self.seen = False  # whether it has been read to its end once
        self._begun, self.looks, self._awaited = 0, 0, 0  # looks at the run begun, over, and waited for
        self._loop, self._news = loop, asyncio.Event()
        self._viewers, self._left = 0, time.monotonic()
        self._stopped, self._wanted, self._more = threading.Event(), threading.Event(), False
        self._messages: dict[tuple[int, int, int], bytes] = {}
        threading.Thread(target=self._follow, daemon=True, name=f"watch {run.name}").start()

    @contextlib.contextmanager
    def looking(self) -> Generator[int]:
        """Keeps the run read; gives the number of looks that have to be over for who comes to see nothing stale."""
        look = self._begun + 1 if self.seen and not self._viewers else 0
        self._awaited = max(self._awaited, look)
        self._viewers += 1
        self._wanted.set()
        try:
            yield look
        finally:
            self._viewers -= 1
            self._left = time.monotonic()

    def idle(self, times: int = 1) -> bool:
        """Whether nobody has looked for a while, or for so many times as long."""
        return not self._viewers and time.monotonic() - self._left > times * LINGER

    def stop(self) -> None:
        """Read no more, and wake whoever waits."""
        self._stopped.set()
        self._wanted.set()
        self.wake()

    async def news(self, seconds: float) -> None:
        """Waits until something changed, or so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    def wake(self) -> None:
        """Tell all that wait."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    def message(self, past: Past, start: int, end: int) -> bytes:
        """Some events as one server-sent event; the same bytes for all who are at the same place."""
        key = (id(past), start, end)
        if key not in self._messages:
            if len(self._messages) >= 32:
                self._messages.pop(next(iter(self._messages)))
            content = b",".join(past.items[start:end])
            self._messages[key] = b"id: %s\nevent: items\ndata: [%s]\n\n" % (str(past.cursor(end)).encode(), content)
        return self._messages[key]

    def _follow(self) -> None:
        """The thread: look, tell, wait. Should it ever fail, those who watch are told."""
        cursor, told = Cursor(), (False, 0, None)
        try:
            while not self._stopped.is_set():
                before, self._begun = self.looks, self._begun + 1
                cursor = self._look(cursor)
                self.looks = self._begun
                now = (self.seen, cursor.offset, self.corrupt)
                if now != told or before < self._awaited:
                    told = now
                    self._tell()
                if self.idle(2):  # given up long ago, and nobody can come back to it
                    self._stopped.set()
                if not self._more:
                    self._wanted.wait(INTERVAL if self._viewers else SELDOM)
                    self._wanted.clear()
        finally:
            if not self._stopped.is_set():
                self.seen, self.corrupt = True, f"{self.run.name} could not be read on; start the dashboard anew."
                self._tell()

    def _tell(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server is gone
            self._loop.call_soon_threadsafe(self.wake)

    def _look(self, cursor: Cursor) -> Cursor:
        """Read what is new; what cannot be read is told, and looked at again: a resumed run mends it."""
        self._more = False
        try:
            page = self.run.read(cursor, BLOCK)
            past = Past() if page.restarted else self.past
            if not past.add(self.run, page):
                return cursor
        except (RecordError, OSError) as fault:
            self.corrupt = str(fault).replace(str(self.run.folder), self.run.name)
            self.seen = True
            return cursor
        if page.restarted:
            self._messages = {}
            self.past, self.seen = past, False
        self.corrupt = None
        self._more = page.more and bool(page.entries)
        self.seen = self.seen or not page.more
        return page.cursor
