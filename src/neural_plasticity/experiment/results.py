"""The results of an experiment under the names that the seed documents give them."""

from typing import Any

import numpy as np

from neural_plasticity.experiment.evaluation import Quality
from neural_plasticity.experiment.workplace import Workplace
from neural_plasticity.heads import HeadGrid, HeadId
from neural_plasticity.training.stabilisation import stabilisation


def warmup_results(place: Workplace) -> dict[str, Any] | None:
    """Losses, trend, and where they settled, of all of the warm-up or as far as it is; None before its first step."""
    story = place.story
    underway = place.settings.warmup_steps > 0 and not story.learning  # it is the first chapter that learns
    losses = story.learning.get("warm-up", story.losses if underway else [])
    if not losses:
        return None
    return stabilisation(losses).as_results(losses, story.durations.get("warm-up", 0.0))


def pruning_results(place: Workplace) -> dict[str, Any] | None:
    """What was pruned and what became of the loss; None before the first cycle."""
    story, anatomy = place.story, place.surgeon.anatomy
    if not story.cycles:
        return None
    before = story.stages.get("warm", story.stages["baseline"])
    cut = [quality for name, quality in story.stages.items() if name.startswith("pruned ")]
    pruned, final = cut[-1] if cut else before, list(story.stages.values())[-1]
    asleep = sorted(place.asleep)
    mask = np.zeros((len(anatomy.sites), max(site.heads for site in anatomy)), dtype=bool)
    for layer, head in asleep:
        mask[layer, head] = True
    revived = {HeadId(*head) for cycle in story.cycles for head in cycle["revived"]}
    hurt = pruned.loss_nats - before.loss_nats
    return {
        "strategy": place.settings.strategy,
        "pruning_level": place.settings.level,
        "total_heads": len(anatomy.heads),
        "pruned_heads": [tuple(head) for head in asleep],
        "revived_heads": [tuple(head) for head in sorted(revived - set(asleep))],
        "pruning_mask": mask,
        "grad_norm_values": _values(story.measured.get("gradient")),
        "entropy_values": _values(story.measured.get("entropy")),
        "baseline_metrics": _metrics(before),
        "pruned_metrics": _metrics(pruned),
        "final_metrics": _metrics(final),
        "recovery_rate": (pruned.loss_nats - final.loss_nats) / hurt if hurt > 0 else None,
        "perplexity_improvement": (before.perplexity - final.perplexity) / before.perplexity,
        "training_metrics": {name: list(losses) for name, losses in story.learning.items()},
        "cycles": story.cycles,
    }


def _metrics(quality: Quality) -> dict[str, float]:
    return {"loss": quality.loss_nats, "perplexity": quality.perplexity, **quality.metrics}


def _values(grid: HeadGrid | None) -> Any:
    return None if grid is None else grid.values
