"""`dissect`: a model's attention sites, found by running it once and asking autograd; no table of families."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from neural_plasticity.anatomy.example import UNFIT, Batch, example_batches, on_device_of
from neural_plasticity.anatomy.provenance import (
    Features,
    depends,
    features_behind,
    features_by_place,
    features_reached,
    parts_behind,
)
from neural_plasticity.anatomy.shares import Share, per, share
from neural_plasticity.anatomy.sites import Anatomy, Extra, Indices, Kind, Role, Site, Slices
from neural_plasticity.anatomy.taps import original
from neural_plasticity.anatomy.trace import Attended, Projected, Trace, traced
from neural_plasticity.errors import NotDissectable, said


def dissect(model: nn.Module, example: Batch | None = None) -> Anatomy:
    """The attention sites of a model, and the exact weights of every head.

    The model runs once on a tiny batch, derived from its config or given as `example`, the keywords of its
    forward; it is left exactly as it was.
    """
    if not isinstance(model, nn.Module):
        raise NotDissectable(f"A {type(model).__name__} is no model; pass a torch module, or use load_model to get one by name.")
    root = original(model)
    if any(parameter.is_meta for parameter in root.parameters()):
        raise NotDissectable(f"{type(root).__name__} lies on the meta device and cannot run; load its weights first.")
    fault: BaseException | None = None
    ran = False
    for batch in [example] if example is not None else example_batches(root):
        try:
            with torch.inference_mode(False), traced(root, on_device_of(root, batch)) as seen:
                ran = True
                sites = _sites(seen)
            if any(site.seen == "softmax" for site in sites):
                sites = _as_they_are(root, batch, sites)
            if sites:
                return Anatomy(type(root).__name__, sites, seen.asleep)
        except UNFIT as failure:
            if ran:
                raise
            fault = fault or failure
    raise _nothing_seen(root, example, None if ran else fault)


def _nothing_seen(model: nn.Module, example: Batch | None, fault: BaseException | None) -> NotDissectable:
    if fault is None:
        kinds = sorted({type(module).__name__ for module in model.modules() if any(True for _ in module.children())})
        return NotDissectable(
            f"{type(model).__name__} ran without a call of softmax attention that can be seen; it is made of "
            f"{', '.join(kinds[:8])}. Linear attention and recurrence have no heads to take out: choose another model."
        )
    tried = "the example" if example is not None else "every input that its config and signature suggest"
    refusal = NotDissectable(
        f"{type(model).__name__} did not run on {tried} ({said(fault)}); pass example= with a batch that it takes as keywords."
    )
    refusal.__cause__ = fault
    return refusal


def _sites(seen: Trace) -> tuple[Site, ...]:
    """One site for each module that attends, in the order of their first calls."""
    by_module: dict[str, list[Study]] = {}
    for attended in seen.attended:
        study = Study(attended, seen)
        if attended.scores is None or study.heads > 1 or study.shares["k"]:  # else a softmax over experts or classes
            by_module.setdefault(attended.name, []).append(study)
    leaks = _leaks(seen)
    return tuple(_site(layer, studies, seen, leaks) for layer, studies in enumerate(by_module.values()))


def _as_they_are(model: nn.Module, batch: Batch, sites: tuple[Site, ...]) -> tuple[Site, ...]:
    """The sites again, those that attend by their own code studied in a pass in which no config names our function.

    Such code may ask for the name itself, and mask differently where it does not know it.
    """
    with torch.inference_mode(False), traced(model, on_device_of(model, batch), at_interface=False) as seen:
        own = {site.name: site for site in _sites(seen)}
    found = (own.get(site.name, site) if site.seen == "softmax" else site for site in sites)
    return tuple(replace(site, layer=layer) for layer, site in enumerate(found))


def _leaks(seen: Trace) -> list[bool]:
    """Which attention outputs reach the model's results around every projection."""
    leaves = [attended.leaf for attended in seen.attended]
    found = [depends(result, leaves) for result in seen.results]
    return [any(column) for column in zip(*found, strict=True)] if found else [False] * len(leaves)


