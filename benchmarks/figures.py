"""How long pictures take: a heat map of many heads, and all figures of a long run, in seconds.

`python benchmarks/figures.py [--cycles 10] [--layers 12] [--heads 12] [--json]`
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from neural_plasticity.figures.entropy import visualize_entropy_heatmap
from neural_plasticity.figures.page import write_figures
from neural_plasticity.heads import HeadId
from neural_plasticity.record import (
    Attention,
    Compared,
    DecisionMade,
    Evaluation,
    Finished,
    HeadsMeasured,
    Metrics,
    Operation,
    PhaseStarted,
    RunStarted,
    Writer,
)

SIGNALS = ("entropy", "normalized_entropy", "gradient", "taylor", "fisher", "magnitude")
TOKENS, STEPS = 64, 100


class Story:
    """A run that nobody made: numbers drawn at random, in the shape of a real one."""

    def __init__(self, writer: Writer, layers: int, heads: int, seed: int = 0) -> None:
        self.writer, self.shape, self.random = writer, (layers, heads), np.random.default_rng(seed)
        self.awake = {HeadId(layer, head) for layer in range(layers) for head in range(heads)}
        self.asleep: set[HeadId] = set()

    def tell(self, cycles: int) -> None:
        """Warm-up, so many cycles, and the comparisons at the end."""
        self.writer.write(RunStarted(name="drawn", job="run"))
        self._judged("baseline", None)
        self._learned("warm-up", None)
        self._judged("warm", None)
        for cycle in range(1, cycles + 1):
            self._measured(cycle)
            self._looked("before" if cycle == 1 else "fine_tuned", cycle)
            self._changed(cycle)
            self._judged("pruned", cycle)
            self._learned("fine-tuning", cycle)
            self._judged("fine_tuned", cycle)
        quality = {"mean_difference": 0.05, "low": 0.01, "high": 0.09, "documents": 40.0, "worse_share": 0.6}
        self.writer.write(Compared(before="warm", after="last", values=quality))
        speed = {"prefill_ratio": 1.4, "prefill_low": 1.3, "prefill_high": 1.5, "decode_ratio": 1.1}
        self.writer.write(Compared(before="all heads", after="final", values=speed))
        self.writer.write(Finished())

    def _measured(self, cycle: int) -> None:
        grids = {name: self.random.gamma(2.0, 0.3, self.shape) for name in SIGNALS}
        grids["normalized_entropy"] = self.random.random(self.shape)
        for head in self.asleep:
            for grid in grids.values():
                grid[head] = np.nan
        self.writer.write(HeadsMeasured(signals=SIGNALS, cycle=cycle), grids)
        wake = np.full(self.shape, np.nan)
        for head in self.asleep:
            wake[head] = self.random.normal()
        self.writer.write(HeadsMeasured(signals=("wake",), cycle=cycle), {"wake": wake})

    def _changed(self, cycle: int) -> None:
        for action, source, target, count in (("prune", self.awake, self.asleep, 12), ("revive", self.asleep, self.awake, 4)):
            chosen = [sorted(source)[place] for place in self.random.permutation(len(source))[:count]]
            for rank, head in enumerate(chosen, 1):
                reason = f"taylor {rank / 100} nats is rank {rank} of {len(source)}"
                made = {"score": rank / 100, "rank": rank, "threshold": 0.5, "reason": reason, "strategy": "taylor"}
                self.writer.write(DecisionMade(head=head, action=action, cycle=cycle, **made))
                source.discard(head)
                target.add(head)
            self.writer.write(Operation(action=action, mode="remove", heads=tuple(chosen), cycle=cycle))

    def _looked(self, stage: str, cycle: int) -> None:
        heads = (HeadId(0, 0), HeadId(1, 1))
        maps = np.tril(self.random.random((2, TOKENS, TOKENS)))
        maps /= maps.sum(-1, keepdims=True)
        tokens = tuple(f"t{place}" for place in range(TOKENS))
        self.writer.write(
            Attention(heads=heads, tokens=tokens, stage=stage, cycle=cycle), dict(zip(map(str, heads), maps, strict=True))
        )

    def _learned(self, phase: str, cycle: int | None) -> None:
        self.writer.write(PhaseStarted(phase=phase, cycle=cycle, steps=STEPS))
        for step in range(1, STEPS + 1):
            loss = 2.5 + 1 / step + 0.1 * self.random.normal()
            self.writer.write(Metrics(step=step, values={"train_loss": loss}, epoch=step / STEPS))

    def _judged(self, stage: str, cycle: int | None) -> None:
        loss = 2.5 + 0.2 * self.random.random()
        self.writer.write(PhaseStarted(phase="evaluation", cycle=cycle))
        self.writer.write(Evaluation(stage=stage, values={"loss_nats": loss, "perplexity": float(np.exp(loss))}, cycle=cycle))


def synthetic(folder: Path, cycles: int, layers: int, heads: int) -> Path:
    """The folder of a run so long and of a model so large."""
    settings = {"model": "drawn", "strategy": "taylor", "level": 0.5, "cycles": cycles, "seed": 0}
    sites = [{"layer": layer, "heads": heads} for layer in range(layers)]
    with Writer(folder, {"schema": 1, "settings": settings, "anatomy": {"sites": sites}}) as writer:
        Story(writer, layers, heads).tell(cycles)
    return folder


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    for name, default in (("cycles", 10), ("layers", 12), ("heads", 12)):
        arguments.add_argument(f"--{name}", type=int, default=default)
    arguments.add_argument("--json", action="store_true")
    chosen = arguments.parse_args()
    grid = np.random.default_rng(0).random((96, 128))
    visualize_entropy_heatmap(grid[:2, :2]).drawn("png")  # fonts are read once
    rows: list[dict[str, str | float]] = []
    began = time.perf_counter()
    visualize_entropy_heatmap(grid).drawn("png")
    rows.append({"what": "heat map of 96 × 128 heads, drawn as png", "seconds": time.perf_counter() - began, "target": "≤ 0.5"})
    with tempfile.TemporaryDirectory() as place:
        run = synthetic(Path(place) / "drawn", chosen.cycles, chosen.layers, chosen.heads)
        began = time.perf_counter()
        page = write_figures(run, Path(place) / "figures")
        took = time.perf_counter() - began
        count = len(list(page.parent.glob("*.png")))
    what = f"all {count} figures of {chosen.cycles} cycles, {chosen.layers} × {chosen.heads} heads, with their page"
    rows.append({"what": what, "seconds": took, "target": "≤ 20"})
    if chosen.json:
        print(json.dumps(rows, indent=2))
        return
    table = Table()
    for column in ("figure", "seconds", "target"):
        table.add_column(column)
    for row in rows:
        table.add_row(str(row["what"]), f"{row['seconds']:.2f}", str(row["target"]))
    Console().print(table)


if __name__ == "__main__":
    main()
