"""When a loss is called settled: simulated losses that are flat, that fall and that rise, each with its scatter.

`python benchmarks/settling.py [--runs 200] [--steps 400] [--scatter 0.01 0.02 0.04 0.08] [--recorded RUN …] [--json]`

Scatter is the standard deviation of a single loss, as a share of it; how fast a loss falls or rises is told over one
window of the detector. With `--recorded` the warm-ups of these runs stand beneath, with the scatter of their losses around
the line through each segment.
"""

import argparse
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from neural_plasticity.record import Metrics, PhaseStarted, open_run
from neural_plasticity.training.stabilisation import TOLERANCE, WINDOW, Settling, stabilisation

CHANGES = (0.0, -0.02, 0.02)  # of the loss over a window


def settled_at(losses: Iterable[float]) -> int | None:
    """The first step, counted from 1, at which the detector says so."""
    settling = Settling()
    return next((step for step, loss in enumerate(losses, 1) if settling.add(loss)), None)


def simulated(change: float, scatter: float, runs: int, steps: int) -> list[int | None]:
    """When each of so many runs was called settled."""
    generator = np.random.default_rng(0)
    course = (1 + change) ** (np.arange(steps) / WINDOW)
    return [settled_at((course * (1 + scatter * generator.standard_normal(steps))).tolist()) for _ in range(runs)]


def warmup_losses(folder: Path) -> Iterator[float]:
    """The training losses of a recorded warm-up."""
    entries = iter([entry.event for entry in open_run(folder).entries()])
    for event in entries:
        if isinstance(event, PhaseStarted) and event.phase == "warm-up":
            break
    for event in takewhile(lambda event: not isinstance(event, PhaseStarted), entries):
        if isinstance(event, Metrics) and "train_loss" in event.values:
            yield event.values["train_loss"]


def recorded(folder: Path) -> dict[str, Any]:
    """A run's warm-up: its scatter around the lines of its segments, and when it was called settled."""
    losses = list(warmup_losses(folder))
    if not losses:
        raise SystemExit(f"{folder} records no warm-up; run with --warmup-steps above 0.")
    segments = stabilisation(losses).segments
    scatter = math.sqrt(sum((each.deviation / each.mean) ** 2 for each in segments) / len(segments))
    return {"loss": f"warm-up of {folder.name}", "scatter": scatter, "steps": len(losses), "settled": [settled_at(losses)]}


def told(losses: Sequence[dict[str, Any]]) -> Table:
    """The rows as a table."""
    title = f"when a loss is called settled: no change over {TOLERANCE:.0%} within a further window of {WINDOW} steps"
    table = Table(title=title)
    for heading in ("loss", "scatter", "steps watched", "settled, of runs", "at step, median", "5 % to 95 %"):
        table.add_column(heading)
    for row in losses:
        steps = [step for step in row["settled"] if step is not None]
        spread = " to ".join(f"{step:.0f}" for step in np.quantile(steps, [0.05, 0.95])) if len(steps) > 1 else ""
        at = f"{median(steps):.0f}" if steps else "never"
        share = f"{len(steps)} of {len(row['settled'])}"
        table.add_row(row["loss"], f"{row['scatter']:.1%}", str(row["steps"]), share, at, spread)
    return table


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=400, help="after which a simulated run is given up")
    parser.add_argument("--scatter", type=float, nargs="+", default=[0.01, 0.02, 0.04, 0.08])
    parser.add_argument("--recorded", type=Path, nargs="*", default=[], metavar="RUN", help="folders of runs with a warm-up")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = [
        {
            "loss": f"{'falls' if change < 0 else 'rises'} {abs(change):.0%} a window" if change else "flat",
            "scatter": scatter,
            "steps": chosen.steps,
            "settled": simulated(change, scatter, chosen.runs, chosen.steps),
        }
        for change in CHANGES
        for scatter in chosen.scatter
    ]
    rows += [recorded(folder) for folder in chosen.recorded]
    if chosen.json:
        print(json.dumps(rows, indent=2))
        return
    Console(width=140).print(told(rows))


if __name__ == "__main__":
    main()
