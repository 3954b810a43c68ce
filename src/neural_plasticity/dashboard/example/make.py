"""Record the example anew: python -m neural_plasticity.dashboard.example.make

A real run of the embedded model, in another process since nothing here may meet torch. Kept are its
events, tensors and description, without what only its machine and its owner know.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from neural_plasticity.dashboard.example import EXAMPLE
from neural_plasticity.record import Run
from neural_plasticity.record.folder import DESCRIPTION, EVENTS, TENSORS

COMMAND = """
plasticity run tiny --schedule drop_and_grow --level 0.5 --exchange 0.06 --cycles 5 --warmup-steps 160 --steps 40
  --batch-size 8 --max-length 128 --eval-tokens 20000 --measure-tokens 8192 --device cpu --no-save-model --out runs
  --settings more.yaml
"""
MORE = "newborn_rate: 3\n"  # heads that have just come back move three times as far, so that rates by head can be seen
# Of the environment: the rest is about one machine.
KEPT = ("device", "dtype", "has_gpu", "pytorch_version", "python_version", "transformers_version", "versions")


def make(target: Path = EXAMPLE) -> Path:
    """Run, and put what is kept in place of the example."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "neural_plasticity", *COMMAND.split()[1:]]
        (Path(folder) / "more.yaml").write_text(MORE)
        subprocess.run(command, cwd=folder, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        (run,) = [Run(path.parent) for path in Path(folder).glob(f"runs/*/{DESCRIPTION}")]
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(run.folder / TENSORS, target / TENSORS)
        shutil.copy(run.folder / EVENTS, target / EVENTS)
        (target / DESCRIPTION).write_text(json.dumps(public(run.description), separators=(",", ":")) + "\n", encoding="utf-8")
    return target


def public(description: dict[str, Any]) -> dict[str, Any]:
    """A description without what only its machine and its owner know."""
    kept = {name: value for name, value in description.items() if name != "writer"}
    kept["environment"] = {name: value for name, value in kept["environment"].items() if name in KEPT}
    return kept


if __name__ == "__main__":
    sys.stdout.write(f"{make()}\n")
