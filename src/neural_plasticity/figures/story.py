"""What an experiment went through, phase after phase, from an object with results or from dicts of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.coerce import Floats, array_of, series_of
from neural_plasticity.figures.warmup import Warmup, warmup_of

PHASES = ("warmup", "pruning", "fine_tuning")
WORDS = {"warmup": "warm-up", "pruning": "pruning", "fine_tuning": "fine-tuning"}
_LOSSES = ("losses", "train_loss", "loss")
_STEPS = ("steps", "step")
_STAGES = {"baseline": "baseline", "pruned": "pruned", "fine-tuned": "final"}


@dataclass(frozen=True)
class Phase:
    """A phase on the steps of the whole experiment."""

    name: str
    start: float
    steps: Floats
    losses: Floats
    offset: float  # what was added to the steps that the results name


@dataclass(frozen=True)
class Story:
    """All phases in order, and what the pruning did."""

    phases: list[Phase]
    warmup: Warmup
    pruning: Mapping[str, Any]

    def phase(self, name: str) -> Phase | None:
        """The phase of this name, if there was one."""
        return next((phase for phase in self.phases if phase.name == name), None)

    def perplexities(self) -> dict[str, float]:
        """The perplexity of each stage that was evaluated."""
        found: dict[str, float] = {}
        for word, stage in _STAGES.items():
            metrics = _first(self.pruning, (f"{stage}_metrics", stage))
            value = cast("Mapping[str, Any]", metrics).get("perplexity") if isinstance(metrics, Mapping) else None
            if value is not None:
                found[word] = float(value)
        if self.phase("fine_tuning") is None and found.get("fine-tuned") == found.get("pruned"):
            found.pop("fine-tuned", None)  # the end of an experiment without recovery is its pruned model, named twice
        return found

    def heads(self, which: str) -> list[tuple[int, int]]:
        """The pruned or revived heads, as (layer, head), each once however often that befell it."""
        named = self.pruning.get(which)
        if named is None:
            return []
        found = array_of(list(named), f"pruning['{which}']")
        if found.size and (found.ndim != 2 or found.shape[1] != 2):
            raise SettingNotUsable(f"pruning['{which}'] has shape {found.shape}; it is a list of (layer, head).")
        return list(dict.fromkeys((int(layer), int(head)) for layer, head in found.tolist())) if found.size else []


def story_of(experiment: Any) -> Story:
    """The story of an experiment: a dict with warmup, pruning and fine_tuning, or an object with `.warmup_results` and so on."""
    results = {name: _results(experiment, name) for name in PHASES}
    if all(found is None for found in results.values()):
        seen = ", ".join(map(str, experiment)) if isinstance(experiment, Mapping) else f"a {type(experiment).__name__}"
        raise SettingNotUsable(
            f"The experiment holds {seen or 'nothing'}; pass a dict with warmup, pruning and fine_tuning, or one that ran."
        )
    pruning = results["pruning"] or {}
    tunings = _tunings(results["fine_tuning"], pruning)
    warmup = warmup_of(results["warmup"] or {})
    phases: list[Phase] = []
    _append(phases, "warmup", warmup.steps, warmup.losses)
    for tuning in tunings or [{}]:
        _append(phases, "pruning", *_curve(pruning, "pruning"), always=bool(pruning))
        _append(phases, "fine_tuning", *_curve(tuning, "fine_tuning"))
    return Story(phases, warmup, pruning)


def _tunings(results: Mapping[str, Any] | None, pruning: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The fine-tuning, or one for each cycle as the results of the pruning hold them: lists of losses by name."""
    if results:
        return [results]
    metrics: Any = _first(pruning, ("training_metrics",))
    if not isinstance(metrics, Mapping):
        return []
    known = cast("Mapping[str, Any]", metrics)
    if _first(known, _LOSSES) is not None:
        return [known]
    return [{"losses": losses} for name, losses in known.items() if str(name).startswith("fine")]


def _results(experiment: Any, name: str) -> Mapping[str, Any] | None:
    found = cast("Mapping[str, Any]", experiment).get(name) if isinstance(experiment, Mapping) else None
    found = getattr(experiment, f"{name}_results", None) if found is None else found
    if found is not None and not isinstance(found, Mapping):
        raise SettingNotUsable(f"The results of {name} are a {type(found).__name__}; they are a dict.")
    return cast("Mapping[str, Any] | None", found)


def _append(phases: list[Phase], name: str, steps: Floats, losses: Floats, *, always: bool = False) -> None:
    """Add a phase behind the last: at the steps it names, or counted on where it counts from its own beginning."""
    if not steps.size and not always:
        return
    end = float(phases[-1].steps[-1]) if phases and phases[-1].steps.size else phases[-1].start if phases else None
    if not steps.size:
        phases.append(Phase(name, end or 0.0, steps, losses, 0.0))
        return
    offset = end + 1 - float(steps[0]) if end is not None and steps[0] <= end else 0.0
    phases.append(Phase(name, float(steps[0]) + offset, steps + offset, losses, offset))


def _curve(results: Mapping[str, Any], name: str) -> tuple[Floats, Floats]:
    losses = series_of(_first(results, _LOSSES) if _first(results, _LOSSES) is not None else [], f"{name}['losses']")
    named = _first(results, _STEPS)
    steps = np.arange(1.0, losses.size + 1) if named is None or not losses.size else series_of(named, f"{name}['steps']")
    if steps.size != losses.size:
        raise SettingNotUsable(f"{name} has {losses.size} losses and {steps.size} steps; give as many of each.")
    return steps, losses


def _first(results: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((results[name] for name in names if results.get(name) is not None), None)
