"""How a module attends, found out by trying: the reading of its call under which softmax(q·k) v is what it gave.

Attention functions differ in what they do with a missing mask, a soft cap, a sink or a bias. No table says which:
a few queries are attended to anew under each reading, and one that gives the module's own output is right.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from neural_plasticity.anatomy.sites import Site
from neural_plasticity.anatomy.taps import Call
from neural_plasticity.signals.attended import Attended, each_its_own
from neural_plasticity.signals.visible import Visible

TRIED = 6  # queries that a reading is tried on
TOLERANCE = {torch.float64: 1e-9, torch.float32: 3e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}
CARRIED = ("softcap", "s_aux", "position_bias")
LOOSE = 3e-3  # float32 where the device may multiply in less


@dataclass(frozen=True, slots=True)
class Reading:
    """Which of the things that a call may carry its module really uses."""

    softcap: bool
    sinks: bool
    bias: bool
    causal: bool


class Readings:
    """The readings found so far, and what masks let be seen, for all layers that share one."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], Reading | None] = {}
        self._visible: list[tuple[Tensor | None, tuple[Any, ...], Tensor | None, Visible]] = []

    def attended(self, site: Site, call: Call, known: Tensor | None) -> Attended | None:
        """The call as signals read it, by queries known to be real; None where no reading gives what the module gave."""
        assert call.key is not None
        assert call.query is not None
        if call.query.dim() != 4 or not _fits(site, call.query, call.key) or call.query.shape[-1] != call.key.shape[-1]:
            return None
        carried = tuple(call.options.get(name) is not None for name in CARRIED)
        key = (site.layer, call.mask is None, call.query.shape[2] == 1, *carried)
        if key not in self._found:
            self._found[key] = self._tried(site, call, known)
        reading = self._found[key]
        return None if reading is None else self._read(site, call, reading, known)

    def forget(self) -> None:
        """Let go of the masks of a pass."""
        self._visible.clear()

    def _tried(self, site: Site, call: Call, known: Tensor | None) -> Reading | None:
        loose = call.output.device.type != "cpu" and call.output.dtype == torch.float32
        most = LOOSE if loose else TOLERANCE[call.output.dtype]
        readings = _readings(call, causal_first=site.kind == "decoder")
        return next((reading for reading in readings if _error(self._read(site, call, reading, known), call) <= most), None)

    def _read(self, site: Site, call: Call, reading: Reading, known: Tensor | None) -> Attended:
        options = call.options
        bias = options.get("position_bias") if reading.bias else None
        softcap, sinks = options.get("softcap") if reading.softcap else None, options.get("s_aux") if reading.sinks else None
        scaling = options.get("scaling")
        query, key = call.query, call.key
        assert query is not None
        assert key is not None
        return Attended(
            site,
            self._seen(site, call, bias, reading.causal, known),
            query=query.detach(),
            key=key.detach(),
            scale=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
            softcap=softcap,
            sinks=None if sinks is None else sinks.detach().flatten(),
        )

    def _seen(self, site: Site, call: Call, bias: Tensor | None, causal: bool, known: Tensor | None) -> Visible:
        assert call.query is not None
        assert call.key is not None
        sizes = (
            call.query.shape[2],
            call.key.shape[2],
            call.query.device,
            is_cross(site, call.query.shape[2], call.key.shape[2]),
            known,
        )
        if bias is not None:
            return Visible(_biased(Visible(call.mask, causal, *sizes), bias.detach()), False, *sizes)
        facts = (causal, *sizes[:-1])
        for mask, theirs, whose, visible in self._visible:
            if mask is call.mask and theirs == facts and whose is known:
                return visible
        visible = Visible(call.mask, causal, *sizes)
        self._visible.append((call.mask, facts, known, visible))
        return visible


def _biased(visible: Visible, bias: Tensor) -> Tensor:
    """A mask of scores from a position bias and whatever else masks the call."""
    allowed, added = visible.block(0, visible.queries)
    bias = bias if added is None else bias + added
    return bias if allowed is None else bias.masked_fill(~allowed, -torch.inf)


def _readings(call: Call, causal_first: bool) -> Iterator[Reading]:
    """Every way to read the call, the likeliest first: one that uses all it carries."""
    ways = [(True, False) if call.options.get(name) is not None else (False,) for name in CARRIED]
    causal = (causal_first, not causal_first) if call.mask is None else (False,)
    for uses in product(*ways, causal):
        yield Reading(*uses)


def _error(attended: Attended, call: Call) -> float:
    """How far the output under this reading is from the module's own, of a few real queries, as a share of its size."""
    assert call.value is not None
    output, value = call.output.detach(), call.value.detach()
    heads = output.shape[2]
    if attended.visible.queries != output.shape[1] or not _fits(attended.site, output.transpose(1, 2), value):
        return float("inf")
    real = attended.visible.real.all(0).nonzero().flatten().tolist() or attended.visible.real.any(0).nonzero().flatten().tolist()
    value = each_its_own(value.to(torch.promote_types(value.dtype, torch.float32)), attended.site, heads)
    worst = size = 0.0
    for place in {real[round(step * (len(real) - 1) / TRIED)] for step in range(TRIED + 1)} if real else ():
        scores = attended.scores_of(place, place + 1)
        lse = scores.logsumexp(-1, keepdim=True)
        if attended.sinks is not None:
            lse = torch.logaddexp(lse, attended.sinks.view(1, -1, 1, 1).to(lse))
        expected = ((scores - lse).exp() @ value).squeeze(2)
        ours = attended.visible.real[:, place].expand(len(expected))
        given = output[:, place].to(expected)
        error = float((given - expected)[ours].abs().max())
        if not error < float("inf"):
            return float("inf")
        worst = max(worst, error)
        size = max(size, float(given[ours].abs().max()))
    return worst / size if size else 0.0


def _fits(site: Site, query: Tensor, shared: Tensor) -> bool:
    """Whether it is known which of the shared keys or values each query head reads."""
    return query.shape[1] == shared.shape[1] or (site.heads == query.shape[1] and site.kv_heads == shared.shape[1])


def is_cross(site: Site, queries: int, keys: int) -> bool:
    """Whether a query has no key of its own: it looks at another sequence, or pools one that can all be seen."""
    return site.kind == "cross" or (site.kind == "encoder" and queries != keys)
