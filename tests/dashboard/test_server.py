"""The live server, asked over HTTP."""

import gzip
import http.client
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from neural_plasticity.dashboard import watch
from neural_plasticity.dashboard.assembly import plotly_source
from neural_plasticity.dashboard.server import PORT, claim
from neural_plasticity.dashboard.shelf import Shelf
from neural_plasticity.errors import NotARun, SettingNotUsable
from neural_plasticity.record import Finished, Metrics, Notice, Run, Writer
from tests.dashboard.asking import TOKEN, Asker
from tests.dashboard.test_feed import strict
from tests.dashboard.test_report import feed_of


def lines_of(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]


def plain(found):
    return [{name: value for name, value in item.items() if name not in ("arrays", "missing")} for item in found]


def test_the_page_its_files_and_plotly_come_as_they_are(server, page):
    index = server("/")
    assert index.headers["content-type"].startswith("text/html")
    assert feed_of(index.body.decode()) == {"mode": "live", "runs": ["first"]}
    for name, kind in (("main.js", "text/javascript"), ("a.css", "text/css")):
        answer = server(f"/page/{name}")
        assert answer.body == (page / name).read_bytes()
        assert answer.headers["content-type"].startswith(kind)
    plotly = server("/plotly.js")
    assert plotly.headers["content-encoding"] == "gzip"
    assert gzip.decompress(plotly.body).decode() == plotly_source()
    assert server("/page/none.js").status == server("/nowhere").status == server("/page/index.html").status == 404


def test_runs_are_listed_and_new_ones_appear(server, runs):
    (row,) = server("/api/runs").json
    assert (row["name"], row["state"], row["model"], row["level"]) == ("first", "failed", "tiny", 0.5)
    with Writer(runs / "second", {"name": "second"}) as writer:
        writer.write(Notice(message="x"))
        assert server("/api/runs/second").json["described"]["name"] == "second"
        wait_for(lambda: state_of(server, "second") == "running")
        writer.write(Finished(summary={"loss_nats": float("nan")}))
        wait_for(lambda: state_of(server, "second") == "finished")
    (row,) = [row for row in server("/api/runs").json if row["name"] == "second"]
    assert row["summary"] == {"loss_nats": "NaN"}
    assert (row["began"], row["last"]) == tuple(line["time"] for line in lines_of(runs / "second"))
    (runs / "second" / "run.json").write_text("{")
    wait_for(lambda: state_of(server, "second") == "unreadable")
    assert server("/api/runs/second").status == server("/api/runs/third").status == 404


def state_of(server, name):
    return {row["name"]: row["state"] for row in server("/api/runs").json}.get(name)


