"""Sums over attention from fused kernels: linear memory, the T × T matrix never made.

A kernel that gives the log-sum-exp of the scores gives every expectation with it: attention with other values.
With v := k it returns E[k], and E[score] = scale · q · E[k]; with the keys' places as one more column, E[place].
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from neural_plasticity.signals.visible import Visible

LANE = 8  # kernels like widths that are a multiple of this


@dataclass(frozen=True, slots=True)
class Sums:
    """Of each query: log-sum-exp and mean of its scores, mean distance, largest weight; (rows, heads, queries)."""

    lse: Tensor
    score: Tensor
    distance: Tensor | None
    largest: Tensor | None
    path: str


Kernel = Callable[[Tensor, Tensor, Tensor, Tensor | None, bool, float], tuple[Tensor, Tensor]]


def fused(query: Tensor, key: Tensor, visible: Visible, scale: float, distances: bool) -> Sums | None:
    """The sums by a fused kernel of this device; None where it has none for this call."""
    kernel = KERNELS.get(query.device.type)
    if kernel is None or (visible.causal and visible.queries != visible.keys):
        return None
    path, attend = kernel
    width = query.shape[-1]
    columns = [key]
    if distances:
        places = torch.arange(visible.keys, dtype=key.dtype, device=key.device) / visible.keys
        columns.append(places.view(1, 1, -1, 1).expand(*key.shape[:3], 1))
    padding = -(width + distances) % LANE
    values = pad(torch.cat(columns, -1), (0, padding)) if distances or padding else key
    query_, key_ = (pad(each, (0, padding + distances)) if padding + distances else each for each in (query, key))

    expected, lse = attend(query_, key_, values, visible.additive(query.dtype), visible.causal, scale)
    score = scale * torch.linalg.vecdot(query, expected[..., :width])
    if not distances or visible.cross:
        return Sums(lse, score, None if not distances else torch.full_like(lse, torch.nan), None, path)
    distance = visible.own - visible.keys * expected[..., width]
    if visible.looks_ahead:
        # |i - j| = (j - i) + 2 (i - j) where j lies behind i: one more call, over what lies behind.
        if visible.allowed is None and visible.queries == visible.keys:
            behind, partial = attend(query_, key_, values, None, True, scale)
        else:
            behind, partial = attend(query_, key_, values, visible.additive(query.dtype, backwards=True), False, scale)
        share = (partial - lse).exp()
        distance = 2 * share * (visible.own - visible.keys * behind[..., width]) - distance
    return Sums(lse, score, distance, None, path)


def _on_cpu(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    # It takes no boolean masks, no dropout here, and no value of another width than the query's.
    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return attend(query, key, value, 0.0, causal, attn_mask=mask, scale=scale)


def _on_cuda(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    # The memory-efficient kernel, because flash attention takes no float32 and no mask; it wants rows of aligned length.
    bias = None
    if mask is not None:
        keys = mask.shape[-1]
        bias = pad(mask, (0, -keys % LANE))[..., :keys].expand(query.shape[0], query.shape[1], -1, -1)
    attend = torch.ops.aten._scaled_dot_product_efficient_attention
    output, lse, *_ = attend(query, key, value, bias, True, 0.0, causal, scale=scale)
    return output, lse[..., : query.shape[2]]


KERNELS: dict[str, tuple[str, Kernel]] = {"cpu": ("CPU flash", _on_cpu), "cuda": ("CUDA efficient", _on_cuda)}
