"""A run that is killed, by the signal that nobody can catch, goes on and ends bit for bit like one that was not."""

import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from neural_plasticity.record import Finished, Run
from tests.experiment.runs import assert_same_end, small

# Imports once, then forks for every attempt; a line of JSON is an attempt, and its answer how that ended and what it took.
NURSERY = textwrap.dedent("""
    import json, os, signal, sys, time
    from neural_plasticity.experiment import checkpoints
    from neural_plasticity.launch import resume, run
    from neural_plasticity.record import DecisionMade, Metrics
    from neural_plasticity.settings import Settings

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    class Killer:
        def __init__(self, place, number):
            self.place, self.left = place, number

        def write(self, event, tensors=None):
            seen = isinstance(event, Metrics) and "train_loss" in event.values if self.place == "step" else False
            seen = seen or (self.place == "pruning" and isinstance(event, DecisionMade))
            self.left -= seen
            if seen and not self.left:
                die()

    def kill_in_write(number):
        usual, calls = checkpoints.save_file, []
        def half(tensors, path):
            calls.append(path)
            usual(tensors, path)
            if len(calls) == number:
                os.truncate(path, os.path.getsize(path) // 2)
                die()
        checkpoints.save_file = half

    for line in sys.stdin:
        wish = json.loads(line)
        began = time.monotonic()
        child = os.fork()
        if not child:
            place, number = wish.get("kill") or (None, 0)
            if place == "checkpoint":
                kill_in_write(number)
            sinks = [Killer(place, number)]
            if wish.get("resume"):
                resume(wish["resume"], quiet=True, sinks=sinks)
            else:
                run(Settings.from_dict(wish["settings"]), quiet=True, sinks=sinks)
            os._exit(0)
        if wish.get("after") is not None:
            time.sleep(wish["after"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(json.dumps([status, time.monotonic() - began]), flush=True)
""")

LITTLE = {
    "text": "",
    "device": "cpu",
    "cycles": 2,
    "warmup_steps": 3,
    "steps": 3,
    "checkpoint_every": 2,
    "batch_size": 2,
    "max_length": 32,
    "eval_tokens": 300,
    "measure_tokens": 128,
    "sample_tokens": 3,
    "speed_tokens": 0,
}


class Nursery:
    """A process whose children run, and are killed."""

    def __init__(self, folder: Path, tokenizer) -> None:
        text = folder / "text.txt"
        text.write_text("".join(f"def f{number}(x):\n    return x + {number}\n" for number in range(200)))
        small().save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
        self.folder, self.settings = folder, LITTLE | {"text": str(text), "model": str(folder / "model")}
        environment = {**os.environ, "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def attempt(self, **wish) -> tuple[bool, float]:
        """Whether it came to its end, and how many seconds it took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        status, seconds = json.loads(self._process.stdout.readline())
        assert status in (0, 9)  # 9 is the signal: anything else is an error of the run itself
        return status == 0, seconds

    def start(self, name: str, **wish) -> tuple[bool, float]:
        """A new run in a folder of this name."""
        return self.attempt(settings=self.settings | {"out": str(self.folder / name)}, **wish)

    def end(self, name: str, **wish) -> tuple[bool, float]:
        """The run in this folder, gone on with; or begun again where it was killed before there was a record."""
        begun = [path for path in (self.folder / name).glob("*") if (path / "run.json").exists()]
        return self.attempt(resume=str(begun[0]), **wish) if begun else self.start(f"{name}", **wish)

    def run_in(self, name: str) -> Path:
        """The one run folder there that has a record."""
        (found,) = [path for path in (self.folder / name).iterdir() if (path / "run.json").exists()]
        return found

    def close(self) -> None:
        """No more children."""
        self._process.communicate()


@pytest.fixture
def nursery(tiny, tmp_path):
    """A place to run and kill in."""
    found = Nursery(tmp_path, tiny.tokenizer)
    yield found
    found.close()


def test_a_run_killed_three_times_ends_bit_for_bit_as_one_that_was_not(nursery):
    """Within the write of a checkpoint, in training, and in the midst of pruning."""
    assert nursery.start("whole")[0]
    assert not nursery.start("killed", kill=("checkpoint", 2))[0]
    assert not nursery.end("killed", kill=("step", 2))[0]
    assert not nursery.end("killed", kill=("pruning", 1))[0]
    assert nursery.end("killed")[0]
    assert_same_end(nursery.run_in("whole"), nursery.run_in("killed"))
    assert len(Run(nursery.run_in("killed")).description["resumed"]) == 3


@pytest.mark.soak
def test_twenty_five_of_twenty_five_killed_runs_end_bit_for_bit_alike(nursery):
    """Killed at times uniform over the whole run, every fifth within the write of a checkpoint."""
    draws = random.Random(0)
    _, seconds = nursery.start("whole")
    kills = 0
    while kills < 25:
        name, began = f"killed {kills}", time.monotonic()
        how = {"kill": ("checkpoint", draws.randint(1, 8))} if kills % 5 == 4 else {"after": draws.uniform(0, seconds)}
        done, _ = nursery.start(name, **how)
        if done:  # a faster run than the first: it ended before it was to be killed
            shutil.rmtree(nursery.folder / name)
            continue
        kills += 1
        begun = [Run(path.parent) for path in (nursery.folder / name).glob("*/run.json")]
        if not begun or not begun[0].events(Finished):  # it may have been killed after its last word
            assert nursery.end(name)[0]
        assert_same_end(nursery.run_in("whole"), nursery.run_in(name))
        print(f"\n{kills}: {how}, alike after {time.monotonic() - began:.1f} s", end="")