def wait_for(holds, seconds=5.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_events_come_by_pages_of_a_bounded_size(server, runs):
    with Writer(runs / "long", {}) as writer:
        for step in range(60):
            writer.write(Notice(message=f"{step} " + "x" * 20_000))
    found, cursor, pages = [], "", 0
    while True:
        page = server(f"/api/runs/long/events?cursor={cursor}").json
        found += page["items"]
        cursor, pages = page["cursor"], pages + 1
        assert not page["restarted"]
        if not page["more"]:
            break
    assert found == lines_of(runs / "long")
    least = -(-60 * 20_100 // watch.LONGEST)
    assert least <= pages <= least + 2  # a page ends where a block that was read ends, and the last may find nothing new
    assert server(f"/api/runs/long/events?cursor={cursor}").json["items"] == []


def test_a_cursor_is_the_records_own(server, runs):
    """It is the one that `Run.read` gives, so it outlives the server."""
    assert server("/api/runs/first/events").json["cursor"] == str(Run(runs / "first").read().cursor)


def test_a_poll_waits_for_what_comes(server, runs):
    with Writer(runs / "live", {}) as writer:
        cursor = server("/api/runs/live/events").json["cursor"]
        began = time.monotonic()
        threading.Timer(0.4, writer.write, [Notice(message="now")]).start()
        page = server(f"/api/runs/live/events?cursor={cursor}&wait=9").json
        assert [item["message"] for item in page["items"]] == ["now"]
        assert 0.3 < time.monotonic() - began < 3
    for wrong in ("nan", "-1", "x", "1e999"):
        assert server(f"/api/runs/live/events?cursor={page['cursor']}&wait={wrong}").json["items"] == []


def test_a_stream_tells_what_was_and_what_comes(server, runs):
    with Writer(runs / "live", {}) as writer, server.stream("/api/runs/live/stream") as events:
        writer.write(Notice(message="first"))
        assert next(events) == {"retry": "1000"}
        told = next(events)
        assert (told["event"], plain(strict(told["data"]))) == ("items", lines_of(runs / "live"))
        late = []
        for step in range(5):
            began = time.monotonic()
            writer.write(Metrics(step=step, values={"loss": float("nan")}))
            told = next(events)
            late.append(time.monotonic() - began)
            assert strict(told["data"]) == lines_of(runs / "live")[-1:]
            assert told["id"] == str(Run(runs / "live").read().cursor)
        assert sorted(late)[2] < 0.15


def test_a_stream_goes_on_where_the_browser_was_also_on_another_server(server, runs, page):
    with server.stream("/api/runs/first/stream") as events:
        next(events)
        last = next(events)["id"]
    with Writer(runs / "first") as writer:
        writer.write(Notice(message="while nobody looked"))
    for headers, query in (
        ({"Last-Event-ID": last}, ""),
        ({}, f"?cursor={last}"),
        ({"Last-Event-ID": last}, "?cursor=0-0-00000000"),
    ):
        with server.stream(f"/api/runs/first/stream{query}", headers) as events:
            next(events)
            assert [item["message"] for item in strict(next(events)["data"])] == ["while nobody looked"]


def test_a_reader_whose_past_was_cut_away_begins_anew(server, runs):
    with server.stream("/api/runs/first/stream") as events:
        next(events)
        old = next(events)["id"]
        with Writer(runs / "first", keep=2) as writer:
            writer.write(Notice(message="another future"))
        told = next(events)
        assert (told["event"], told["id"]) == ("restarted", "0-0-00000000")
        told = []
        while len(told) < 3:
            told += strict(next(events)["data"])
        assert plain(told) == lines_of(runs / "first")
    page = server(f"/api/runs/first/events?cursor={old}").json
    assert page["restarted"]
    assert plain(page["items"]) == lines_of(runs / "first")
    with server.stream("/api/runs/first/stream", {"Last-Event-ID": old}) as events:
        next(events)
        assert next(events)["event"] == "restarted"


@pytest.mark.parametrize("wrong", ["x", "1-1-1", "99999-9-00000000", "-1-0-0", "1" * 99, "%00", "0-0-00000001"])
def test_a_cursor_that_is_none_of_ours_begins_anew(server, wrong):
    page = server(f"/api/runs/first/events?cursor={wrong}").json
    assert page["restarted"]
    assert page["items"][0]["seq"] == 0


def test_what_is_read_of_a_long_run_comes_before_all_of_it_is_read(server, runs, monkeypatch):
    """A poll of the beginning does not wait for the end, and says that there is more until it is there."""
    monkeypatch.setattr(watch, "BLOCK", 1000)
    with Writer(runs / "long", {}) as writer:
        for step in range(300):
            writer.write(Metrics(step=step, values={"a_name_that_takes_some_room": 1.0}))
        read, passed = Run.read, threading.Semaphore(3)

        def slowly(run, cursor=None, most=None):
            if most is not None and run.folder == runs / "long":
                assert passed.acquire(timeout=30)
            return read(run, cursor, most)

        monkeypatch.setattr(Run, "read", slowly)
        first = server("/api/runs/long/events").json
        assert 0 < len(first["items"]) < 300
        assert first["more"]
        found, cursor = first["items"], first["cursor"]
        passed.release(10_000)
        while first["more"]:
            first = server(f"/api/runs/long/events?cursor={cursor}").json
            assert not first["restarted"]
            found, cursor = found + first["items"], first["cursor"]
        assert [item["step"] for item in found] == list(range(300))
        page = server(f"/api/runs/long/events?cursor={cursor}").json
        assert (page["items"], page["restarted"]) == ([], False)


def test_a_run_that_nobody_looks_at_is_read_no_more(server, runs, monkeypatch):
    monkeypatch.setattr(watch, "LINGER", 0.05)
    server("/api/runs/first/events")
    wait_for(lambda: not any(thread.name == "watch first" for thread in threading.enumerate()))
    with Writer(runs / "first") as writer:
        writer.write(Notice(message="while nobody looked"))
    assert server("/api/runs/first/events").json["items"][-1]["message"] == "while nobody looked"


def test_a_run_whose_process_is_gone_has_stopped(server, runs):
    with Writer(runs / "gone", {}) as writer:
        writer.write(Notice(message="x"))
        wait_for(lambda: state_of(server, "gone") == "running")
        writer.describe(writer={"pid": gone(), "host": platform.node()})
        wait_for(lambda: state_of(server, "gone") == "stopped")


def test_a_run_that_cannot_be_read_on_stays_so_until_it_is_mended(server, runs):
    """And what is known of it stays."""
    path = runs / "first" / "events.jsonl"
    wait_for(lambda: state_of(server, "first") == "failed")
    sound = path.read_bytes()
    path.write_bytes(sound + b"{\n")
    wait_for(lambda: state_of(server, "first") == "unreadable")
    seen = set()
    for _ in range(30):
        seen.add(state_of(server, "first"))
        time.sleep(0.05)
    assert seen == {"unreadable"}
    (row,) = [row for row in server("/api/runs").json if row["name"] == "first"]
    assert row["level"] == 0.5
    path.write_bytes(sound)
    wait_for(lambda: state_of(server, "first") == "failed")


def gone():
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_200_viewers_of_a_run_share_one_reader(server, runs, monkeypatch):
    read, reading = Run.read, []

    def counted(run, cursor=None, most=None):
        reading.append((run.folder, threading.get_ident()))
        return read(run, cursor, most)

    monkeypatch.setattr(Run, "read", counted)
    viewers = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(200)]
    try:
        with Writer(runs / "live", {}) as writer:
            for viewer in viewers:
                viewer.sendall(
                    f"GET /api/runs/live/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
                )
            for step in range(10):
                writer.write(Metrics(step=step, values={}))
            writer.write(Notice(message="the last"))
            for viewer in viewers:
                got = b""
                while b"the last" not in got:
                    got += viewer.recv(65536)
                assert [int(step) for step in re.findall(rb'"step":(\d+)', got)] == list(range(10))
            assert server("/api/runs").status == 200
    finally:
        for viewer in viewers:
            viewer.close()
    assert len({thread for folder, thread in reading if folder == runs / "live"}) <= 2  # its own reader, and the one of the list


def test_a_taken_port_leads_to_the_next_unless_it_was_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingNotUsable, match=f"port {taken.getsockname()[1]} .*in use"):
            claim(port=taken.getsockname()[1])
    first, second = claim(), claim()
    try:
        assert PORT <= first.port < second.port
        assert first.token != second.token
        assert len(first.token) > 30
        assert first.link == f"http://127.0.0.1:{first.port}/?token={first.token}"
    finally:
        first.listening.close()
        second.listening.close()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
