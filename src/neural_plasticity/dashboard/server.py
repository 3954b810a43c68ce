"""The live server: on this machine only and behind a token, unless somebody says otherwise."""

import asyncio
import contextlib
import re
import secrets
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from neural_plasticity.dashboard.answers import Answers
from neural_plasticity.dashboard.assembly import PAGE, plotly_gzipped
from neural_plasticity.dashboard.guard import ANYWHERE, LONGEST_HEAD, Guard
from neural_plasticity.dashboard.shelf import Shelf
from neural_plasticity.errors import SettingNotUsable, said

PORT = 8765
TRIED = 20  # ports from there on, while they are taken
HEAD_SECONDS = 10.0  # within which a request's head has to be there
MOST_CONNECTIONS = 500


@dataclass(frozen=True)
class Place:
    """Where a dashboard is served, and the token that opens it."""

    listening: socket.socket
    host: str
    port: int
    token: str

    @property
    def link(self) -> str:
        """What to open in a browser."""
        host = "127.0.0.1" if self.host in ANYWHERE else f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/?token={self.token}"


def claim(host: str = "127.0.0.1", port: int | None = None, token: str | None = None) -> Place:
    """A port that is ours from now on: the one that is named, or the first that is free."""
    if token is not None and not re.fullmatch(r"[A-Za-z0-9_-]{8,200}", token):
        raise SettingNotUsable(
            f"The token has {len(token)} characters, not all of them usable in a link or too few; "
            "give 8 to 200 letters, digits, - and _, or none, and one is made up."
        )
    tried = [port] if port is not None else list(range(PORT, PORT + TRIED))
    seen = ""
    for each in tried:
        try:
            listening = _bound(host, each)
        except OSError as fault:
            seen = said(fault)
            continue
        return Place(listening, host, listening.getsockname()[1], token or secrets.token_urlsafe(32))
    ports = f"port {port}" if port is not None else f"ports {PORT} to {PORT + TRIED - 1}"
    raise SettingNotUsable(
        f"The dashboard cannot listen at {host}, {ports} ({seen}); name another port or host, or none and one is found."
    )


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":  # there it would let two servers share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(256)
    except OSError:
        listening.close()
        raise
    return listening


def serve(shelf: Shelf, place: Place, *, started: Callable[[], Any] = lambda: None, page: Path = PAGE) -> None:
    """Serve these runs until Ctrl-C; `started` is called as soon as there is an answer."""
    with contextlib.suppress(KeyboardInterrupt):  # that is how it ends
        server_of(shelf, place, started=started, page=page).run([place.listening])


def server_of(shelf: Shelf, place: Place, *, started: Callable[[], Any] = lambda: None, page: Path = PAGE) -> uvicorn.Server:
    """The server itself, for who runs it otherwise: it ends when its `should_exit` is set."""
    answers = Answers(shelf, page)
    guard = Guard(answers.app, token=place.token, host=place.host, cookie=f"plasticity-{place.port}")
    threading.Thread(target=plotly_gzipped, daemon=True).start()  # ready before it is asked for
    config = uvicorn.Config(
        guard,
        http=Patient,
        ws="none",
        lifespan="off",
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=0,
        h11_max_incomplete_event_size=LONGEST_HEAD,
    )
    return _Server(config, answers, started)


class _Server(uvicorn.Server):
    """Says when it has started, and ends the streams before it ends."""

    def __init__(self, config: uvicorn.Config, answers: Answers, started: Callable[[], Any]) -> None:
        super().__init__(config)
        self._answers, self._when_started = answers, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._when_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._answers.close()
        await super().shutdown(sockets)


class Patient(H11Protocol):
    """Hangs up on who does not get to the end of a request's head in time."""

    _waiting: asyncio.TimerHandle | None = None
    cycle: Any  # None before the first request

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        self._expect()
        super().data_received(data)
        if self._answering() and self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _expect(self) -> None:
        """Start the clock, unless it runs already or an answer is under way."""
        if self._waiting is None and not self._answering():
            self._waiting = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._waiting = None
        if not self._answering():
            self.transport.close()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete
