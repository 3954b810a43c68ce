"""Who gets in and who does not, and what cannot be had by anybody."""

import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity.dashboard import server as serving
from neural_plasticity.dashboard.guard import HEADERS, Guard
from tests.dashboard.asking import TOKEN

KNOWN = f"Authorization: Bearer {TOKEN}\r\n"


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


@pytest.mark.parametrize(
    "path",
    ["/", "/page/main.js", "/plotly.js", "/api/runs", "/api/runs/first", "/api/runs/first/events", "/api/runs/first/stream", "/x"],
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Cookie": f"plasticity-1={TOKEN}"},
        {"Cookie": "plasticity={TOKEN}"},
        {"Authorization": "Bearer \xff\xfe"},
    ],
)
def test_nothing_is_there_without_the_token(shared, path, headers):
    answer = shared(path, known=False, headers=headers)
    assert answer.status == 401
    assert b"token" in answer.body
    assert TOKEN.encode() not in answer.body


def test_the_link_gives_a_cookie_and_leads_on_without_the_token(shared):
    answer = shared(f"/?token={TOKEN}&view=heads&run=a%0d%0aX:+b", known=False)
    assert answer.status == 303
    assert answer.headers["location"] == "/?view=heads&run=a%0D%0AX%3A+b"
    cookie, *flags = answer.headers["set-cookie"].split("; ")
    assert cookie == f"plasticity-{shared.port}={TOKEN}"
    assert {flag.lower() for flag in flags} == {"httponly", "samesite=strict", "path=/"}
    assert shared("/api/runs", known=False, headers={"Cookie": cookie}).status == 200
    assert shared("/api/runs", known=False, headers={"Cookie": f'other={{"a": "; "}}; broken; {cookie}; last=1'}).status == 200
    assert shared("/?token=wrong", known=False).status == 401
    assert shared(f"/api/runs?token={TOKEN}", known=False).status == 401  # a token in other addresses would end up in logs
    assert shared(f"//elsewhere.example/?token={TOKEN}", known=False).status == 401  # and leads nowhere else


def test_the_token_is_compared_in_constant_time(monkeypatch):
    compared = []
    monkeypatch.setattr("neural_plasticity.dashboard.guard.hmac.compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    guard = Guard(None, token=TOKEN, host="127.0.0.1", cookie="c")
    assert guard._knows([TOKEN, "wrong"])
    assert len(compared) == 2  # all, also after one that is right
    assert not guard._knows([])


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example", "", "192.168.0.7", "[::2]"]
)
def test_a_name_that_a_stranger_could_point_here_is_refused(shared, host):
    assert shared("/api/runs", headers={"Host": host.format(port=shared.port)}).status == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:{port}", "[::1]:80", "127.0.0.2"])
def test_names_of_this_machine_are_fine_also_through_a_tunnel(shared, host):
    assert shared("/api/runs", headers={"Host": host.format(port=shared.port)}).status == 200


def test_a_server_for_other_machines_goes_by_its_addresses_only():
    def ours(bound, host):
        return Guard(None, token=TOKEN, host=bound, cookie="c")._is_ours(host)

    assert ours("0.0.0.0", "192.168.0.7:8765")
    assert ours("0.0.0.0", socket.gethostname())
    assert not ours("0.0.0.0", "evil.example")
    assert ours("box.example", "BOX.example:80")
    assert not ours("192.168.0.7", "192.168.0.8")


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_no_host_header_upsets_the_guard(host):
    assert Guard(None, token=TOKEN, host="127.0.0.1", cookie="c")._is_ours(host) in (True, False)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1", "file://"])
def test_pages_from_elsewhere_may_not_ask(shared, origin):
    assert shared("/api/runs", headers={"Origin": origin}).status == 403


def test_a_page_of_ours_may(shared):
    assert shared("/api/runs", headers={"Origin": f"http://127.0.0.1:{shared.port}"}).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "CONNECT", "NONSENSE"])
