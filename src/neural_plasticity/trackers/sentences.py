"""Events as sentences: what somebody reads who does not know the names of the numbers."""

from collections.abc import Mapping

from neural_plasticity.record import Compared, Evaluation, Operation

NAMES = {  # of numbers, as they are called in a sentence
    "loss_nats": "loss",
    "train_loss": "loss",
    "eval_loss": "held-out loss",
    "learning_rate": "rate",
    "gradient_norm": "gradient",
}
AGAINST = {"baseline": "the model as it came", "warm": "the model after its warm-up"}  # what a stage is compared with
DONE = {"prune": "pruned", "revive": "woken"}
SHOWN = 3  # documents by name


def numbers_listed(values: Mapping[str, float]) -> str:
    """Numbers with their names."""
    return ", ".join(f"{NAMES.get(name, name.replace('_', ' '))} {number(value)}" for name, value in values.items())


def number(value: float) -> str:
    """A number as short as it can be read."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e12 else f"{value:.4g}"


def stage_of(stage: str, cycle: int | None = None) -> str:
    """A stage by its name, which may end in its cycle."""
    named, _, number = stage.rpartition(" ")
    if cycle is None and named and number.isdecimal():
        return f"{named.replace('_', ' ')} in cycle {number}"
    return stage.replace("_", " ") if cycle is None else f"{stage.replace('_', ' ')} in cycle {cycle}"


def _against(event: Compared) -> str:
    return f"{stage_of(event.after)} against {AGAINST.get(event.before, stage_of(event.before))}"


def evaluated(event: Evaluation) -> str:
    """What a model was worth at a stage."""
    values = {name: value for name, value in event.values.items() if name != "tokens"}
    told = f"{stage_of(event.stage, event.cycle)}: {numbers_listed(values)}"
    return f"{told}; over {number(event.values['tokens'])} predictions" if "tokens" in event.values else told


def operated(event: Operation) -> str:
    """What was done to which heads, and what it saves."""
    count = len(event.heads)
    told = f"{DONE.get(event.action, event.action)} {count} head{'s' * (count != 1)} by {event.mode}"
    before, after = event.before.get("parameters", 0.0), event.after.get("parameters", 0.0)
    return told if before == after else f"{told}: {before:,.0f} → {after:,.0f} parameters ({after / before - 1:+.1%})"


def compared(event: Compared) -> str:
    """What two stages set side by side have shown; every number by its name where it is of an unknown kind."""
    if {"mean_difference", "documents"} <= event.values.keys():
        return _quality(event)
    if "prefill_ratio" in event.values:
        return _speed(event)
    return f"{_against(event)}: {numbers_listed(event.values)}"


def _quality(event: Compared) -> str:
    values = event.values
    difference, documents = values["mean_difference"], values["documents"]
    told = f"{_against(event)}, document by document: the loss is "
    told += f"{abs(difference):.4f} {'higher' if difference > 0 else 'lower'}" if difference else "the same"
    if documents > 1 and "low" in values and "high" in values:
        told += f" (95 % between {values['low']:+.4f} and {values['high']:+.4f})"
    told += f" over {number(documents)} document{'s' * (documents != 1)}"
    if documents > 1 and "worse_share" in values:
        told += f", {values['worse_share']:.0%} of them worse"
    return told + (f"; the worst: {', '.join(event.documents[:SHOWN])}" if event.documents else "")


def _speed(event: Compared) -> str:
    values = event.values
    read = f"reading {number(values['tokens'])} tokens" if values.get("tokens") else "one pass"
    told = [_times(read, "prefill", values), _times("writing a token", "decode", values)]
    return f"against {stage_of(event.before)}: {'; '.join(each for each in told if each)}"


def _times(what: str, name: str, values: Mapping[str, float]) -> str:
    ratio, low, high = (values.get(f"{name}_{each}") for each in ("ratio", "low", "high"))
    if ratio is None or low is None or high is None:
        return ""
    doubt = ", so perhaps no faster" if low <= 1 <= high else ""
    return f"{what} is {ratio:.2f} times as fast ({low:.2f} to {high:.2f}{doubt})"
