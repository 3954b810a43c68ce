"""The names by which the seed documents ask for signals; each is a door to the room behind it."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, cast

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
    may have, do not count. Layers with fewer heads, and those that a dict leaves out, are filled with NaN.
    """
    if isinstance(attention_maps, (Tensor, np.ndarray)):
        return _entropy(attention_maps, "attention_maps")
    rows = {layer: _entropy(maps, f"The map of layer {layer}") for layer, maps in _by_layer(attention_maps).items()}
    padded = [rows.get(layer, torch.empty(0)) for layer in range(max(rows) + 1)]
    return torch.nn.utils.rnn.pad_sequence(padded, batch_first=True, padding_value=float("nan"))


def calculate_entropy(attentions: Maps | Layers) -> Tensor:
    """`calculate_head_entropy`, by its other name."""
    return calculate_head_entropy(attentions)


def _by_layer(given: Any) -> dict[int, Any]:
    """Maps by the numbers of their layers."""
    if isinstance(given, Mapping):
        found = dict(cast("Mapping[Any, Any]", given))
    else:
        found = dict(enumerate(cast("Sequence[Any]", given))) if isinstance(given, Sequence) and not isinstance(given, str) else {}
    if not found or not all(isinstance(layer, int) and layer >= 0 for layer in found):
        raise SettingNotUsable(
            f"attention_maps={' '.join(repr(given).split())[:60]} holds no layers; pass a tensor, or one for each layer in a list "
            "or by its number, as output_attentions=True gives them."
        )
    return found


def _entropy(given: Any, what: str) -> Tensor:
    maps = _tensor(given)
    if maps is None or maps.dim() not in (3, 4) or not maps.is_floating_point():
        seen = f"a {type(given).__name__}" if maps is None else f"of shape {tuple(maps.shape)} and type {maps.dtype}"
        raise SettingNotUsable(
            f"{what} is {seen}; pass floats, (batch, heads, queries, keys), as output_attentions=True gives them where the model "
            "attends by attn_implementation='eager'."
        )
    maps = maps.detach().double()
    maps = maps if maps.dim() == 4 else maps.unsqueeze(0)
    total = maps.sum(-1)
    attends = total > 0
    if not bool((maps >= 0).all()) or not bool(((total - 1)[attends].abs() <= 0.02).all()):
        raise SettingNotUsable(
            f"{what} holds no attention weights but numbers from {float(maps.min()):.3g} to {float(maps.max()):.3g}, in rows that "
            f"add up to {float(total.min()):.3g} to {float(total.max()):.3g}; pass rows of 0 or more that add up to 1, as after a "
            "softmax."
        )
    entropy = -torch.special.xlogy(maps, maps).sum(-1)
    return (entropy * attends).sum((0, 2)).div(attends.sum((0, 2))).float()


def _tensor(given: Any) -> Tensor | None:
    if isinstance(given, Tensor):
        return given
    try:
        return torch.as_tensor(np.require(given, requirements="W"))  # torch warns of arrays that cannot be written
    except (TypeError, ValueError):
        return None


def calculate_head_gradients(
    model: nn.Module,
    dataloader: Iterable[Mapping[str, Any]],
    num_batches: int | None = None,
    device: str | torch.device | None = None,
) -> Tensor:
    """The norm of each head's own weight gradients over the first batches, layers × heads; the model's own are not touched."""
    if device is not None:
        _require_there(model, device)
    if num_batches is not None and (type(num_batches) is not int or num_batches < 1):
        raise SettingNotUsable(
            f"num_batches={num_batches!r:.40} is no number of batches; pass a whole number from 1, or None for all."
        )
    return as_tensor(measure(model, islice(dataloader, num_batches), ["gradient"])["gradient"])


def _require_there(model: nn.Module, device: str | torch.device) -> None:
    """A refusal of a device that the model does not lie on."""
    try:
        asked = torch.device(device)
    except (RuntimeError, TypeError) as fault:
        raise SettingNotUsable(
            f"device={device!r:.40} is not the name of a device; leave it out, batches follow the model."
        ) from fault
    here = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    if asked.type != here.type or (asked.index is not None and asked.index != (here.index or 0)):
        raise SettingNotUsable(f"The model lies on {here} and device says {device}; move the model there, batches follow it.")


def get_gradient_norms(model: nn.Module) -> Tensor:
    """The norm of each head's part of the gradients that lie in the model now, as after a backward pass; layers × heads."""
    anatomy, root = dissect(model), original(model)
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