def test_only_reading_is_possible(shared, method):
    answer = shared("/api/runs" if method != "CONNECT" else "localhost:80", method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize("path", ["/", "/page/a.css", "/page/none", "/api/runs", "/api/runs/none", "/plotly.js", "/none"])
@pytest.mark.parametrize("known", [True, False])
def test_every_answer_keeps_browsers_strict(shared, path, known):
    answer = shared(path, known=known)
    for name, value in HEADERS.items():
        assert answer.headers[name.lower()] == value
    rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert (rules["default-src"], rules["script-src"], rules["connect-src"]) == ("'none'", "'self'", "'self'")
    assert (rules["frame-ancestors"], rules["base-uri"], rules["form-action"]) == ("'none'", "'none'", "'none'")
    assert "shared" not in answer.headers


WAYS_OUT = [
    "..",
    "../first",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%2fetc%2fpasswd",
    "/etc/passwd",
    "..%5c..%5cetc",
    "%252e%252e%252f",
    "first%00",
    "first/../../secret",
    "first%2f..%2f..%2fsecret",
    ".",
    "%ff%fe",
    "outside",
    "...//",
    "outside/run.json",
    "first/run.json",
]


@pytest.mark.parametrize("place", ["/page/{}", "/api/runs/{}", "/api/runs/{}/events", "/api/runs/{}/stream"])
def test_no_path_leads_out(server, runs, place):
    secret = runs.parent / "secret"
    secret.mkdir()
    (secret / "run.json").write_text('{"schema": 1, "password": "hunter2"}')
    (runs / "outside").symlink_to(secret)
    for way in WAYS_OUT:
        path = place.format(way)
        answer = server.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{KNOWN}Connection: close\r\n\r\n".encode())
        assert status(answer) == 404, path
        assert b"hunter2" not in answer
        assert b"root:" not in answer


def test_links_inside_a_run_are_not_followed(server, runs):
    secret = runs.parent / "secret"
    secret.write_text('{"schema": 1, "seq": 0, "password": "hunter2"}')
    for name, linked in (("one", "run.json"), ("two", "events.jsonl"), ("three", "tensors")):
        (runs / name).mkdir()
        (runs / name / "run.json").write_text('{"schema": 1}')
        (runs / name / "events.jsonl").write_bytes((runs / "first" / "events.jsonl").read_bytes())
        (runs / name / linked).unlink(missing_ok=True)
        (runs / name / linked).symlink_to(runs / "first" / "tensors" if linked == "tensors" else secret)
    for name in ("one", "two", "three"):
        for path in (f"/api/runs/{name}", f"/api/runs/{name}/events", "/api/runs"):
            answer = server(path)
            assert answer.status < 500
            assert b"hunter2" not in answer.body
    assert [item for item in server("/api/runs/three/events").json["items"] if "arrays" in item] == []


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: x\r\n" * 20_000 + b"\r\n",
        b"GET /?" + b"x" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 1000,
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /api/runs HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\n",
    ],
    ids=range(16),
)
def test_what_no_browser_sends_is_refused(shared, request_):
    assert 400 <= status(shared.raw(request_, seconds=1)) < 500
    assert shared("/api/runs").status == 200


@pytest.mark.parametrize("long", [b"GET /page/" + b"x" * 20_000, b"GET /api/runs HTTP/1.1\r\nX: " + b"x" * 20_000])
def test_a_head_that_is_too_long_is_told_so_also_where_it_came_in_one_piece(shared, long):
    end = b"\r\n" if b"\r\n" in long else b" HTTP/1.1\r\n"
    answer = shared.raw(long + end + b"Host: localhost\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n", seconds=1)
    assert status(answer) in (400, 414)


def test_who_never_gets_to_the_end_of_a_request_is_hung_up_on(server, monkeypatch):
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.3)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as silent:
        assert silent.recv(10) == b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as slow:
        try:
            for letter in b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100:
                slow.send(bytes([letter]))
                time.sleep(0.02)
            assert slow.recv(10) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert time.monotonic() - began < 4
    with server.stream("/api/runs/first/stream") as events:  # who was answered is left alone
        next(events)
        next(events)
        time.sleep(0.5)
        assert server("/api/runs").status == 200


def test_those_who_do_not_read_keep_nobody_else_waiting(server, runs):
    from neural_plasticity.record import Notice, Writer

    stalled = []
    for _ in range(20):
        one = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(f"GET /api/runs/large/stream HTTP/1.1\r\nHost: localhost\r\n{KNOWN}\r\n".replace("large", "first").encode())
        stalled.append(one)
    with Writer(runs / "first") as writer:
        for _ in range(40):
            writer.write(Notice(message="x" * 100_000))
        writer.write(Notice(message="the last"))
    with server.stream("/api/runs/first/stream") as events:
        began = time.monotonic()
        while "the last" not in next(events).get("data", ""):
            pass
        assert time.monotonic() - began < 3
    for one in stalled:
        one.close()
