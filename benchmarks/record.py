"""What being recorded costs a run: the CPU time inside its sinks, as a share of all, with one metrics event a step.

`python benchmarks/record.py [--steps 60] [--threads 2] [--json]`
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from neural_plasticity.launch import run
from neural_plasticity.record import Writer
from neural_plasticity.settings import Settings
from neural_plasticity.trackers.console import Console as Shown


class Spent:
    """CPU seconds of this process inside a method, added up."""

    def __init__(self, owner: Any, name: str) -> None:
        self.seconds, self.calls = 0.0, 0
        self._plain: Callable[..., Any] = getattr(owner, name)
        setattr(owner, name, self._timed())

    def _timed(self) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return self._plain(*arguments, **named)
            finally:
                self.seconds += time.process_time() - began
                self.calls += 1

        return timed


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--steps", type=int, default=60)
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments.add_argument("--json", action="store_true")
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    parts = {"record": Spent(Writer, "write"), "console": Spent(Shown, "write")}
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            cycles=1, warmup_steps=0, steps=chosen.steps, batch_size=8, max_length=128, eval_tokens=20_000, out=folder
        )
        began = time.process_time()
        run(settings)
        total = time.process_time() - began
    rows = [
        {
            "what": f"CPU time inside the {name} ÷ all, {parts[name].calls} events",
            "ratio": parts[name].seconds / total,
            "target": "≤ 0.01",
        }
        for name in ("record", "console")
    ]
    if chosen.json:
        print(json.dumps({"seconds": total, "rows": rows}, indent=2))
        return
    table = Table()
    for column in ("figure", "measured", "target"):
        table.add_column(column)
    for row in rows:
        table.add_row(str(row["what"]), f"{row['ratio']:.4f}", str(row["target"]))
    Console().print(table)


if __name__ == "__main__":
    main()
