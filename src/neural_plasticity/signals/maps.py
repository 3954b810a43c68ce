"""Attention maps of chosen heads, every weight of them, for pictures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neural_plasticity.anatomy.overhear import Scored, overheard
from neural_plasticity.anatomy.sites import Anatomy, Site, ranges
from neural_plasticity.anatomy.taps import Call, open_taps, original
from neural_plasticity.anatomy.trace import differentiable
from neural_plasticity.errors import NotMeasurable, SettingNotUsable
from neural_plasticity.heads import HeadId
from neural_plasticity.signals.hearing import Hearing
from neural_plasticity.signals.measure import anatomy_for, ready, undisturbed


def attention(
    model: nn.Module,
    batch: Mapping[str, Any],
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    *,
    anatomy: Anatomy | None = None,
) -> dict[HeadId, Tensor]:
    """The attention weights of chosen heads on a batch: (rows, queries, keys) on the CPU for each; all heads if none is chosen.

    Padding's rows are 0. A module that is called more than once in a pass shows its first call.
    """
    root = original(model)
    anatomy = anatomy or anatomy_for(root, batch)
    sites = [anatomy[layer] for layer in _within(layers, [site.layer for site in anatomy], "layers", anatomy.model)]
    chosen = {site: _within(heads, site.numbers, "heads", f"layer {site.layer}") for site in sites}
    found: dict[HeadId, Tensor] = {}
    hearing = Hearing()

    def listener(site: Site) -> Callable[[Call | Scored], None]:
        @torch.no_grad()
        def listen(heard: Call | Scored) -> None:
            attended = hearing.attended(site, heard)
            if attended is None:
                raise NotMeasurable(
                    f"Layer {site.layer} ({site.name}): its output is not softmax(q·k) v under any reading; choose other layers."
                )
            if HeadId(site.layer, chosen[site][0]) in found:
                return
            places = [site.numbers.index(head) for head in chosen[site]]
            blocks = [weights[:, places].cpu() for _, _, weights in attended.weights()]
            maps = torch.cat(blocks, 2).masked_fill(~attended.visible.real.cpu()[:, None, :, None], 0)
            found.update({HeadId(site.layer, head): maps[:, place] for place, head in enumerate(chosen[site])})

        return listen

    placed = ready(root, batch, 1)
    at_interface = {site: listener(site) for site in sites if site.seen == "interface"}
    by_themselves = {site: listener(site) for site in sites if site.seen == "softmax"}
    with undisturbed(root), torch.no_grad():
        hearing.begin(root, placed)
        with open_taps(root, at_interface, base=differentiable(root)), overheard(root, by_themselves):
            root(**placed)
    missing = [site for site in sites if HeadId(site.layer, chosen[site][0]) not in found]
    if missing:
        first = f"Layer {missing[0].layer} ({missing[0].name})"
        raise NotMeasurable(f"{first} showed no weights: it attends in a layout of its own; choose other layers.")
    return {head: found[head] for head in sorted(found)}


def _within(chosen: Sequence[int] | None, there: Sequence[int], what: str, where: str) -> list[int]:
    """The chosen numbers, or all that are there."""
    if chosen is None:
        return list(there)
    wrong = [number for number in chosen if number not in there]
    if wrong or not chosen:
        raise SettingNotUsable(f"{where} has {what} {ranges(there)}, not {wrong or 'none'}; choose among them.")
    return list(chosen)
