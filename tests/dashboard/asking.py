"""Asking a server over HTTP, politely or not."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

TOKEN = "a-token-for-tests"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body, parse_constant=lambda name: 1 / 0)  # strict: NaN is no JSON


class Asker:
    """One who knows the token, unless told otherwise."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, path: str, *, method: str = "GET", known: bool = True, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            bearer = {"Authorization": f"Bearer {TOKEN}"} if known else {}
            connection.request(method, path, headers=bearer | (headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def raw(self, request: bytes, seconds: float = 5) -> bytes:
        """What comes back to these bytes, until the server hangs up or falls silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(request)
            got = b""
            try:
                while part := connection.recv(65536):
                    got += part
            except (TimeoutError, ConnectionResetError):
                pass
            return got

    @contextmanager
    def stream(self, path: str, headers: dict[str, str] | None = None) -> Iterator[Iterator[dict[str, str]]]:
        """A stream's events, one dict of fields each, as they come."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"} | (headers or {}))
            answer = connection.getresponse()
            assert answer.status == 200
            assert answer.getheader("content-type", "").startswith("text/event-stream")
            yield _events(answer)
        finally:
            connection.close()


def _events(answer: http.client.HTTPResponse) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    while line := answer.readline():
        text = line.decode().rstrip("\n")
        if text:
            name, _, value = text.partition(": ")
            fields[name] = value
        elif fields:
            yield fields
            fields = {}
