"""Runs that nobody made, whose every number is known: 2 layers of 3 heads, two cycles, one head that comes back."""

from pathlib import Path

import numpy as np

from neural_plasticity.heads import HeadId
from neural_plasticity.record import (
    Attention,
    Compared,
    DecisionMade,
    Evaluation,
    Finished,
    HeadsMeasured,
    Metrics,
    Notice,
    Operation,
    PhaseStarted,
    Run,
    RunStarted,
    Writer,
)

SITES = [{"layer": 0, "heads": 3}, {"layer": 1, "heads": 3}]
TAYLOR = {1: np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]), 2: np.array([[np.nan, 0.2, 0.25], [0.35, np.nan, 0.7]])}
ENTROPY = {1: np.array([[1.0, 2.0, 0.5], [0.1, 1.5, 2.5]]), 2: np.array([[np.nan, 2.1, 0.6], [0.2, np.nan, 2.4]])}
GRADIENT = {cycle: 2 * grid for cycle, grid in TAYLOR.items()}
WAKE = np.array([[-0.3, -0.1, np.nan], [np.nan, -0.05, np.nan]])
TOKENS = ("a", " b", "\n")
MAPS = {1: np.tril(np.ones((3, 3))) / np.arange(1, 4)[:, None], 2: np.eye(3)}
WARM, TUNED = [5.0, 4.0, 3.5], {1: [4.0, 3.6], 2: [4.4, 3.9]}
PERPLEXITY = {"baseline": 20.0, "warm": 18.0, "pruned 1": 30.0, "fine_tuned 1": 24.0, "pruned 2": 40.0, "fine_tuned 2": 29.0}
HELD = HeadId(1, 2)
CHANGES = {1: {"prune": [HeadId(0, 0), HeadId(1, 1)]}, 2: {"prune": [HeadId(0, 1)], "revive": [HeadId(0, 0)]}}


def reason(action: str, head: HeadId, cycle: int) -> str:
    return f"{action} {head} for reason {cycle}"


class Teller:
    """Writes the story, phase by phase."""

    def __init__(self, writer: Writer, **left_out: bool) -> None:
        self.write, self.left_out = writer.write, left_out

    def learned(self, phase: str, cycle: int | None, losses: list[float]) -> None:
        self.write(PhaseStarted(phase=phase, cycle=cycle, steps=len(losses)))
        for step, loss in enumerate(losses, 1):
            self.write(Metrics(step=step, values={"train_loss": loss, "learning_rate": 0.1}, epoch=0.1 * step))

    def judged(self, stage: str, cycle: int | None) -> None:
        perplexity = PERPLEXITY[stage if cycle is None else f"{stage} {cycle}"]
        self.write(PhaseStarted(phase="evaluation", cycle=cycle))
        self.write(Metrics(step=1, values={"eval_loss": 9.0}))  # of one batch, and no step of learning
        self.write(Evaluation(stage=stage, values={"loss_nats": float(np.log(perplexity)), "perplexity": perplexity}, cycle=cycle))

    def measured(self, cycle: int) -> None:
        grids = {"entropy": ENTROPY[cycle], "normalized_entropy": ENTROPY[cycle] / 3, "gradient": GRADIENT[cycle]}
        grids |= {"taylor": TAYLOR[cycle], "ablation": TAYLOR[cycle] - 0.3}
        self.write(HeadsMeasured(signals=tuple(grids), cycle=cycle), grids)

    def changed(self, cycle: int) -> None:
        for action, heads in CHANGES[cycle].items():
            for rank, head in enumerate(heads, 1):
                self.write(
                    DecisionMade(
                        head=head,
                        action=action,
                        score=0.1,
                        rank=rank,
                        threshold=0.2,
                        reason=reason(action, head, cycle),
                        strategy="taylor",
                        cycle=cycle,
                    )
                )
            self.write(Operation(action=action, mode="remove", heads=tuple(heads), cycle=cycle))

    def seen(self, stage: str, cycle: int) -> None:
        maps = {str(HELD): MAPS[2 if stage == "fine_tuned" else 1]}
        self.write(Attention(heads=(HELD,), tokens=TOKENS, stage=stage, cycle=cycle), maps)

    def compared(self) -> None:
        self.write(Compared(before="baseline", after="x", values={"mean_difference": 0.5, "low": 0.4, "high": 0.6}))
        self.write(Compared(before="warm", after="x", values={"mean_difference": 0.2, "low": 0.1, "high": 0.35}))
        speed = {"prefill_ratio": 1.5, "prefill_low": 1.2, "prefill_high": 1.9, "decode_ratio": 1.1}
        self.write(Compared(before="all heads", after="final", values=speed))


def recorded(folder: Path, *, cycles: int = 2, speed: bool = True, **settings) -> Run:
    """The whole story, or that of fewer cycles."""
    asked = {"model": "small", "strategy": "taylor", "level": 0.5, "cycles": cycles, "seed": 0} | settings
    with Writer(folder, {"schema": 1, "settings": asked, "anatomy": {"sites": SITES}}) as writer:
        teller = Teller(writer)
        writer.write(RunStarted(name=folder.name, job="run"))
        teller.judged("baseline", None)
        teller.learned("warm-up", None, WARM)
        writer.write(Notice(message="The loss had settled after 3 steps, so the warm-up ended there.", about="settled", step=3))
        teller.judged("warm", None)
        for cycle in range(1, cycles + 1):
            teller.measured(cycle)
            if cycle == 1:
                teller.seen("before", cycle)
            else:
                writer.write(HeadsMeasured(signals=("wake",), cycle=cycle), {"wake": WAKE})
            teller.changed(cycle)
            teller.judged("pruned", cycle)
            teller.learned("fine-tuning", cycle, TUNED[cycle])
            teller.judged("fine_tuned", cycle)
            teller.seen("fine_tuned", cycle)
        if speed:
            teller.compared()
        writer.write(Finished())
    return Run(folder)


def only_measured(folder: Path) -> Run:
    """A run that looked at the heads and changed nothing."""
    with Writer(folder, {"schema": 1, "settings": {"model": "small"}}) as writer:
        writer.write(RunStarted(name=folder.name, job="analyze"))
        writer.write(HeadsMeasured(signals=("entropy",)), {"entropy": ENTROPY[1]})
        writer.write(Finished())
    return Run(folder)
