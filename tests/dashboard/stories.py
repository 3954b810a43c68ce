"""Runs written for the page: small, quick to write, and with every kind of event that a real one has."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neural_plasticity import record
from neural_plasticity.heads import HeadId
from neural_plasticity.record import Writer

LAYERS, HEADS, CYCLES, STEPS = 4, 6, 3, 12
DOCUMENTS = tuple(f"text/{number:02}.py" for number in range(7))
TOKENS = ("def", " ", "f", "(", "x", ")", ":", "\n")
SIGNALS = ("entropy", "taylor", "magnitude")


class Story:
    """Tells a run to its writer, one chapter after another."""

    def __init__(self, writer: Writer, *, mode: str = "remove", grows: bool = False, seed: int = 0, shift: float = 0.0) -> None:
        self.writer, self.mode, self.grows, self.chance = writer, mode, grows, np.random.default_rng(seed)
        self.shift = shift  # of all losses and speeds, so that no two runs are alike
        self.asleep: set[HeadId] = set()

    def whole(self, cycles: int = CYCLES) -> None:
        """From the first event to the last."""
        self.opening()
        for cycle in range(1, cycles + 1):
            self.cycle(cycle)
        self.closing(cycles)

    def opening(self) -> None:
        write = self.writer.write
        write(record.RunStarted(name=self.writer.folder.name, job="run"))
        self.judge("baseline", None, 2.75)
        self.sample("baseline", None, "return the sum of a list")
        self.learn("warm-up", None, 2.7)
        write(
            record.Notice(
                message=f"The loss had settled after {STEPS} steps, so the warm-up ended there.", about="settled", step=STEPS
            )
        )
        self.judge("warm", None, 2.7)

    def cycle(self, cycle: int) -> None:
        write = self.writer.write
        self.measure(cycle, SIGNALS)
        if cycle == 1:
            self.show("before", cycle)
        write(record.PhaseStarted(phase="pruning", cycle=cycle))
        self.operate("prune", cycle, [HeadId(cycle - 1, head) for head in (0, 2, 5)], "taylor", "of the first head kept")
        if self.grows and cycle > 1:
            self.measure(cycle, ("wake",))
            self.operate("revive", cycle, [HeadId(cycle - 2, 2)], "wake", "of the first head left asleep")
        self.judge("pruned", cycle, 2.8 + cycle / 10)
        write(record.Checkpoint(folder=f"checkpoints/{cycle}", step=cycle * STEPS, cycle=cycle))
        self.learn("fine-tuning", cycle, 2.75, self.rates if self.grows and cycle == 2 else None)
        self.judge("fine_tuned", cycle, 2.7 + cycle / 30)
        self.sample("fine_tuned", cycle, f"return a list of {cycle} sums")
        self.show("fine_tuned", cycle)

    def closing(self, cycles: int = CYCLES) -> None:
        write, last = self.writer.write, f"fine_tuned {cycles}"
        differences = self.chance.normal(0.05, 0.05, len(DOCUMENTS))
        values = {"documents": 7, "mean_difference": 0.0513, "low": -0.0127, "high": 0.1153, "worse_share": 5 / 7}
        write(
            record.Compared(before="baseline", after=last, values=values, documents=DOCUMENTS[:2], method="paired differences"),
            {"differences": differences},
        )
        if self.mode == "remove":
            speed = {"prefill_ms_before": 12.6, "prefill_ms_after": 10.1, "prefill_ratio": 1.2475 + self.shift, "prefill_low": 1.11}
            speed |= {"prefill_high": 1.31, "decode_ms_per_token_before": 4.6, "decode_ms_per_token_after": 4.5}
            speed |= {
                "decode_ratio": 1.022 + self.shift,
                "decode_low": 0.97,
                "decode_high": 1.08,
                "tokens": 128,
                "rounds": 7,
                "threads": 1,
            }
            write(record.Compared(before="all heads", after="final", values=speed, method="passes in turns"))
        write(record.Finished(summary={"loss_nats": 2.8, "heads": 15, "heads_before": 24, "parameters": 70_000, "steps": 48}))

    def judge(self, stage: str, cycle: int | None, loss: float) -> None:
        loss += self.shift if cycle else 0.0
        self.writer.write(record.PhaseStarted(phase="evaluation", cycle=cycle, steps=2))
        self.writer.write(record.Metrics(step=1, values={"eval_loss": loss}))
        losses = self.chance.normal(loss, 0.3, len(DOCUMENTS))
        losses[3] = np.nan  # a document too short to have one
        values = {"loss_nats": loss, "perplexity": float(np.exp(loss)), "tokens": 1234}
        event = record.Evaluation(stage=stage, values=values, documents=DOCUMENTS, cycle=cycle)
        self.writer.write(event, {"document_losses": losses})

    @property
    def rates(self) -> dict[str, np.ndarray]:
        """The multipliers of a cycle in which the head that came back learns three times as fast."""
        grid = np.ones((LAYERS, HEADS), dtype=np.float32)
        grid[0, 2] = 3
        for head in self.asleep:
            grid[head] = np.nan
        return {"rates": grid}

    def learn(self, phase: str, cycle: int | None, loss: float, rates: dict[str, np.ndarray] | None = None) -> None:
        self.writer.write(record.PhaseStarted(phase=phase, cycle=cycle, steps=STEPS), rates)
        for step in range(1, STEPS + 1):
            values = {"train_loss": loss + float(self.chance.normal(0, 0.1)), "learning_rate": 3e-4 / step, "gradient_norm": 1.1}
            self.writer.write(record.Metrics(step=step, values=values, epoch=step / 100))

    def measure(self, cycle: int, signals: Sequence[str]) -> None:
        phase = "regrowth analysis" if signals == ("wake",) else "analysis"
        self.writer.write(record.PhaseStarted(phase=phase, cycle=cycle))
        grids = {name: self.chance.normal(-0.02 if name == "wake" else 2, 0.5, (LAYERS, HEADS)) for name in signals}
        for name, grid in grids.items():
            for layer, head in np.ndindex(LAYERS, HEADS):
                if (HeadId(layer, head) in self.asleep) != (name == "wake"):
                    grid[layer, head] = np.nan
        event = record.HeadsMeasured(signals=tuple(signals), cycle=cycle, step=cycle * STEPS, path="flash")
        self.writer.write(event, {name: grid.astype(np.float32) for name, grid in grids.items()})

    def operate(self, action: str, cycle: int, heads: list[HeadId], signal: str, of: str) -> None:
        for rank, head in enumerate(heads, 1):
            score = 0.004 * rank + cycle / 1000
            reason = f"{signal} {score:.3g} nats is rank {rank} of 24, below the 0.02 {of}"
            told = {"score": score, "rank": rank, "threshold": 0.02, "reason": reason, "strategy": signal, "cycle": cycle}
            self.writer.write(record.DecisionMade(head=head, action=action, **told))
        before = self.weight
        self.asleep = self.asleep | set(heads) if action == "prune" else self.asleep - set(heads)
        event = record.Operation(
            action=action,
            mode=self.mode,
            heads=tuple(heads),
            before=before,
            after=self.weight,
            largest_difference=1e-7,
            cycle=cycle,
        )
        self.writer.write(event)

    @property
    def weight(self) -> dict[str, float]:
        """What the model weighs now."""
        gone = len(self.asleep) if self.mode == "remove" else 0
        parameters = 100_000 - 2048 * gone
        return {"parameters": parameters, "parameter_bytes": 4 * parameters, "cache_bytes_per_token": 3072 - 128 * gone}

    def sample(self, stage: str, cycle: int | None, text: str) -> None:
        self.writer.write(record.Sample(prompt="def ", text=text, seed=0, stage=stage, cycle=cycle))

    def show(self, stage: str, cycle: int) -> None:
        heads = [head for head in (HeadId(0, 0), HeadId(3, 4)) if head not in self.asleep]
        size = len(TOKENS)
        maps = {}
        for head in heads:
            weights = np.tril(self.chance.random((size, size)))
            maps[str(head)] = (weights / weights.sum(1, keepdims=True)).astype(np.float16)
        self.writer.write(record.Attention(heads=tuple(heads), tokens=TOKENS, stage=stage, cycle=cycle), maps)


def description(name: str, mode: str = "remove", *, exchange: float = 0.0, **more: object) -> dict[str, object]:
    """What a run of this name says of itself."""
    sites = [{"layer": layer, "heads": HEADS} for layer in range(LAYERS)]
    settings = {"model": "tiny", "strategy": "taylor", "mode": mode, "level": 0.375, "exchange": exchange, "newborn_rate": 3.0}
    settings |= {"learning_rate": 3e-4, **more}
    return {"name": name, "settings": settings, "anatomy": {"model": "Small", "sites": sites}}


def told(folder: Path, *, mode: str = "remove", grows: bool = False, seed: int = 0) -> Path:
    """A whole run in this folder."""
    with Writer(folder, description(folder.name, mode, exchange=0.05 if grows else 0.0)) as writer:
        Story(writer, mode=mode, grows=grows, seed=seed).whole()
    return folder


HOSTILE = '"><img src=x onerror=alert(1)>, 100%\u202e'


def crowd(root: Path, count: int = 50) -> list[Path]:
    """Many runs of different settings and lengths: one failed, one hostile by its name, one that nothing was measured in."""
    return [_one_of_many(root, number) for number in range(count)]


def _one_of_many(root: Path, number: int) -> Path:
    mode, strategy = ("remove", "mask_forward", "gate")[number % 3], ("taylor", "entropy", "fisher", "random")[number % 4]
    folder = root / (HOSTILE if number == 7 else f"2026-11-20_1430{number:02}_tiny")
    said = description(folder.name, mode, strategy=strategy, level=number % 5 / 10, seed=number)
    with Writer(folder, said) as writer:
        story = Story(writer, mode=mode, seed=number, shift=number * 37 % 50 / 250)
        if number == 11:
            writer.write(record.RunStarted(name=folder.name, job="run"))
        elif number == 5:
            story.opening()
            writer.write(record.Failed(error="Diverged", message="The loss became NaN in step 3.", phase="warm-up"))
        else:
            story.whole(1 + number % CYCLES)
    return folder
