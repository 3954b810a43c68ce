"""What the server answers: the page and its files, the list of runs, and each run's events, by pages or as a stream."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from neural_plasticity.dashboard.assembly import PAGE, live_page, plotly_gzipped
from neural_plasticity.dashboard.feed import described
from neural_plasticity.dashboard.shelf import Shelf
from neural_plasticity.dashboard.watch import Past, Watch
from neural_plasticity.errors import RecordError, SettingNotUsable
from neural_plasticity.record import Cursor

TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
PATIENCE = 25.0  # seconds that a poll waits at most, and after which a stream shows that it lives


class Answers:
    """The routes, and one watch for each run that somebody looks at."""

    def __init__(self, shelf: Shelf, page: Path = PAGE) -> None:
        self._shelf, self._page = shelf, page
        self._watches: dict[Path, Watch] = {}
        self._closing = False
        self.app = Starlette(
            routes=[
                Route("/", self._index),
                Route("/page/{name}", self._file),
                Route("/plotly.js", self._plotly),
                Route("/api/runs", self._runs),
                Route("/api/runs/{name}", self._run),
                Route("/api/runs/{name}/events", self._events),
                Route("/api/runs/{name}/stream", self._stream),
            ]
        )
        self.app.router.redirect_slashes = False  # an address is right or it is not

    def close(self) -> None:
        """End all streams, and all reading."""
        self._closing = True
        self._shelf.stop()
        for watch in self._watches.values():
            watch.stop()

    async def _index(self, request: Request) -> Response:  # noqa: ARG002  asked like all others
        return HTMLResponse(live_page(list(self._shelf.paths()), self._page))

    async def _file(self, request: Request) -> Response:
        """Only what lies in the page's folder is there to be named, so no path leads out of it."""
        files = {path.name: path for path in self._page.iterdir() if path.suffix in TYPES and path.is_file()}
        path = files.get(request.path_params["name"])
        if path is None:
            return PlainTextResponse("The page has no such file.", 404)
        return Response(path.read_bytes(), media_type=TYPES[path.suffix])

    async def _plotly(self, request: Request) -> Response:  # noqa: ARG002
        return Response(plotly_gzipped(), media_type="text/javascript", headers={"Content-Encoding": "gzip"})

    async def _runs(self, request: Request) -> Response:  # noqa: ARG002
        """All rows; the first to ask waits a moment for them to be looked at."""
        rows = self._shelf.rows()
        for _ in range(20):
            if self._closing or all(row["state"] != "unread" for row in rows):
                break
            await asyncio.sleep(0.025)
            rows = self._shelf.rows()
        return _json(rows)

    async def _run(self, request: Request) -> Response:
        run = self._shelf.find(request.path_params["name"])
        if run is None:
            return _no_run()
        try:
            return _json({"described": described(run)})
        except RecordError:
            return _no_run()  # it went in between

    async def _events(self, request: Request) -> Response:
        """A page of events behind the cursor; with `wait`, one that comes within so many seconds."""
        watch = self._watch(request)
        if watch is None:
            return _no_run()
        with watch.looking() as look:
            past, start, restarted = await self._place(watch, look, request.query_params.get("cursor"))
            deadline = time.monotonic() + _seconds(request.query_params.get("wait"))
            while not restarted and watch.past is past and start >= len(past.items) and not self._closing:
                left = deadline - time.monotonic() if watch.seen else PATIENCE
                if left <= 0:
                    break
                await watch.news(left)
            if watch.past is not past:
                past, start, restarted = watch.past, 0, True
            end = past.stretch(start) if start < len(past.items) else start
            content: dict[str, Any] = {
                "cursor": str(past.cursor(end)),
                "restarted": restarted,
                "more": end < len(past.items) or not watch.seen,
            }
            if watch.corrupt is not None and not content["more"]:
                content["corrupt"] = watch.corrupt
            head = json.dumps(content).encode()
            return Response(b'{"items":[' + b",".join(past.items[start:end]) + b"]," + head[1:], media_type="application/json")

    async def _stream(self, request: Request) -> Response:
        """Events as they come, from the cursor on that the browser last saw."""
        watch = self._watch(request)
        if watch is None:
            return _no_run()
        cursor = request.headers.get("last-event-id") or request.query_params.get("cursor")
        return StreamingResponse(self._told(watch, cursor), media_type="text/event-stream")

    async def _told(self, watch: Watch, cursor: str | None) -> AsyncIterator[bytes]:
        with watch.looking() as look:
            yield b"retry: 1000\n\n"
            past, start, restarted = await self._place(watch, look, cursor)
            corrupt = None
            while not self._closing:
                if restarted or watch.past is not past:
                    past, start, restarted, corrupt = watch.past, 0, False, None
                    yield b"id: %s\nevent: restarted\ndata: {}\n\n" % str(Cursor()).encode()
                elif start < len(past.items):
                    end = past.stretch(start)
                    yield watch.message(past, start, end)
                    start = end
                elif watch.corrupt != corrupt:
                    corrupt = watch.corrupt
                    yield b"event: corrupt\ndata: %s\n\n" % json.dumps(corrupt).encode()
                else:
                    waited = time.monotonic()
                    await watch.news(PATIENCE)
                    if time.monotonic() - waited >= PATIENCE:
                        yield b": still here\n\n"

    async def _place(self, watch: Watch, look: int, text: str | None) -> tuple[Past, int, bool]:
        """The past, the place in it that a cursor means, and whether the reader has to begin anew."""
        cursor = _cursor(text)
        needed = max(1, cursor.seq) if cursor is not None else 1
        while (watch.looks < look or (not watch.seen and len(watch.past.items) < needed)) and not self._closing:
            await watch.news(PATIENCE)
        place = watch.past.place(cursor) if cursor is not None else None
        return watch.past, place or 0, place is None

    def _watch(self, request: Request) -> Watch | None:
        """The one watch of a run; those that nobody looked at for a while are given up."""
        for folder, watch in list(self._watches.items()):
            if watch.idle():
                watch.stop()
                del self._watches[folder]
        run = self._shelf.find(request.path_params["name"])
        if run is None:
            return None
        if run.folder not in self._watches:
            self._watches[run.folder] = Watch(run, asyncio.get_running_loop())
        return self._watches[run.folder]


def _json(content: Any) -> Response:
    """Strict JSON: numbers that are not finite become their names."""
    strict = json.loads(json.dumps(content), parse_constant=str)
    return Response(json.dumps(strict, allow_nan=False, separators=(",", ":")), media_type="application/json")


def _cursor(text: str | None) -> Cursor | None:
    """The cursor that somebody comes with, the beginning without one; None where it is none of ours."""
    try:
        return Cursor.parse(text) if text else Cursor()
    except SettingNotUsable:
        return None


def _no_run() -> Response:
    return PlainTextResponse("There is no such run here.", 404)


def _seconds(text: str | None) -> float:
    """How long somebody wants to wait, within reason."""
    try:
        seconds = float(text or 0)
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), PATIENCE) if math.isfinite(seconds) else 0.0