def test_an_address_that_is_not_ours_is_refused(host):
    with pytest.raises(SettingNotUsable, match=host):
        claim(host)


@pytest.mark.parametrize("token", ["", "short", "a b c d e f g h", "x" * 201, "löngenough"])
def test_a_token_that_no_link_can_carry_is_refused(token):
    with pytest.raises(SettingNotUsable, match="token"):
        claim(port=0, token=token)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(NotARun, match="not a folder"):
        Shelf(tmp_path / "none")


def test_the_command_serves_and_ends_within_a_second_of_ctrl_c_with_streams_open(runs):
    """Of three tries one: a machine that is busy otherwise may take its time."""
    assert any(seconds_to_end(runs) < 1 for _ in range(3))


def seconds_to_end(runs):
    """From Ctrl-C to the end of a server that streams, that somebody does not read from, and that waits for a request."""
    command = [sys.executable, "-m", "neural_plasticity", "dashboard", str(runs), "--port", "0", "--token", TOKEN, "--no-open"]
    environment = {**os.environ, "BROWSER": "false"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        line = process.stdout.readline()
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/\?token=", line)[1])
        asker = Asker(port)
        stalled = socket.create_connection(("127.0.0.1", port))
        stalled.sendall(f"GET /plotly.js HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        half = socket.create_connection(("127.0.0.1", port))
        half.sendall(b"GET / HT")
        with asker.stream("/api/runs/first/stream") as events:
            next(events)
            next(events)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.wait(10)
            seconds = time.monotonic() - began
            with pytest.raises((StopIteration, http.client.IncompleteRead, ConnectionResetError)):
                next(events)
        stalled.close()
        half.close()
        assert process.stderr.read() == ""
        assert process.returncode == 0
    return seconds