def _site(layer: int, studies: list["Study"], seen: Trace, leaks: list[bool]) -> Site:
    """The site of one attention module, from all its calls in the pass, which must agree."""
    first = studies[0]
    reason = first.obstacle()
    if any(study.facts() != first.facts() for study in studies[1:]):
        reason = "it is called more than once in a pass, with other weights each time"
    elif any(leaks[seen.attended.index(study.attended)] for study in studies):
        reason = "its output reaches the model's result past every projection"
    unsliceable = next((why for each in first.slices if (why := _unsliceable(seen, each.module))), "")
    return Site(
        layer=layer,
        name=first.name,
        kind=first.kind,
        heads=first.heads,
        kv_heads=first.kv_heads,
        head_dim=first.widths[0],
        value_dim=first.widths[1],
        calls=len(studies),
        groups=first.groups,
        slices=first.slices,
        extras=first.extras,
        separable=not reason,
        sliceable=not (reason or unsliceable),
        reason=reason or unsliceable,
        seen="interface" if first.attended.axis == 2 else "softmax",
    )


def _unsliceable(seen: Trace, name: str) -> str:
    module = next(each.module for each in seen.projected if each.name == name)
    weight: Any = getattr(module, "weight", None)
    if isinstance(weight, nn.Parameter) and weight.is_floating_point() and type(weight.data) is Tensor:
        return ""
    held = type(getattr(weight, "data", weight)).__name__
    return f"{name} ({type(module).__name__}) holds quantised or sharded weights ({held}): they can be masked, not cut"


