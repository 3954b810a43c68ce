"""One example of every kind of event; the conformance tests and the docs check run over this table."""

import math

from neural_plasticity import record
from neural_plasticity.heads import HeadId

EXAMPLES: dict[str, record.Event] = {
    "run": record.RunStarted(name="2026-01-01_000000_tiny", job="demo"),
    "phase": record.PhaseStarted(phase="warm-up", cycle=1, steps=200),
    "metrics": record.Metrics(step=7, epoch=0.25, values={"train_loss": 2.5, "grad": math.inf}),
    "heads": record.HeadsMeasured(signals=("entropy", "taylor"), cycle=1, step=7, path="flash"),
    "decision": record.DecisionMade(
        head=HeadId(0, 3), action="prune", score=-0.5, rank=1, threshold=0.0, reason="smallest of 48", strategy="taylor"
    ),
    "operation": record.Operation(
        action="prune", mode="remove", heads=(HeadId(0, 3),), before={"parameters": 9.0}, after={"parameters": 8.0}
    ),
    "sample": record.Sample(prompt="def f", text="(x):\n    return x \u2028 <script>\ud800", seed=0, stage="before"),
    "attention": record.Attention(heads=(HeadId(1, 2),), tokens=("a", "\x1b[31m"), stage="after", cycle=2),
    "evaluation": record.Evaluation(stage="baseline", values={"loss_nats": math.nan}, documents=("a.py", "b.py")),
    "comparison": record.Compared(
        before="baseline", after="final", values={"mean_difference": 0.003, "low": -math.inf}, documents=("a.py",), method="paired"
    ),
    "notice": record.Notice(message="the warm-up had settled after 40 steps", cycle=1),
    "checkpoint": record.Checkpoint(folder="checkpoints/000200", step=200),
    "request": record.Request(name="0001", wish={"protect": [[0, 1]]}, granted=False, answer="the head is gone already"),
    "finished": record.Finished(summary={"loss_nats": 2.0}),
    "failed": record.Failed(error="NonFinite", message="the loss became NaN at step 12", phase="warm-up"),
}
