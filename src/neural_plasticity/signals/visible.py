"""Which keys each query may see, from whatever mask the model attends with."""

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

HIDDEN = -5e3  # what an additive mask pushes this far down gets no weight: it is hidden, not biased


class Visible:
    """What a mask lets be seen, and what it adds to the scores: the one answer to both, computed once for all layers.

    A query of self-attention is real where it may see its own key: padding may not. Where its predecessor is
    hidden from it, its sequence begins, so packed sequences are told apart. Shapes are (rows or 1, heads or 1,
    queries, keys), and (rows or 1, queries) for what all heads share.
    """

    def __init__(
        self,
        mask: Tensor | None,
        causal: bool,
        queries: int,
        keys: int,
        device: torch.device,
        cross: bool = False,
        known: Tensor | None = None,
    ) -> None:
        self.queries, self.keys, self.cross, self.device = queries, keys, cross, device
        self.offset = keys - queries  # a query's own key lies this far on, as behind a cache or a prefix
        self.causal = causal and mask is None
        self._known = known  # which queries the batch itself says are real
        self._mask = None if mask is None else mask[..., :keys].expand(-1, -1, queries, -1)

    @cached_property
    def allowed(self) -> Tensor | None:
        """True where a query sees a key; None where no mask says otherwise."""
        if self._mask is None:
            return None
        return self._mask if self._mask.dtype == torch.bool else self._mask > HIDDEN

    @cached_property
    def bias(self) -> Tensor | None:
        """What is added to the scores of visible keys, where that is not 0 throughout."""
        mask, allowed = self._mask, self.allowed
        if mask is None or allowed is None or mask.dtype == torch.bool:
            return None
        bias = mask.masked_fill(~allowed, 0)
        return bias if bool(bias.any()) else None

    @cached_property
    def counts(self) -> Tensor:
        """How many keys each query sees, (rows, heads, queries)."""
        if self.allowed is not None:
            return self.allowed.sum(-1)
        full = torch.full((1, 1, self.queries), self.keys, device=self.device)
        return torch.arange(1, self.queries + 1, device=self.device).view(1, 1, -1) if self.causal else full

    @cached_property
    def real(self) -> Tensor:
        """Which queries are real, (rows, queries): those that see their own key, or in cross attention any.

        What the batch calls padding is so unless a real query looks at it: then it is something else of that length.
        """
        known = torch.ones(1, self.queries, dtype=torch.bool, device=self.device) if self._known is None else self._known
        shared = None if self.allowed is None else self.allowed.any(1)
        if self.cross:
            return known if shared is None else known & shared.any(-1)
        if self._known is not None:
            known = known | self._looked_at(known, shared)
        return known if shared is None else known & self._seen_at(shared, 0)

    def _looked_at(self, known: Tensor, shared: Tensor | None) -> Tensor:
        """Whether any of the known queries sees each query's own key."""
        if shared is not None:
            looked = (shared & known.unsqueeze(-1)).any(-2)
            return looked.index_select(-1, self.own[0])
        return known.flip(-1).cummax(-1).values.flip(-1) if self.causal else torch.ones_like(known)

    @cached_property
    def first(self) -> Tensor:
        """The key that each query's sequence begins with, (rows, queries)."""
        if self.allowed is None:
            return torch.zeros(1, self.queries, dtype=torch.long, device=self.device)
        shared = self.allowed.any(1)
        if self.cross:
            return shared.byte().argmax(-1)
        begins = self.real & ~self._seen_at(shared, -1)
        return (self.own * begins).cummax(-1).values

    @cached_property
    def own(self) -> Tensor:
        """The key that is each query's own, (1, queries)."""
        return (torch.arange(self.queries, device=self.device) + self.offset).unsqueeze(0)

    @cached_property
    def looks_ahead(self) -> bool:
        """Whether any query sees a key behind its own."""
        if self.allowed is None:
            return not self.causal
        return bool(self.allowed.triu(1 + self.offset).any())

    def _seen_at(self, shared: Tensor, step: int) -> Tensor:
        """Whether each query sees the key that lies `step` from its own."""
        keys = (self.own + step).expand(shared.shape[0], -1)
        inside = (keys >= 0) & (keys < self.keys)
        return shared.gather(-1, keys.clamp(0, self.keys - 1).unsqueeze(-1)).squeeze(-1) & inside

    def sees(self, keys: Tensor) -> Tensor:
        """Whether each query sees the key at this index, (rows, heads, queries), of indices (rows, queries)."""
        inside = ((keys >= 0) & (keys < self.keys)).unsqueeze(1)
        if self.allowed is None:
            return inside & (keys <= torch.arange(self.queries, device=self.device)).unsqueeze(1) if self.causal else inside
        return _at(self.allowed, keys.clamp(0, self.keys - 1)) & inside

    def bias_at(self, keys: Tensor) -> Tensor | float:
        """What is added to the score of the key at this index, (rows, heads, queries)."""
        return 0.0 if self.bias is None else _at(self.bias, keys.clamp(0, self.keys - 1))

    def additive(self, dtype: torch.dtype, backwards: bool = False) -> Tensor | None:
        """The mask as fused kernels take it: 0 or -inf; `backwards` hides what lies behind a query's own key too."""
        allowed = self.allowed
        if backwards:
            allowed = (
                torch.ones(1, 1, self.queries, self.keys, dtype=torch.bool, device=self.device) if allowed is None else allowed
            )
            allowed = allowed.tril(self.offset)
        if allowed is None:
            return None
        return torch.zeros(allowed.shape, dtype=dtype, device=self.device).masked_fill(~allowed, -torch.inf)

    def block(self, start: int, stop: int) -> tuple[Tensor | None, Tensor | None]:
        """Of these queries: what they see, and the bias on it; None stands for everything, and for none."""
        if self.causal:
            places = torch.arange(self.keys, device=self.device) <= torch.arange(start, stop, device=self.device).unsqueeze(-1)
            return places.view(1, 1, *places.shape), None
        allowed = None if self.allowed is None else self.allowed[:, :, start:stop]
        return allowed, None if self.bias is None else self.bias[:, :, start:stop]


def _at(values: Tensor, keys: Tensor) -> Tensor:
    """Of values (rows, heads, queries, keys) those at one key for each query."""
    rows = max(values.shape[0], keys.shape[0])
    index = keys[:, None, :, None].expand(rows, values.shape[1], -1, 1)
    return values.expand(rows, -1, -1, -1).gather(-1, index).squeeze(-1)


def blocks(queries: int, elements_each: int, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of queries, so that none of them takes more elements than `most`."""
    size = max(1, most // max(1, elements_each))
    for start in range(0, queries, size):
        yield start, min(queries, start + size)
