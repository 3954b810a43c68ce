"""The two commands and the example, as a user meets them."""

import json
import re
import socket
import subprocess
import sys
from urllib.request import urlopen

import pytest

from neural_plasticity.dashboard import opening
from neural_plasticity.dashboard.example import EXAMPLE
from neural_plasticity.dashboard.example.make import COMMAND, public
from neural_plasticity.dashboard.opening import open_link
from neural_plasticity.record import Evaluation, Finished, HeadsMeasured, Operation, PhaseStarted, Run, Sample, Writer
from tests.cli.test_commands import PLASTICITY, plasticity
from tests.dashboard.test_report import told


def test_the_report_lies_in_the_run_unless_told_otherwise(runs, tmp_path):
    shown = plasticity("report", str(runs / "first"))
    assert shown.returncode == 0, shown.stderr
    assert f"{runs / 'first' / 'report.html'}" in shown.stdout
    assert len(told((runs / "first" / "report.html").read_text())) == 1
    Writer(runs / "second", {}).close()
    shown = plasticity("report", str(runs), "--out", str(tmp_path / "all.html"), "--open")
    assert "2 runs" in shown.stdout
    assert [run["described"]["folder"] for run in told((tmp_path / "all.html").read_text())] == ["first", "second"]


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        (["report", "nowhere"], "nowhere is not a folder"),
        (["dashboard", "nowhere"], "nowhere is not a folder"),
        (["dashboard", ".", "--host", "no.such.host.invalid"], "no.such.host.invalid"),
        (["dashboard", ".", "--token", "x"], "token"),
        (["report", ".", "--out", "/dev/null/x.html"], "/dev/null"),
    ],
)
def test_a_refusal_is_one_sentence(runs, arguments, seen):
    shown = plasticity(*arguments, cwd=runs)
    assert shown.returncode == 1
    assert seen in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


def test_a_named_port_that_is_taken_is_refused(runs):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        shown = plasticity("dashboard", str(runs), "--port", port)
        assert shown.returncode == 1
        assert re.search(f"port {port} .* in use", shown.stderr)


def test_the_example_opens_without_a_run_of_ones_own(tmp_path):
    command = [*PLASTICITY, "dashboard", "--example", "--no-open", "--port", "0", "--token", "a-token-for-tests"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        link = re.search(r"http://\S+", process.stdout.readline())[0]
        with pytest.raises(OSError, match="401"):
            urlopen(link.partition("?")[0])
        process.send_signal(2)
        assert process.wait(5) == 0


def test_the_example_is_a_whole_run_and_small():
    run = Run(EXAMPLE)
    assert run.events(Finished)
    assert {phase.cycle for phase in run.events(PhaseStarted)} >= {1, 2, 3, 4}
    assert {operation.action for operation in run.events(Operation)} == {"prune", "revive"}
    assert run.events(Sample)
    assert all(run.tensors(event) for kind in (HeadsMeasured, Evaluation) for event in run.events(kind))
    files = [path for path in EXAMPLE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2**20
    assert {path.name for path in files if path.parent == EXAMPLE} == {"run.json", "events.jsonl"}


def test_the_example_names_no_machine():
    text = (EXAMPLE / "run.json").read_text() + (EXAMPLE / "events.jsonl").read_text()
    assert "writer" not in json.loads((EXAMPLE / "run.json").read_text())
    assert socket.gethostname() not in text
    assert not re.search(r'"(/[\w.-]+){2,}', text)  # no absolute path
    assert "--out runs" in COMMAND


def test_what_only_a_machine_knows_is_left_out_of_an_example():
    description = {"name": "x", "writer": {"host": "h"}, "environment": {"device": "cpu", "platform": "Linux-of-mine", "cores": 4}}
    assert public(description) == {"name": "x", "environment": {"device": "cpu"}}


def test_a_browser_is_opened_only_where_there_is_one(monkeypatch):
    opened = []
    monkeypatch.setattr(opening.webbrowser, "open", lambda link: opened.append(link) or True)
    monkeypatch.setattr(opening, "has_browser", lambda: False)
    assert not open_link("http://a")
    monkeypatch.setattr(opening, "has_browser", lambda: True)
    assert open_link("http://b")
    assert opened == ["http://b"]


def test_the_dashboard_does_not_load_torch():
    code = (
        "import sys, neural_plasticity.dashboard.server, neural_plasticity.dashboard.standing\n"
        "print([name for name in ('torch', 'transformers', 'plotly') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
