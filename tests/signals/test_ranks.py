"""Two processes that measure together: each has its own batches, both get the grids of all, and neither waits for ever."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("ranks.py")


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> tuple[Path, str]:
    """The folder where each rank wrote what it was told, and what they printed; they check the grids themselves."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    return folder, done.stderr


@pytest.fixture
def said(ran) -> list[dict[str, str]]:
    folder, printed = ran
    assert (folder / "0.json").exists(), printed
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_both_get_the_grids_of_one_process_that_saw_everything(said):
    assert [each["afterwards"] for each in said] == ["equal", "equal"]


def test_what_one_cannot_measure_is_refused_by_both(said):
    for each in said:
        assert each["labels"].startswith("NotMeasurable")
        assert "gave no loss" in each["labels"]
        assert each["mapping"].startswith("SettingNotUsable")
        assert each["nobody"].startswith("NotMeasurable")
    assert "Rank 1" in said[0]["labels"]
    assert "Rank 0" in said[1]["mapping"]


def test_a_rank_without_any_batch_gets_the_grids_of_the_others(ran):
    folder, printed = ran
    assert sorted(path.name for path in folder.glob("*.idle.json")) == ["0.idle.json", "1.idle.json"], printed[:4000]
