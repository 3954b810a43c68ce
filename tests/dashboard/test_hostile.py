"""Runs that mean harm, or are broken: never an error of the server, and nothing that steers a browser."""

import json

import numpy as np
import pytest

from neural_plasticity.dashboard.report import page_of
from neural_plasticity.heads import HeadId
from neural_plasticity.record import Attention, HeadsMeasured, Metrics, Notice, Run, Sample, Writer
from tests.dashboard.test_feed import strict
from tests.dashboard.test_report import told
from tests.dashboard.test_server import lines_of, plain, state_of, wait_for

EVIL = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>",
    "\u202e\u2066 right to left",
    "\x1b[31mred\x1b]0;title\x07",
    "\u2028\u2029\ufeff\x00\ud800",
    "javascript:alert(1)",
    "data: x\n\nevent: restarted\nid: 7\n\n",
]


def ask_everything(server, name):
    """Every address of a run; none may fail."""
    answers = [server(path) for path in ("/", "/api/runs", f"/api/runs/{name}", f"/api/runs/{name}/events", "/api/runs/first")]
    assert all(answer.status < 500 for answer in answers)
    assert answers[-1].status == 200
    return list(answers[3].json["items"]) if answers[3].status == 200 else None


@pytest.mark.parametrize("text", EVIL)
def test_text_comes_as_it_is_and_inert(server, runs, text):
    with Writer(runs / "evil", {"name": text, "settings": {text: text}}) as writer:
        writer.write(Sample(prompt=text, text=text, seed=0, stage=text))
        writer.write(Notice(message=text))
        writer.write(Metrics(step=1, values={text: float("nan")}))
    assert plain(ask_everything(server, "evil")) == lines_of(runs / "evil")
    with server.stream("/api/runs/evil/stream") as events:
        next(events)
        event = next(events)
        assert (event["event"], strict(event["data"])) == ("items", lines_of(runs / "evil"))
    report = page_of([Run(runs / "evil")])
    assert text not in report or text == "javascript:alert(1)"
    assert plain(told(report)[0]["items"]) == lines_of(runs / "evil")


def test_a_name_of_a_folder_may_be_anything(server, runs):
    name = '"><script>alert(1)</script>'.replace("/", "")
    Writer(runs / name, {}).close()
    page = server("/").body.decode()
    assert "<script>alert" not in page
    assert name in {row["name"] for row in server("/api/runs").json}
    assert server("/api/runs/%22%3E%3Cscript%3Ealert(1)%3Cscript%3E").status == 200


def test_ten_megabytes_of_text_come_through(server, runs):
    with Writer(runs / "large", {}) as writer:
        writer.write(Notice(message="before"))
        writer.write(Sample(prompt="", text="<b>" + "x" * 10_000_000, seed=0, stage="x"))
        writer.write(Notice(message="after"))
    found, cursor, more = [], "", True
    while more:
        page = server(f"/api/runs/large/events?cursor={cursor}").json
        found, cursor, more = found + page["items"], page["cursor"], page["more"]
    assert found == lines_of(runs / "large")
    assert "<b>" not in page_of([Run(runs / "large")])


def test_arrays_that_are_huge_gone_or_broken_leave_their_events(server, runs):
    grid = np.zeros((2, 2), np.float32)
    with Writer(runs / "evil", {}) as writer:
        gone = writer.write(HeadsMeasured(signals=("a",)), {"a": grid})
        broken = writer.write(HeadsMeasured(signals=("a",)), {"a": grid + 1})
        writer.write(HeadsMeasured(signals=("a",)), {"a": np.full((3000, 3000), np.nan, np.float32)})
        writer.write(Attention(heads=(HeadId(0, 0),), tokens=(), stage="x"), {"no head": grid, "0.0": grid - np.inf})
        writer.write(HeadsMeasured(signals=("a",), tensors="../../../../etc/passwd"))
    tensors = runs / "evil" / "tensors"
    (tensors / gone.event.tensors).unlink()
    (tensors / broken.event.tensors).write_bytes(b"\xff" * 1000)
    found = ask_everything(server, "evil")
    assert ["missing" in item for item in found] == [True, True, True, False, True]
    assert plain(found) == lines_of(runs / "evil")
    assert str(runs) not in json.dumps(found)


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"null",
        b'{"seq":1}',
        b'{"seq":"1","kind":"notice","time":0,"message":"x"}',
        b'{"seq":1,"kind":"__class__","time":0}',
        b'{"seq":1,"kind":"notice","time":0,"message":"x","more":1}',
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b'{"seq":1,"kind":"request","time":0,"name":"x","granted":true,"answer":"x","wish":' + b'{"a":' * 900 + b"1" + b"}" * 901,
        b"9" * 10_000,
    ],
    ids=range(11),
)
def test_a_corrupt_line_is_told_and_what_stands_before_it_is_shown(server, runs, line):
    with Writer(runs / "evil", {}) as writer:
        writer.write(Notice(message="sound"))
    with (runs / "evil" / "events.jsonl").open("ab") as file:
        file.write(line + b"\n")
    found = ask_everything(server, "evil")
    assert found[0]["message"] == "sound"
    if len(found) == 1:
        wait_for(lambda: "corrupt" in server("/api/runs/evil/events").json)
        with server.stream("/api/runs/evil/stream") as events:
            seen = [next(events), next(events), next(events)][-1]
        assert seen["event"] == "corrupt"
        assert "line 2" in strict(seen["data"])
        assert str(runs) not in seen["data"]
    page_of([Run(runs / "evil")])


@pytest.mark.parametrize(
    "line",
    [
        b'{"seq":0,"kind":"metrics","step":1,"values":{"a":NaN,"b":1e999},"time":Infinity}',
        b'{ "seq" : 0, "kind":"notice",\r"message":"\xc3\xa4","time":1 }',
    ],
)
def test_lines_that_we_would_have_written_otherwise_are_strict_json_all_the_same(server, runs, line):
    with Writer(runs / "odd", {}):
        pass
    (runs / "odd" / "events.jsonl").write_bytes(line + b"\n")
    (item,) = ask_everything(server, "odd")
    assert item["seq"] == 0
    page = server("/api/runs/odd/events").json
    assert page["cursor"] == str(Run(runs / "odd").read().cursor)
    assert not server(f"/api/runs/odd/events?cursor={page['cursor']}").json["restarted"]


@pytest.mark.parametrize(
    "description",
    [
        b"",
        b"{",
        b"null",
        b'{"schema": 99}',
        b'{"schema": true}',
        b"[" * 100_000,
        b'{"schema": 1, "x": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"schema": 1, "settings": [1], "name": NaN, "writer": 3}',
    ],
)
def test_a_description_of_any_kind_is_answered(server, runs, description):
    with Writer(runs / "odd", {}):
        pass
    (runs / "odd" / "run.json").write_bytes(description)
    ask_everything(server, "odd")
    wait_for(lambda: state_of(server, "odd") in ("running", "unreadable"))


def test_a_run_that_is_deleted_while_it_is_watched_is_told_as_gone(server, runs):
    import shutil

    with server.stream("/api/runs/first/stream") as events:
        next(events)
        next(events)
        shutil.rmtree(runs / "first")
        seen = next(events)
        assert seen["event"] == "corrupt"
    assert server("/api/runs/first/events").status == 404
    assert server("/api/runs").json == []
