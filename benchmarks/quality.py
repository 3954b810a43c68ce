"""Which strategy costs the embedded model least: its loss after pruning, and after the same recovery for all.

`python benchmarks/quality.py [--levels 0.25 0.5 0.75] [--seeds 0 1 2 3 4] [--steps 40] [--json]`

A seed draws the sample that heads are measured on, the order of what is learned, and the random strategy. The loss is
told as its distance from the untouched model's, and from that of the model with all its heads after as many steps.
"""

import argparse
import copy
import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from neural_plasticity.experiment.evaluation import Evaluator
from neural_plasticity.experiment.material import Passages
from neural_plasticity.heads import HeadGrid
from neural_plasticity.inputs.models import load_model
from neural_plasticity.inputs.texts import load_text
from neural_plasticity.selection.pruning import plan_pruning
from neural_plasticity.selection.strategies import strategies
from neural_plasticity.signals.measure import measure
from neural_plasticity.student import student_t
from neural_plasticity.surgery.surgeon import Surgeon
from neural_plasticity.training.course import Course
from neural_plasticity.training.recipe import Recipe, optimizer_for

LENGTH, BATCH, MEASURED, JUDGED = 128, 8, 8_192, 30_000
RECIPE = Recipe(learning_rate=3e-4, warm_steps=5)


@dataclass(frozen=True)
class Bench:
    """The model, what it learns from in the order of a seed, and what it is judged by."""

    model: Any
    train: Passages
    held: Passages

    @classmethod
    def of(cls, seed: int, steps: int, half: int | None = None) -> "Bench":
        """Everything for one seed; `half` takes one half of the held-out documents only."""
        loaded = load_model("tiny", "cpu")
        assert loaded.tokenizer is not None
        held = load_text("stdlib", "held_out")
        chosen = held if half is None else held[half::2]
        every = load_text("stdlib", "train")
        learned = every[seed % 10 :: 10]  # another tenth of the library for each seed
        tokens = max(MEASURED, steps * BATCH * LENGTH)
        sizes = {"length": LENGTH, "batch_size": BATCH, "seed": seed}
        return cls(
            loaded.model,
            Passages(loaded.tokenizer, learned, tokens=tokens, **sizes),
            Passages(loaded.tokenizer, chosen, tokens=JUDGED, **sizes),
        )

    def loss(self, model: Any) -> float:
        """The held-out loss in nats per token."""
        evaluator = Evaluator(model, len(self.held.names))
        for places, batch in self.held.parts():
            evaluator.add(places, batch)
        return evaluator.quality().loss_nats

    def scores(self, model: Any, signals: Sequence[str]) -> dict[str, HeadGrid]:
        """What the heads are worth, on the training side."""
        return dict(measure(model, self.train.first(MEASURED), signals))

    def learn(self, model: Any, steps: int, first: int = 0, optimizer: Any = None, rates: Mapping[Any, float] | None = None) -> Any:
        """So many steps, from batch `first` on; returns the optimizer, to go on with."""
        optimizer = optimizer or optimizer_for(model, RECIPE)
        Surgeon(model).attach(optimizer)
        with Course(model, RECIPE, steps, seed=self.train._order.seed, optimizer=optimizer, rates=rates) as course:
            for step in range(steps):
                course.step([self.train.at(first + step)])
        return optimizer


def trials(levels: Sequence[float], seeds: Sequence[int], steps: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Every strategy at every level, for every seed."""
    signals = sorted({signal for name in names for signal in strategies()[name].signals})
    rows = []
    for seed in seeds:
        bench = Bench.of(seed, steps)
        base, scores = bench.loss(bench.model), bench.scores(bench.model, signals)
        whole = copy.deepcopy(bench.model)
        bench.learn(whole, steps)
        tuned = bench.loss(whole)
        for level in levels:
            for name in names:
                model = copy.deepcopy(bench.model)
                surgeon = Surgeon(model)
                plan = plan_pruning(scores, level=level, strategy=name, seed=seed, heads=surgeon.anatomy.heads)
                surgeon.prune(plan.heads)
                cut = bench.loss(model)
                bench.learn(model, steps)
                found = {"strategy": name, "level": level, "seed": seed, "cut": cut - base, "recovered": bench.loss(model) - tuned}
                rows.append(found)
                print(json.dumps(found), file=sys.stderr, flush=True)
    return rows


def interval(values: Sequence[float]) -> str:
    """The mean and half the width of its 95 % interval."""
    if len(values) < 2:
        return f"{values[0]:.4f}"
    half = student_t(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):.4f} ± {half:.4f}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--levels", nargs="+", type=float, default=[0.25, 0.5, 0.75])
    arguments.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    arguments.add_argument("--steps", type=int, default=40)
    arguments.add_argument("--strategies", nargs="+", default=list(strategies()))
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments.add_argument("--json", action="store_true")
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    rows = trials(chosen.levels, chosen.seeds, chosen.steps, chosen.strategies)
    if chosen.json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(title=f"loss above the whole model's, nats a token, {len(chosen.seeds)} seeds, {chosen.steps} steps of recovery")
    for column in ("strategy", *(f"{level:.0%} {when}" for level in chosen.levels for when in ("cut", "recovered"))):
        table.add_column(column)
    for name in chosen.strategies:
        cells = [
            interval([row[when] for row in rows if row["strategy"] == name and row["level"] == level])
            for level in chosen.levels
            for when in ("cut", "recovered")
        ]
        table.add_row(name, *cells)
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
