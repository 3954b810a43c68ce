"""Whether regrowth pays: arms that end at the same size after the same number of steps, beside the control that cuts at once.

`python benchmarks/regrowth.py [--seeds 5 6 7 8 9] [--half 1] [--steps 80] [--level 0.5] [--exchange 0.08] [--rate 1] [--json]`

Choose `--exchange` and `--rate` on seeds 0 to 4 and `--half 0` of the held-out documents; report once on seeds 5 to 9 and
`--half 1`, which nothing was chosen by.
"""

import argparse
import copy
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from quality import MEASURED, Bench, interval
from rich.console import Console
from rich.table import Table

from neural_plasticity.anatomy.bank import Bank
from neural_plasticity.heads import HeadId
from neural_plasticity.selection.growth import plan_growth
from neural_plasticity.selection.pruning import plan_pruning
from neural_plasticity.signals.measure import measure
from neural_plasticity.surgery.surgeon import Surgeon


@dataclass
class Arm:
    """A model on its way: cut, learn, wake, with one optimizer for all of it."""

    bench: Bench
    model: Any
    seed: int
    rate: float
    done: int = 0
    optimizer: Any = None

    @property
    def surgeon(self) -> Surgeon:
        """Whoever operates on it, its optimizer attached."""
        surgeon = Surgeon(self.model)
        if self.optimizer is not None:
            surgeon.attach(self.optimizer)
        return surgeon

    def cut(self, level: float, strategy: str = "taylor") -> list[HeadId]:
        """Heads asleep until this share of all is."""
        surgeon = self.surgeon
        scores = self.bench.scores(self.model, ["taylor"])
        plan = plan_pruning(
            scores, level=level, strategy=strategy, seed=self.seed, dormant=surgeon.dormant, heads=surgeon.anatomy.heads
        )
        surgeon.prune(plan.heads)
        return plan.heads

    def wake(self, level: float, resting: list[HeadId]) -> dict[HeadId, float]:
        """Heads awake until only this share sleeps, those first whose waking would lower the loss most."""
        surgeon, bank = self.surgeon, Bank()
        asleep = surgeon.dormant
        with surgeon.awakened():
            for head in asleep:
                bank.keep(self.model, surgeon.anatomy[head.layer], head.head)
            batches = self.bench.train.first(MEASURED)
            slopes = dict(measure(self.model, batches, ["wake"], bank=bank))
        candidates = [head for head in asleep if head not in resting]
        plan = plan_growth(slopes, level=level, dormant=candidates, resting=resting, heads=surgeon.anatomy.heads)
        if plan:
            surgeon.revive(plan.heads)
        return dict.fromkeys(plan.heads, self.rate)

    def learn(self, steps: int, rates: Mapping[HeadId, float] | None = None) -> None:
        """So many steps."""
        kept = rates if rates and self.rate != 1 else None
        self.optimizer = self.bench.learn(self.model, steps, self.done, self.optimizer, kept)
        self.done += steps


def arms(level: float, steps: int, exchange: float) -> dict[str, Callable[[Arm], None]]:
    """What is compared; each learns for `steps` and ends at `level`."""
    half = steps // 2

    def at_once(arm: Arm, strategy: str = "taylor") -> None:
        arm.cut(level, strategy)
        arm.learn(steps)

    def iterative(arm: Arm) -> None:
        arm.cut(level / 2)
        arm.learn(half)
        arm.cut(level)
        arm.learn(steps - half)

    def more_then_revive(arm: Arm) -> None:
        arm.cut(level + exchange)
        arm.learn(half)
        arm.learn(steps - half, arm.wake(level, []))

    def drop_and_grow(arm: Arm, strategy: str = "taylor") -> None:
        arm.cut(level, strategy)
        arm.learn(half)
        fresh = arm.cut(level + exchange)
        arm.learn(steps - half, arm.wake(level, fresh))

    return {
        "control: taylor at once": at_once,
        "iterative": iterative,
        "prune more, then revive": more_then_revive,
        "taylor, then drop and grow": drop_and_grow,
        "random at once": lambda arm: at_once(arm, "random"),
        "random, then drop and grow": lambda arm: drop_and_grow(arm, "random"),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", nargs="+", type=int, default=[5, 6, 7, 8, 9])
    arguments.add_argument("--half", type=int, default=1, choices=(0, 1))
    arguments.add_argument("--steps", type=int, default=80)
    arguments.add_argument("--level", type=float, default=0.5)
    arguments.add_argument("--exchange", type=float, default=0.08)
    arguments.add_argument("--rate", type=float, default=1.0)
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments.add_argument("--json", action="store_true")
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    rows: list[dict[str, Any]] = []
    for seed in chosen.seeds:
        bench = Bench.of(seed, chosen.steps, chosen.half)
        whole = Arm(bench, copy.deepcopy(bench.model), seed, chosen.rate)
        whole.learn(chosen.steps)
        base = bench.loss(whole.model)
        for name, go in arms(chosen.level, chosen.steps, chosen.exchange).items():
            arm = Arm(bench, copy.deepcopy(bench.model), seed, chosen.rate)
            go(arm)
            rows.append({"arm": name, "seed": seed, "loss": bench.loss(arm.model) - base, "asleep": len(arm.surgeon.dormant)})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    if chosen.json:
        print(json.dumps(rows, indent=2))
        return
    title = f"{chosen.level:.0%} of the heads asleep after {chosen.steps} steps: loss above the whole model's after as many"
    table = Table(title=title)
    for column in ("arm", "nats a token", "minus the control, seed by seed", "heads asleep"):
        table.add_column(column)
    control = {row["seed"]: row["loss"] for row in rows if row["arm"].startswith("control")}
    for name in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == name]
        apart = [row["loss"] - control[row["seed"]] for row in mine]
        asleep = sorted({row["asleep"] for row in mine})
        table.add_row(name, interval([row["loss"] for row in mine]), interval(apart), ", ".join(map(str, asleep)))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
