"""How a run stands, as one sees it who only reads."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from neural_plasticity.record import Failed, Finished, Metrics, Run, Writer
from neural_plasticity.record.folder import DESCRIPTION, runs_in
from neural_plasticity.record.state import state_after

STEP = Metrics(step=1, values={"loss": 1.0})
WRITE_AND_DIE = """
import os, sys
from neural_plasticity.record import Metrics, Writer
Writer(sys.argv[1], {}).write(Metrics(step=1, values={"loss": 1.0}))
os.kill(os.getpid(), 9)
"""


def test_a_run_is_going_on_while_its_process_lives_and_over_with_its_last_word(tmp_path):
    with Writer(tmp_path / "run", {}) as writer:
        writer.write(STEP)
        run = Run(writer.folder)
        assert state_after(None, run) == "running"
        assert state_after(STEP, run) == "running"
    assert state_after(Finished(), run) == "finished"
    assert state_after(Failed(error="KeyboardInterrupt", message="stopped by the user"), run) == "failed"


def test_a_run_whose_process_was_killed_has_stopped_until_it_goes_on(tmp_path):
    killed = subprocess.run([sys.executable, "-c", WRITE_AND_DIE, tmp_path / "run"], check=False)
    assert killed.returncode == -9
    run = Run(tmp_path / "run")
    assert state_after(STEP, run) == "stopped"
    assert state_after(Finished(), run) == "finished"
    with Writer(run.folder):
        assert state_after(STEP, run) == "running"


def test_a_number_that_another_process_has_by_now_is_not_the_writers(tmp_path):
    with Writer(tmp_path / "run", {}) as writer:
        run = Run(writer.folder)
        mine = run.description["writer"]
        if mine["began"] is None:
            pytest.skip("this system does not tell when a process began")
        writer.describe(writer=mine | {"began": mine["began"] - 1})
        assert state_after(STEP, run) == "stopped"
        writer.describe(writer={name: mine[name] for name in ("pid", "host")})  # as earlier versions wrote it
        assert state_after(STEP, run) == "running"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="what has ended and is not reaped is told by /proc")
def test_a_writer_that_has_ended_and_was_not_reaped_is_gone(tmp_path):
    with subprocess.Popen([sys.executable, "-c", WRITE_AND_DIE, tmp_path / "run"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert state_after(STEP, Run(tmp_path / "run")) == "stopped"


@pytest.mark.parametrize(
    "writer",
    [
        None,
        "nobody",
        {},
        {"pid": 2**22 + 1, "host": "another machine"},
        *({"pid": pid, "host": platform.node()} for pid in ("1", 0, -1, 2**70, 1.5, None, 1, os.getpid())),
    ],
)
def test_of_a_process_that_cannot_be_seen_from_here_nothing_is_claimed(tmp_path, writer):
    with Writer(tmp_path / "run", {}) as begun:
        begun.describe(writer=writer)
    assert state_after(STEP, Run(tmp_path / "run")) == "running"


def test_the_runs_in_a_folder_are_it_or_those_inside_by_name(tmp_path):
    assert runs_in(tmp_path) == []
    assert runs_in(tmp_path / "nowhere") == []
    for name in ("second", "first"):
        Writer(tmp_path / name, {}).close()
    (tmp_path / "no run").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / DESCRIPTION).write_text("{")
    assert runs_in(tmp_path) == [tmp_path / "broken", tmp_path / "first", tmp_path / "second"]
    assert runs_in(tmp_path / "first") == [tmp_path / "first"]
