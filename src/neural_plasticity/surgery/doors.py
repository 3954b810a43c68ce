"""The names by which the seed documents ask for pruning; each is a door to the room behind it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.heads import HeadGrid, HeadId
from neural_plasticity.selection.pruning import plan_pruning
from neural_plasticity.selection.strategies import strategy_of
from neural_plasticity.surgery.modes import PruningMode
from neural_plasticity.surgery.surgeon import Surgeon

STRATEGIES = ("combined", "entropy", "gradient", "random")  # those that two grids are enough for


def generate_pruning_mask(
    grad_norm_values: Any, entropy_values: Any = None, prune_percent: float = 0.1, strategy: str = "combined", seed: int = 0
) -> Tensor:
    """Which heads to prune, True for each: a share of all, those of small gradients, of high entropy, or of both by rank.

    Values are layers × heads, NaN where no head is. `combined` ranks heads by both and weighs entropy by 0.6.
    """
    grids = {"gradient": _grid(grad_norm_values, "grad_norm_values")}
    if strategy not in STRATEGIES:
        raise SettingNotUsable(f"There is no strategy {strategy!r} for a mask; choose one of {', '.join(STRATEGIES)}.")
    if not 0 <= prune_percent <= 1:
        raise SettingNotUsable(f"prune_percent is {prune_percent}; it is a share of all heads, from 0 to 1.")
    there = ~np.isnan(grids["gradient"])
    if "entropy" in strategy_of(strategy).signals:
        grids["entropy"] = _of_the_same_heads(entropy_values, there, strategy)
    count = int(prune_percent * there.sum() + 1e-9)  # never more than the share, but for 0.3 of 10
    heads = [HeadId(layer, head) for layer, head in np.argwhere(there).tolist()]
    mask = torch.zeros(there.shape, dtype=torch.bool)
    if heads:
        for head in plan_pruning(grids, count=count, strategy=strategy, seed=seed, min_heads=0, heads=heads).heads:
            mask[head] = True
    return mask


def apply_pruning_mask(model: nn.Module, pruning_mask: Any, mode: str = PruningMode.ZERO_WEIGHTS) -> list[tuple[int, int]]:
    """Prune the heads that a mask marks, layers × heads; the list of them."""
    mask = np.asarray(torch.as_tensor(pruning_mask).cpu())
    if mask.ndim != 2 or mask.dtype != bool:
        raise SettingNotUsable(
            f"The pruning mask has shape {mask.shape} and type {mask.dtype}; it is layers × heads, True for what goes."
        )
    heads = [HeadId(layer, head) for layer, head in np.argwhere(mask).tolist()]
    if heads:
        Surgeon(model).prune(heads, mode)
    return [(head.layer, head.head) for head in heads]


def _grid(values: Any, name: str) -> np.ndarray[Any, Any]:
    values = values.values if isinstance(values, HeadGrid) else values
    grid = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
    if grid.ndim != 2 or not grid.size:
        raise SettingNotUsable(f"{name} has shape {grid.shape}; it is layers × heads.")
    return grid


def _of_the_same_heads(values: Any, there: np.ndarray[Any, Any], strategy: str) -> np.ndarray[Any, Any]:
    if values is None:
        raise SettingNotUsable(f"The strategy {strategy} needs entropy_values; pass them, or choose gradient.")
    entropy = _grid(values, "entropy_values")
    if entropy.shape != there.shape or bool(np.isnan(entropy[there]).any()):
        raise SettingNotUsable(
            f"entropy_values has shape {entropy.shape} and grad_norm_values {there.shape}; give both, of the same heads."
        )
    return entropy
