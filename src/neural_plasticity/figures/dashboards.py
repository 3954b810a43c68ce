"""Folders of figures for an experiment in any form: what came of its warm-up, its pruning, and the whole."""

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, cast

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.canvas import Figure
from neural_plasticity.figures.chronicle import Chronicle, run_of
from neural_plasticity.figures.decisions import visualize_pruning_decisions
from neural_plasticity.figures.entropy import visualize_entropy_heatmap, visualize_entropy_vs_gradient
from neural_plasticity.figures.gradients import visualize_gradient_norms
from neural_plasticity.figures.phases import visualize_complete_training_process
from neural_plasticity.figures.told import results as results_of_run
from neural_plasticity.figures.warmup import visualize_warmup_dashboard
from neural_plasticity.record.run import Run

Results = Mapping[str, Any]
_PHASES = ("warmup", "pruning", "fine_tuning")


def generate_dashboards(experiment: Any, output_dir: str | PathLike[str], **style: Any) -> dict[str, list[Path]]:
    """The figures of an experiment under `warmup`, `pruning` and `complete` in a folder; the files of each.

    An experiment is one that ran, its outcome, a run or its folder, or a dict with warmup, pruning and fine_tuning. What it
    has not come to yet has no figures.
    """
    results, folder = results_of(experiment), Path(output_dir)
    found: dict[str, list[Path]] = {"warmup": [], "pruning": [], "complete": []}
    if results.get("warmup"):
        drawn = visualize_warmup_dashboard(results["warmup"], **style)
        found["warmup"].append(drawn.save(folder / "warmup" / "warmup.png"))
    for name, figure in pruning_figures(results.get("pruning") or {}, **style).items():
        found["pruning"].append(figure.save(folder / "pruning" / f"{name}.png"))
    found["complete"].append(generate_complete_process_dashboard(results, folder, **style))
    return found


def generate_complete_process_dashboard(experiment: Any, output_dir: str | PathLike[str], **style: Any) -> Path:
    """The whole experiment in one picture, in the folder `complete`; returns where it lies."""
    figure = visualize_complete_training_process(results_of(experiment), **style)
    return figure.save(Path(output_dir) / "complete" / "complete.png")


def pruning_figures(results: Results, **style: Any) -> dict[str, Figure]:
    """The figures that the results of a pruning have what it takes for, by name."""
    gradient, entropy, mask = (results.get(name) for name in ("grad_norm_values", "entropy_values", "pruning_mask"))
    pruned, revived = results.get("pruned_heads"), results.get("revived_heads")
    possible: tuple[tuple[str, bool, Callable[[], Figure]], ...] = (
        (
            "decisions",
            gradient is not None and mask is not None,
            lambda: visualize_pruning_decisions(gradient, mask, reasons=results.get("reasons"), **style),
        ),
        ("gradient", gradient is not None, lambda: visualize_gradient_norms(gradient, pruned, revived, **style)),
        ("entropy", entropy is not None, lambda: visualize_entropy_heatmap(entropy, **style)),
        (
            "entropy_vs_gradient",
            gradient is not None and entropy is not None,
            lambda: visualize_entropy_vs_gradient(entropy, gradient, **style),
        ),
    )
    return {name: draw() for name, there, draw in possible if there}


def results_of(experiment: Any) -> Results:
    """The results of an experiment in any form, by phase."""
    if isinstance(experiment, Mapping):
        known = cast("Results", experiment)
        if any(known.get(name) is not None for name in _PHASES):
            return known
        seen = ", ".join(map(str, known)) or "nothing"
        raise SettingNotUsable(f"The experiment is a dict that holds {seen:.200}; it needs {', '.join(_PHASES)}, or some of them.")
    named = {name: getattr(experiment, f"{name}_results", None) for name in _PHASES}
    if any(each is not None for each in named.values()):
        return {name: each for name, each in named.items() if each is not None}
    found = results_of_run(Chronicle.of(experiment))
    if not found:
        raise SettingNotUsable(f"{run_of(experiment).name} has neither learned nor pruned yet; wait until it has.")
    return found


def record_of(experiment: Any) -> Run | None:
    """The record of an experiment, where it has one."""
    if isinstance(experiment, Mapping):
        return None
    folder = getattr(experiment, "folder", experiment)
    return None if folder is None else run_of(experiment)
