"""The names by which the seed documents ask for pruning; each is a door to the room behind it."""

from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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
    if isinstance(prune_percent, bool) or not isinstance(prune_percent, Real) or not 0 <= prune_percent <= 1:
        raise SettingNotUsable(f"prune_percent is {prune_percent!r:.40}; pass a share of all heads, from 0 to 1.")
    there = ~np.isnan(grids["gradient"])
    if "entropy" in strategy_of(strategy).signals:
        grids["entropy"] = _of_the_same_heads(entropy_values, there, strategy)
    count = int(prune_percent * there.sum() + 1e-9)  # never more than the share, but for 0.3 of 10
    heads = [HeadId(layer, head) for layer, head in np.argwhere(there).tolist()]
    mask = torch.zeros(there.shape, dtype=torch.bool)
    for head in plan_pruning(grids, count=count, strategy=strategy, seed=seed, min_heads=0, heads=heads).heads:
        mask[head] = True
    return mask


def apply_pruning_mask(model: nn.Module, pruning_mask: Any, mode: str = PruningMode.ZERO_WEIGHTS) -> list[tuple[int, int]]:
    """Prune the heads that a mask marks, layers × heads; the list of them."""
    mask = _array(pruning_mask)
    if mask is None or mask.ndim != 2 or mask.dtype != bool:
        raise SettingNotUsable(f"pruning_mask {_seen(pruning_mask, mask)}; pass booleans, layers × heads, True for what goes.")
    heads = [HeadId(layer, head) for layer, head in np.argwhere(mask).tolist()]
    if heads:
        Surgeon(model).prune(heads, mode)
    return [(head.layer, head.head) for head in heads]


def _grid(values: Any, name: str) -> NDArray[np.float64]:
    grid = _array(values)
    if grid is None or grid.ndim != 2 or not grid.size or grid.dtype.kind not in "fiu":
        raise SettingNotUsable(f"{name} {_seen(values, grid)}; pass a number for each head, layers × heads, NaN where no head is.")
    if np.isnan(grid).all():
        raise SettingNotUsable(f"{name} says of all {grid.size} heads that they are not there (NaN); measure them, then pass it.")
    return grid.astype(np.float64)


def _array(values: Any) -> NDArray[Any] | None:
    """What was given as an array, if it is one: rows of equal length, also of tensors."""
    if isinstance(values, HeadGrid):
        return values.values
    if isinstance(values, Tensor):
        whole = values.detach().cpu()
        return (whole.double() if whole.is_floating_point() else whole).numpy()  # numpy has no bfloat16
    try:
        return np.asarray([_array(row) if isinstance(row, Tensor) else row for row in values])
    except (TypeError, ValueError):
        return None


def _seen(values: Any, array: NDArray[Any] | None) -> str:
    if array is None:
        return f"is {' '.join(repr(values).split())[:60]}"
    return f"has shape {array.shape} and type {array.dtype}"


def _of_the_same_heads(values: Any, there: NDArray[np.bool_], strategy: str) -> NDArray[np.float64]:
    if values is None:
        raise SettingNotUsable(f"The strategy {strategy} needs entropy_values, and there are none; pass them, or choose gradient.")
    entropy = _grid(values, "entropy_values")
    if entropy.shape != there.shape:
        raise SettingNotUsable(
            f"entropy_values has shape {entropy.shape} and grad_norm_values {there.shape}; give both, of the same heads."
        )
    odd = np.argwhere(np.isnan(entropy) == there).tolist()
    if odd:
        (layer, head), (one, other) = odd[0], ("entropy_values", "grad_norm_values")
        lacks, has = (one, other) if there[layer, head] else (other, one)
        raise SettingNotUsable(
            f"Head {layer}.{head} has a number in {has} and none (NaN) in {lacks}; give both, of the same heads."
        )
    return entropy
