"""How a run stands, as one sees it who only reads."""

import os
import platform
import subprocess
import sys

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
