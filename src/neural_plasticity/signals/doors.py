"""The names by which the seed documents ask for signals; each is a door to the room behind it."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neural_plasticity.anatomy.bank import parts_of
from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.taps import original
from neural_plasticity.errors import NotMeasurable, SettingNotUsable
from neural_plasticity.heads import HeadGrid
from neural_plasticity.signals.measure import measure
from neural_plasticity.signals.weights import norm

Maps = Tensor | np.ndarray[Any, Any]
Layers = Sequence[Maps] | Mapping[int, Maps]


def calculate_head_entropy(attention_maps: Maps | Layers) -> Tensor:
    """The mean entropy of each head in nats: (heads,) of one layer's maps, layers × heads of several.

    Maps are (batch, heads, queries, keys), as `output_attentions=True` gives them. Rows without any weight, as padding
    may have, do not count. Layers with fewer heads are filled with NaN.
    """
    if isinstance(attention_maps, (Tensor, np.ndarray)):
        return _entropy(torch.as_tensor(attention_maps), "The attention maps")
    layers = list(attention_maps.values()) if isinstance(attention_maps, Mapping) else list(attention_maps)
    if not layers:
        raise SettingNotUsable("There are no attention maps: the list is empty; run the model with output_attentions=True.")
    rows = [_entropy(torch.as_tensor(maps), f"The maps of layer {layer}") for layer, maps in enumerate(layers)]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=float("nan"))


def calculate_entropy(attentions: Maps | Layers) -> Tensor:
    """`calculate_head_entropy`, by its other name."""
    return calculate_head_entropy(attentions)


def _entropy(maps: Tensor, what: str) -> Tensor:
    if maps.dim() not in (3, 4) or not maps.is_floating_point():
        raise SettingNotUsable(
            f"{what} have shape {tuple(maps.shape)} and type {maps.dtype}; maps are floats, (batch, heads, queries, keys)."
        )
    maps = maps.detach().double()
    maps = maps if maps.dim() == 4 else maps.unsqueeze(0)
    total = maps.sum(-1)
    attends = total > 0
    if not bool((total[attends] - 1).abs().max().le(0.02)) or bool((maps < 0).any()):
        raise SettingNotUsable(f"{what} are no attention weights: rows must be 0 or more and add up to 1, as after a softmax.")
    entropy = -torch.special.xlogy(maps, maps).sum(-1)
    return (entropy * attends).sum((0, 2)).div(attends.sum((0, 2))).float()


def calculate_head_gradients(
    model: nn.Module,
    dataloader: Iterable[Mapping[str, Any]],
    num_batches: int | None = None,
    device: str | torch.device | None = None,
) -> Tensor:
    """The norm of each head's own weight gradients over the first batches, layers × heads; the model's own are not touched."""
    here = next(original(model).parameters()).device
    if device is not None and torch.device(device).type != here.type:
        raise SettingNotUsable(f"The model lies on {here} and device says {device}; move the model there, batches follow it.")
    return as_tensor(measure(model, islice(dataloader, num_batches), ["gradient"])["gradient"])


def get_gradient_norms(model: nn.Module) -> Tensor:
    """The norm of each head's part of the gradients that lie in the model now, as after a backward pass; layers × heads."""
    root = original(model)
    anatomy = dissect(root)
    rows: list[list[float]] = []
    for site in anatomy:
        rows.append([])
        for head in range(site.heads):
            found = [(part, root.get_parameter(part.parameter).grad) for part in parts_of(root, site, head)]
            pieces = [part.within(gradient) for part, gradient in found if gradient is not None]
            rows[-1].append(float(norm(pieces)) if pieces else float("nan"))
    if all(np.isnan(row).all() for row in rows):
        raise NotMeasurable(f"No attention weight of {anatomy.model} holds a gradient; call loss.backward() first.")
    return as_tensor(HeadGrid.from_layers(rows))


def as_tensor(grid: HeadGrid) -> Tensor:
    """A grid as the seeds' functions hand it on: a float tensor, layers × heads."""
    return torch.tensor(grid.values, dtype=torch.float32)