class Study:
    """One attention call, asked about everything."""

    def __init__(self, attended: Attended, seen: Trace) -> None:
        self.attended, self.name = attended, attended.name
        self.before = [each for each in seen.projected if each.order < attended.order]
        self.after = [each for each in seen.projected if each.order > attended.order]
        self.parameters = {name: each for name, each in seen.parameters.items() if each.is_floating_point()}
        self.kinds = seen.kinds
        self.axis = attended.axis or self._axis_of_heads()
        self.heads = attended.hidden_heads or attended.output.shape[self.axis]
        self.shares: dict[Role, dict[str, Share]] = {"q": {}, "k": {}, "v": {}, "o": {}, "gate": {}}
        if attended.scores is not None:
            self.shares["q"], self.shares["k"] = self._behind_scores(attended.scores)
        elif not attended.hidden_heads:
            for role, tensor in (("q", attended.query), ("k", attended.key), ("v", attended.value)):
                self.shares[cast("Role", role)] = self._behind(cast("Tensor", tensor))
        if not attended.hidden_heads:
            self._study_output()
        self.kv_heads, self.groups = self._grouping()
        self.slices = self._slices()
        self.extras = self._extras()

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

    def _study_output(self) -> None:
        """Which projections read the output, by which columns, and what else reaches those columns with it."""
        self.shares["o"], self.shares["gate"] = {}, {}
        known = {name for role in ("q", "k", "v") for name in self.shares[role]}
        for reader in self.after:
            columns = features_reached(self.attended.leaf, self.axis, reader.read) if reader.read.requires_grad else None
            if columns is None or not any(columns):
                continue
            self.shares["o"][reader.name] = divided = share(columns)
            if divided.divided and len(divided.owned) == self.heads:
                parts = [reader.read[..., list(own)] for own in divided.owned]
                beside = _shares(parts, _involved(reader.read, self.before))
                if self.attended.value is None:
                    self.shares["v"] |= beside  # past a softmax, values and gates look the same
                else:
                    self.shares["gate"] |= {name: each for name, each in beside.items() if name not in known or each.divided}

    def _slices(self) -> tuple[Slices, ...]:
        found = []
        for role, shares in self.shares.items():
            for module, each in shares.items():
                whose = per(each, self.heads, self.kv_heads) if role in ("q", "o", "gate") else "kv_head"
                if each.divided and whose:
                    found.append(Slices(module, role, 1 if role == "o" else 0, whose, each.owned))
        return tuple(found)

    def _extras(self) -> tuple[Extra, ...]:
        """Parameters outside the projections that each head has a part of."""
        touched = [] if self.attended.hidden_heads else parts_behind(self.attended.output, list(self.parameters.values()))
        reached = {name: self.parameters[name] for name, parts in zip(self.parameters, touched, strict=False) if parts is not None}
        if not reached:
            return ()
        by_head = [parts_behind(self.attended.output.select(self.axis, head), list(reached.values())) for head in range(self.heads)]
        found = []
        for place, (name, parameter) in enumerate(reached.items()):
            parts = [each[place] for each in by_head]
            for axis in range(parameter.dim()):
                divided = share([cast("Features", part[axis] if part is not None else frozenset()) for part in parts])
                whose = per(divided, self.heads, self.kv_heads)
                if divided.divided and whose:
                    found.append(Extra(name, axis, whose, divided.owned))
                    break
        return tuple(found)

    def obstacle(self) -> str:
        """Why the heads do not come apart, in words; empty where they do."""
        if self.attended.hidden_heads:
            return "it runs inside torch's multi_head_attention_forward, which shows neither heads nor projections"
        for role, count in (("q", self.heads), ("k", self.kv_heads), ("v", self.kv_heads), ("o", self.heads)):
            shares = self.shares[cast("Role", role)]
            if not shares:
                return f"{role} cannot be traced to a projection" if role != "o" else "no projection reads its output"
            mixed = next((name for name, each in shares.items() if each.mixed), None)
            whole = not any(each.divided and len(each.owned) == count for each in shares.values())
            if mixed or (whole and count > 1):
                where = mixed or next(iter(shares))
                return f"{role} of each head depends on what {where} gives to the others{self._between()}"
        mixed = next((name for name, each in self.shares["gate"].items() if each.mixed), None)
        if mixed:
            return f"the gate {mixed} reaches the output of several heads at once"
        lent = next((name for name, each in self.shares["q"].items() if each.divided and len(each.owned) < self.heads), None)
        if lent:
            return f"q of several heads depends on the same rows of {lent}"
        reader = self._second_reader()
        return f"{reader} reads q, k or v of all heads besides attention" if reader else ""

    def _second_reader(self) -> str:
        """A projection that mixes what belongs to the heads before attention does."""
        owned: dict[str, set[int]] = {}
        for each in self.slices:
            if each.axis == 0:
                owned.setdefault(each.module, set()).update(*each.indices)
        sources = [each for each in self.before if each.name in owned]
        readers = [each for each in self.before if each.read.requires_grad]
        for reader in readers:
            for source, features in zip(sources, features_behind(reader.read, [each.wrote for each in sources]), strict=True):
                if features & owned[source.name]:
                    return reader.name
        return ""

    def _between(self) -> str:
        """The modules of the site that hold weights of their own besides projections: the likely culprits."""
        prefix = f"{self.name}." if self.name else ""
        inner = {name.removeprefix(prefix).rpartition(".")[0] for name in self.parameters if name.startswith(prefix)} - {""}
        kinds = [f"{name} ({self.kinds[prefix + name]})" for name in sorted(inner)]
        return f"; between them lie {', '.join(kinds)}" if kinds else ""


def _involved(tensor: Tensor, projected: Sequence[Projected]) -> list[Projected]:
    dependent = depends(tensor, [each.wrote for each in projected])
    return [each for each, is_dependent in zip(projected, dependent, strict=True) if is_dependent]


def _shares(parts: Sequence[Tensor], involved: Sequence[Projected]) -> dict[str, Share]:
    """For each involved projection, how its outputs are divided among the parts."""
    sources = [each.wrote for each in involved]
    return _by_name(involved, [features_behind(part, sources) for part in parts])


def _by_name(involved: Sequence[Projected], behind: Sequence[Sequence[Features]]) -> dict[str, Share]:
    """The shares of each projection, its calls added up, where any part depends on it."""
    found = {}
    for name in dict.fromkeys(each.name for each in involved):
        calls = [place for place, each in enumerate(involved) if each.name == name]
        features = [frozenset().union(*(row[place] for place in calls)) for row in behind]
        if any(features):
            found[name] = share(features)
    return found
