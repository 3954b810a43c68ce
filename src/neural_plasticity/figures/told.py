"""What a run says of itself under the names of an experiment: the history of its metrics, and the results of its phases."""

from math import nan
from typing import Any

from neural_plasticity.figures.chronicle import Chronicle, Course
from neural_plasticity.record.events import Evaluation, Event, Operation, PhaseStarted


def history(told: Chronicle) -> list[dict[str, Any]]:
    """A row for everything that has a step: losses, evaluations, and how many heads were pruned and had come back by then."""
    rows: list[dict[str, Any]] = []
    for course in told.courses:
        for _, row in course.rows:
            known = {key: row.values[key] for key in ("train_loss", "eval_loss") if key in row.values}
            rows.append({"step": course.before + row.step, "epoch": row.epoch, **known})
    rows += _landmarks(told)
    last = max((row["step"] for row in rows), default=0)
    rows = sorted([*rows, _heads(told, told.cycles, last)], key=lambda row: row["step"]) if rows else []
    # An evaluation is no gap in the losses: its row says the loss of its step once more.
    losses = {row["step"]: row["train_loss"] for row in rows if "train_loss" in row}
    return [{"train_loss": losses[row["step"]]} | row if row["step"] in losses else row for row in rows]


def _landmarks(told: Chronicle) -> list[dict[str, Any]]:
    """Evaluations and operations at the steps that had been taken when they came."""
    rows = [_heads(told, 0, 0)] if told.events(Operation) else []
    starts = {(course.phase, course.cycle): course for course in told.courses}
    steps = 0
    for event in (entry.event for entry in told.entries):
        steps = _steps_before(event, starts, steps)
        if isinstance(event, Evaluation):
            rows.append({"step": steps, "eval_loss": event.values.get("loss_nats"), "perplexity": event.values.get("perplexity")})
        elif isinstance(event, Operation):
            rows.append(_heads(told, event.cycle or 0, steps))
    return rows


def _steps_before(event: Event, starts: dict[tuple[str, int | None], Course], steps: int) -> int:
    """How many steps are done when the phase that an event begins is over."""
    course = starts.get((event.phase, event.cycle)) if isinstance(event, PhaseStarted) else None
    return steps if course is None else course.before + len(course.losses)


def _heads(told: Chronicle, cycle: int, step: int) -> dict[str, Any]:
    total = len(told.heads)
    asleep = total - told.awake(cycle)
    back = sum(1 for head in told.heads if told.state(head, cycle) == "revived")
    return {"step": step, "pruned_heads": asleep, "revived_heads": back, "sparsity": asleep / total if total else nan}


def results(told: Chronicle) -> dict[str, Any]:
    """The results under the names of the phases: warmup, and pruning with what was learned after it."""
    found: dict[str, Any] = {}
    warm = next((course for course in told.courses if course.phase == "warm-up"), None)
    if warm is not None:
        found["warmup"] = _warmup(told, warm)
    if told.events(Operation):
        found["pruning"] = _pruning(told)
    return found


def _warmup(told: Chronicle, course: Course) -> dict[str, Any]:
    losses, settled = course.losses, told.settled
    found = {"losses": losses, "total_steps": len(losses), "duration": course.duration, "is_stable": settled is not None}
    if losses:
        found |= {"initial_loss": losses[0], "final_loss": losses[-1]}
    if losses and losses[0]:
        found["improvement_percent"] = 100 * (losses[0] - losses[-1]) / abs(losses[0])
    if settled is not None and settled.step is not None:
        found["stabilization_step"] = settled.step
    return found


def _pruning(told: Chronicle) -> dict[str, Any]:
    by_cycle = told.evaluations()
    first = by_cycle.get(0, {})
    # Only what was evaluated in one cycle is a pair: the last that pruned, and no number where it has not been fine-tuned.
    last = by_cycle.get(max((cycle for cycle, stages in by_cycle.items() if "pruned" in stages), default=0), {})
    known = {
        "baseline_metrics": first.get("warm", first.get("baseline")),
        "pruned_metrics": last.get("pruned"),
        "final_metrics": last.get("fine_tuned"),
    }
    tuned = {f"fine-tuning {course.cycle}": course.losses for course in told.courses if course.phase == "fine-tuning"}
    return {
        "strategy": told.settings.get("strategy"),
        "pruning_level": told.settings.get("level"),
        "total_heads": len(told.heads),
        "pruned_heads": [tuple(head) for head in told.heads if told.state(head, told.cycles) in ("dormant", "removed")],
        "revived_heads": [tuple(head) for head in told.heads if told.state(head, told.cycles) == "revived"],
        "training_metrics": tuned,
    } | {name: _metrics(event) for name, event in known.items() if event is not None}


def _metrics(event: Evaluation) -> dict[str, float]:
    return {("loss" if name == "loss_nats" else name): value for name, value in event.values.items()}
