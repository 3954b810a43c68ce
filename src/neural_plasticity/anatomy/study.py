"""One attention call, asked about everything: which projections stand behind each head, and what each head reaches."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from neural_plasticity.anatomy.provenance import (
    Features,
    depends,
    features_behind,
    features_by_place,
    features_reached,
    parts_behind,
)
from neural_plasticity.anatomy.shares import Share, share
from neural_plasticity.anatomy.sites import Extra, Indices, Kind, Per, Role, Slices
from neural_plasticity.anatomy.trace import Attended, Projected, Trace


class Study:
    """What is found out about one attention call; `verdict.obstacle` judges it."""

    def __init__(self, attended: Attended, seen: Trace) -> None:
        self.attended, self.name = attended, attended.name
        self.before = [each for each in seen.projected if each.order < attended.order]
        self.after = [each for each in seen.projected if each.order > attended.order]
        self.parameters = {name: each for name, each in seen.parameters.items() if each.is_floating_point()}
        self.kinds = seen.kinds
        self.shares: dict[Role, dict[str, Share]] = {"q": {}, "k": {}, "v": {}, "o": {}, "gate": {}}
        self.reach: dict[str, list[Features]] = {}
        self.extras: tuple[Extra, ...] = ()
        self.odd: list[str] = []  # parameters that are divided otherwise than the heads are
        self.axis = attended.axis or self._axis_of_heads()
        self.heads = attended.hidden_heads or attended.output.shape[self.axis]
        if not attended.hidden_heads:
            self._study_inputs()
            self._study_readers()
        self.kv_heads, self.groups = self._grouping()
        if not attended.hidden_heads:
            self._study_reach()
            self._study_extras()
        self.slices = self._slices()

    def _study_inputs(self) -> None:
        attended = self.attended
        if attended.scores is not None:
            self.shares["q"], self.shares["k"] = self._behind_scores(attended.scores)
            return
        for role, tensor in (("q", attended.query), ("k", attended.key), ("v", attended.value)):
            self.shares[cast("Role", role)] = self._behind(cast("Tensor", tensor))

    def _axis_of_heads(self) -> int:
        """Of attention weights, the axis that a reader's columns come apart along; the second if none does."""
        output = self.attended.output
        for axis in range(1, output.dim() - 1):
            for reader in self.after:
                columns = features_reached(self.attended.leaf, axis, reader.read) if reader.read.requires_grad else None
                if columns is not None and any(columns):
                    if share(columns).divided and len(columns) > 1:
                        return axis
                    break
        return 1

    def _grouping(self) -> tuple[int, Indices]:
        """How many key-value heads there are, and which one each query head uses.

        Fewer keys than queries are repeated by attention itself, neighbours together; keys that come as many
        as queries show by their weights which are the same.
        """
        divided = [each for role in ("k", "v") for each in self.shares[cast("Role", role)].values() if each.divided]
        if not divided:
            return 1, (0,) * self.heads
        widest = max(divided, key=lambda each: len(each.owned))
        return len(widest.owned), tuple(widest.groups[head * len(widest.groups) // self.heads] for head in range(self.heads))

    def per(self, found: Share) -> Per | None:
        """Whether parts go by query head or by key-value head; None where they go by neither."""
        if len(found.owned) == self.heads:
            return "head"
        spread = tuple(found.groups[head * len(found.groups) // self.heads] for head in range(self.heads)) if found.groups else ()
        return "kv_head" if spread == self.groups else None

    @property
    def kind(self) -> Kind:
        """Cross attention reads another sequence; a decoder's first query sees no later key."""
        attended = self.attended
        if attended.hidden_heads:
            return "encoder"
        if attended.scores is not None:
            queries, keys = attended.output.shape[-2:]
            later = attended.output[..., 0, 1:]
        else:
            queries, keys = cast("Tensor", attended.query).shape[2], cast("Tensor", attended.key).shape[2]
            first = attended.output.select(3 - self.axis, 0).float().sum()
            (gradient,) = torch.autograd.grad(first, cast("Tensor", attended.key), retain_graph=True)
            later = gradient[:, :, 1:]
        return "cross" if queries != keys else "encoder" if bool(later.any()) else "decoder"

    @property
    def widths(self) -> tuple[int, int]:
        """How many numbers a head has for its query, and for its value."""
        attended = self.attended
        if attended.query is not None and attended.value is not None:
            return attended.query.shape[-1], attended.value.shape[-1]
        rows = [len(each.owned[0]) for role in ("q", "o") for each in self.shares[cast("Role", role)].values() if each.owned]
        return (rows[0], rows[-1]) if rows else (0, 0)

    def facts(self) -> tuple[Any, ...]:
        """What must be the same in every call of a module."""
        return self.heads, self.kv_heads, self.slices, self.extras

    def _behind_scores(self, scores: Tensor) -> tuple[dict[str, Share], dict[str, Share]]:
        """How projections stand behind q and k, told apart by place: of the last query's score for a key that it sees elsewhere."""
        involved = _involved(scores, self.before)
        sources = [each.wrote for each in involved]
        others = (-1,) * (scores.dim() - 2)
        seen_by_all = self.attended.output.movedim(self.axis, 0)[(slice(None), *others)].amin(0)
        elsewhere = int(seen_by_all[: max(1, len(seen_by_all) - 1)].argmax())
        by_head = scores.movedim(self.axis, 0)[(slice(None), *others, elsewhere)]
        places = [features_by_place(score, sources, scores.shape[0] * scores.shape[-2]) for score in by_head]
        return _by_name(involved, [place[0] for place in places]), _by_name(involved, [place[1] for place in places])

    def _behind(self, tensor: Tensor) -> dict[str, Share]:
        """How each projection that stands behind q, k or v is divided among the heads of it."""
        involved = _involved(tensor, self.before)
        return _shares([tensor[:, head] for head in range(tensor.shape[1])], involved)

    def _study_readers(self) -> None:
        """Which projections read the output, and by which columns of each head."""
        for reader in self.after:
            columns = features_reached(self.attended.leaf, self.axis, reader.read) if reader.read.requires_grad else None
            if columns is not None and any(columns):
                self.shares["o"][reader.name] = share(columns)
        if self.attended.value is None and not self.attended.hidden_heads:
            for parts, before in self._read_by_head():
                self.shares["v"] |= _shares(parts, _involved(torch.cat([part.flatten() for part in parts]), before))

    def _read_by_head(self) -> list[tuple[list[Tensor], list[Projected]]]:
        """Of each reader that the heads' columns come apart in: what it reads of each head, and the projections before it."""
        found = []
        for reader in self.after:
            columns = self.shares["o"].get(reader.name)
            if columns is not None and columns.divided and len(columns.owned) == self.heads:
                earlier = [each for each in (*self.before, *self.after) if each.order < reader.order]
                found.append(([reader.read[..., list(own)] for own in columns.owned], earlier))
        return found

    def _study_reach(self) -> None:
        """Everything that each head depends on, in attention and on the way to its columns; what has no role yet is a gate."""
        outputs = [self.attended.output.select(self.axis, head) for head in range(self.heads)]
        for parts, before in [(outputs, self.before), *self._read_by_head()]:
            involved = _involved(torch.cat([part.flatten() for part in parts]), before)
            for name, behind in _behind_by_name(
                involved, [features_behind(part, [each.wrote for each in involved]) for part in parts]
            ):
                old = self.reach.setdefault(name, [frozenset()] * self.heads)
                self.reach[name] = [one | other for one, other in zip(old, behind, strict=True)]
        for name, behind in self.reach.items():
            rest = [features - self._own(name, head) for head, features in enumerate(behind)]
            if any(rest):
                self.shares["gate"][name] = share(rest)

    def _own(self, module: str, head: int) -> Features:
        """The rows of a projection that are this head's as q, k or v."""
        found: set[int] = set()
        for role in ("q", "k", "v"):
            each = self.shares[cast("Role", role)].get(module)
            if each is not None and each.divided:
                found.update(each.owned[each.groups[head * len(each.groups) // self.heads]])
        return frozenset(found)

    def _slices(self) -> tuple[Slices, ...]:
        found = []
        for role, shares in self.shares.items():
            for module, each in shares.items():
                whose = "kv_head" if role in ("k", "v") else self.per(each)
                if each.divided and whose:
                    found.append(Slices(module, role, 1 if role == "o" else 0, whose, each.owned))
        return tuple(found)

    def _study_extras(self) -> None:
        """Parameters outside the projections that each head has a part of, in attention or on the way to its columns."""
        whole = [
            [self.attended.output.select(self.axis, head) for head in range(self.heads)],
            *(parts for parts, _ in self._read_by_head()),
        ]
        for outputs in whole:
            touched = parts_behind(torch.cat([output.flatten() for output in outputs]), list(self.parameters.values()))
            reached = {
                name: self.parameters[name] for name, parts in zip(self.parameters, touched, strict=True) if parts is not None
            }
            by_head = [parts_behind(output, list(reached.values())) for output in outputs]
            for place, name in enumerate(reached):
                self._note_extra(name, [each[place] for each in by_head])

    def _note_extra(self, name: str, parts: Sequence[tuple[Features, ...] | None]) -> None:
        for axis in range(self.parameters[name].dim()):
            divided = share([part[axis] if part is not None else frozenset() for part in parts])
            whose = self.per(divided)
            if divided.divided and whose and name not in [extra.parameter for extra in self.extras]:
                self.extras += (Extra(name, axis, whose, divided.owned),)
                return
            if divided.divided and not whose:
                self.odd.append(name)


def _involved(tensor: Tensor, projected: Sequence[Projected]) -> list[Projected]:
    dependent = depends(tensor, [each.wrote for each in projected])
    return [each for each, is_dependent in zip(projected, dependent, strict=True) if is_dependent]


def _shares(parts: Sequence[Tensor], involved: Sequence[Projected]) -> dict[str, Share]:
    """For each involved projection, how its outputs are divided among the parts."""
    sources = [each.wrote for each in involved]
    return _by_name(involved, [features_behind(part, sources) for part in parts])


def _by_name(involved: Sequence[Projected], behind: Sequence[Sequence[Features]]) -> dict[str, Share]:
    """The shares of each projection, where any part depends on it."""
    return {name: share(features) for name, features in _behind_by_name(involved, behind)}


def _behind_by_name(involved: Sequence[Projected], behind: Sequence[Sequence[Features]]) -> Iterator[tuple[str, list[Features]]]:
    """For each projection the features behind each part, its calls added up."""
    for name in dict.fromkeys(each.name for each in involved):
        calls = [place for place, each in enumerate(involved) if each.name == name]
        features = [frozenset().union(*(row[place] for place in calls)) for row in behind]
        if any(features):
            yield name, features
