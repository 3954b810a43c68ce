"""Who may ask the server, and how: checked before anything else looks at a request."""

import hmac
import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlencode

from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neural_plasticity.dashboard import policy

LONGEST_HEAD = 16 * 1024  # bytes of address and headers
LONGEST_QUERY = 2048
ANYWHERE = ("0.0.0.0", "::", "")

HEADERS = {
    "Content-Security-Policy": policy.LIVE,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Lets in only requests that read, from a page of ours, under a name of ours, by somebody who knows the token."""

    def __init__(self, app: ASGIApp, *, token: str, host: str, cookie: str) -> None:
        self._app, self._token, self._host, self._cookie = app, token, host, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on; every answer carries the headers that keep browsers strict."""
        if scope["type"] != "http":
            raise ValueError(f"The dashboard speaks HTTP only, not {scope['type']}.")

        async def strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((key.encode(), value.encode()) for key, value in HEADERS.items())]
            await send(message)

        answer = self._refusal(scope) or self._admission(scope) or self._app
        await answer(scope, receive, strict)

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer to what is wrong in itself."""
        if scope["method"] != "GET":
            return PlainTextResponse("The dashboard is only read: use GET.", 405, {"Allow": "GET"})
        body = [value for name, value in scope["headers"] if name == b"content-length"]
        if any(value.strip() != b"0" for value in body) or _header(scope, b"transfer-encoding"):
            return PlainTextResponse("A request here carries no content.", 413, {"Connection": "close"})
        if len(scope["query_string"]) > LONGEST_QUERY or _length(scope) > LONGEST_HEAD:
            return PlainTextResponse("The request is too long.", 414)
        host = _header(scope, b"host")
        if not self._is_ours(host):
            return PlainTextResponse("This server does not go by that name; open the link that it printed.", 421)
        origin = _header(scope, b"origin")
        if origin and origin not in (f"http://{host}", f"https://{host}"):
            return PlainTextResponse("Pages from elsewhere may not ask here.", 403)
        return None

    def _admission(self, scope: Scope) -> Response | None:
        """None for who knows the token; one who brings it in the URL gets a cookie and comes again without."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if scope["path"] == "/" and self._knows(given):
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            answer = RedirectResponse(f"/?{rest}" if rest else "/", 303)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
            return answer
        bearer = _header(scope, b"authorization")
        if self._knows([*self._cookies(scope), *([bearer[7:]] if bearer[:7].lower() == "bearer " else [])]):
            return None
        sentence = "The dashboard opens with its token only: use the link that `plasticity dashboard` printed."
        return PlainTextResponse(sentence, 401, {"WWW-Authenticate": "Bearer"})

    def _cookies(self, scope: Scope) -> list[str]:
        cookies = cookie_parser(_header(scope, b"cookie"))
        return [cookies[self._cookie]] if self._cookie in cookies else []

    def _knows(self, given: Iterable[str]) -> bool:
        """Whether the token is among these, in a time that tells nothing about it."""
        known = [hmac.compare_digest(each.encode("utf-8", "replace"), self._token.encode()) for each in given]
        return any(known)

    def _is_ours(self, host: str) -> bool:
        """Whether a request was sent to a name that no stranger can point at this server."""
        name = host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host
        name = name.lower()
        try:
            return ipaddress.ip_address(name).is_loopback or self._host in ANYWHERE or name == self._host
        except ValueError:  # a name
            return name in ("localhost", self._host.lower()) or (self._host in ANYWHERE and name == socket.gethostname().lower())


def _length(scope: Scope) -> int:
    return len(scope.get("raw_path") or b"") + sum(len(name) + len(value) for name, value in scope["headers"])


def _header(scope: Scope, name: bytes) -> str:
    """A header's value, all of them where it came more than once."""
    return ", ".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)
