"""One call of attention as signals read it: its statistics from fused kernels where they can give them, exact always."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from neural_plasticity.anatomy.sites import Site
from neural_plasticity.signals.kernels import Sums, fused
from neural_plasticity.signals.visible import Visible, blocks

BLOCK = 2**22  # weights that lie in memory at a time


@dataclass(eq=False)
class Attended:
    """Query and key (rows, heads, queries or keys, width) of one call, or the scores its own softmax took.

    The scores are softcap(scale · q·k) + bias; a learned sink takes part in the softmax as one more key.
    """

    site: Site
    visible: Visible
    query: Tensor | None = None
    key: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    sinks: Tensor | None = None
    scores: Tensor | None = None
    distances: bool = True  # whether anybody asks for them
    exactly: bool = False  # whether anybody asks for every weight
    path: str = ""

    @property
    def lse(self) -> Tensor:
        """The log-sum-exp of each query's scores, (rows, heads, queries)."""
        return self._sums.lse

    @property
    def entropy(self) -> Tensor:
        """The entropy of each query's attention in nats: lse - E[score]."""
        return (self._sums.lse - self._sums.score).clamp_min(0)

    @property
    def distance(self) -> Tensor:
        """How far from its own place each query looks, in tokens, on average."""
        if self._sums.distance is None:
            raise ValueError("Distances were not asked for: a signal that reads them declares needs=Needs.DISTANCE.")
        return self._sums.distance

    @property
    def largest(self) -> Tensor:
        """The largest of each query's weights."""
        if self._sums.largest is None:
            raise ValueError("Single weights were not asked for: a signal that reads them declares needs=Needs.EVERY_WEIGHT.")
        return self._sums.largest

    @cached_property
    def outcomes(self) -> Tensor:
        """How many keys each query may give weight to, (rows, heads, queries), a learned sink being one."""
        return self.visible.counts + (self.sinks is not None)

    def weight_at(self, keys: Tensor) -> Tensor:
        """Each query's weight on the key at this index, of indices (rows, queries); 0 where it does not see it."""
        index = keys.clamp(0, self.visible.keys - 1)
        if self.scores is not None:
            score = self.scores.gather(-1, index[:, None, :, None].expand(*self.scores.shape[:3], 1)).squeeze(-1)
        else:
            query, key = self._pair
            if len(index) == 1:
                there = key.index_select(2, index[0])
            else:
                there = key.gather(2, index[:, None, :, None].expand(len(key), key.shape[1], -1, key.shape[3]))
            score = self._capped(self.scale * torch.linalg.vecdot(query, there)) + self.visible.bias_at(keys)
        return (score - self.lse).exp().clamp_max(1) * self.visible.sees(keys)

    def weights(self) -> Iterator[tuple[int, int, Tensor]]:
        """Every weight, block by block: (first query, one past the last, weights (rows, heads, queries, keys))."""
        for start, stop, scores, lse in self._blocks():
            yield start, stop, (scores - lse.unsqueeze(-1)).exp()

    @cached_property
    def _pair(self) -> tuple[Tensor, Tensor]:
        """Query and key, a key for each query head, in a precision that the sums keep."""
        assert self.query is not None
        assert self.key is not None
        dtype = torch.promote_types(self.query.dtype, torch.float32)
        return self.query.to(dtype), each_its_own(self.key.to(dtype), self.site, self.query.shape[1])

    @cached_property
    def _sums(self) -> Sums:
        plain = self.scores is None and self.softcap is None and self.sinks is None and not self.exactly
        if plain and self.visible.bias is None:
            sums = fused(*self._pair, self.visible, self.scale, self.distances)
            if sums is not None:
                self.path = sums.path
                return sums
        self.path = "softmax" if self.scores is not None else "blockwise"
        return self._added_up()

    def _added_up(self) -> Sums:
        """The sums from every single weight, block by block."""
        found = [self._of_block(*block) for block in self._blocks()]
        lse, score, distance, largest = (torch.cat(parts, -1) for parts in zip(*found, strict=True))
        return Sums(lse, score, distance, largest, self.path)

    def _of_block(self, start: int, stop: int, scores: Tensor, lse: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weights = (scores - lse.unsqueeze(-1)).exp()
        score = (weights * scores.masked_fill(scores == -torch.inf, 0)).sum(-1)
        if self.sinks is not None:
            sink = self.sinks.view(1, -1, 1).to(lse)
            score = score + (sink - lse).exp() * sink
        away = (self.visible.own[:, start:stop].T - torch.arange(self.visible.keys, device=lse.device)).abs()
        return lse, score, (weights * away).sum(-1), weights.amax(-1)

    def _blocks(self) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        """Scores and their log-sum-exp, -inf where hidden, for a few queries at a time."""
        first = self.scores if self.scores is not None else self._pair[0]
        for start, stop in blocks(self.visible.queries, first.shape[0] * first.shape[1] * self.visible.keys, BLOCK):
            scores = self.scores_of(start, stop)
            lse = scores.logsumexp(-1)
            if self.sinks is not None:
                lse = torch.logaddexp(lse, self.sinks.view(1, -1, 1).to(lse))
            yield start, stop, scores, lse

    def scores_of(self, start: int, stop: int) -> Tensor:
        """What the softmax takes of these queries, (rows, heads, queries, keys); -inf where hidden."""
        allowed, bias = self.visible.block(start, stop)
        if self.scores is not None:
            scores = self.scores[:, :, start:stop].to(torch.promote_types(self.scores.dtype, torch.float32))
        else:
            query, key = self._pair
            scores = self._capped(query[:, :, start:stop] @ key.transpose(-1, -2) * self.scale)
            scores = scores if bias is None else scores + bias
        return scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)

    def _capped(self, scores: Tensor) -> Tensor:
        return scores if self.softcap is None else self.softcap * torch.tanh(scores / self.softcap)


def each_its_own(shared: Tensor, site: Site, heads: int) -> Tensor:
    """Keys or values (rows, key-value heads, keys, width) as each query head reads them."""
    if shared.shape[1] == heads:
        return shared
    return shared.index_select(1, torch.tensor(site.groups, device=shared.device))
