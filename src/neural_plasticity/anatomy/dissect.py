"""`dissect`: a model's attention sites, found by running it once and asking autograd; no table of families."""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from neural_plasticity.anatomy.example import UNFIT, Batch, example_batches, on_device_of
from neural_plasticity.anatomy.past import past_of
from neural_plasticity.anatomy.provenance import depends
from neural_plasticity.anatomy.sites import Anatomy, Site
from neural_plasticity.anatomy.study import Study
from neural_plasticity.anatomy.taps import original
from neural_plasticity.anatomy.trace import Trace, traced
from neural_plasticity.anatomy.verdict import obstacle
from neural_plasticity.errors import NotDissectable, said


def dissect(model: nn.Module, example: Batch | None = None) -> Anatomy:
    """The attention sites of a model, and the exact weights of every head; of an operated one, of those that are present.

    The model runs once on a tiny batch, derived from its config or given as `example`, the keywords of its
    forward; it is left exactly as it was.
    """
    root = _dissectable(model)
    past = past_of(root)
    if past is not None:
        return past.now()
    fault: BaseException | None = None
    ran = False
    for batch in [example] if example is not None else example_batches(root):
        try:
            with torch.inference_mode(False), traced(root, on_device_of(root, copy.deepcopy(batch))) as seen:
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


def _dissectable(model: nn.Module) -> nn.Module:
    """The module to run; a refusal of what is none, or has no weights."""
    if not isinstance(model, nn.Module):
        raise NotDissectable(f"A {type(model).__name__} is no model; pass a torch module, or use load_model to get one by name.")
    root = original(model)
    if any(parameter.is_meta for parameter in root.parameters()):
        raise NotDissectable(f"{type(root).__name__} lies on the meta device and cannot run; load its weights first.")
    return root


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
    sites = [_site(layer, studies, seen, leaks) for layer, studies in enumerate(by_module.values())]
    return _with_shared_weights(sites, seen)


def _as_they_are(model: nn.Module, batch: Batch, sites: tuple[Site, ...]) -> tuple[Site, ...]:
    """The sites again, those that attend by their own code studied in a pass in which no config names our function.

    Such code may ask for the name itself, and mask differently where it does not know it.
    """
    with torch.inference_mode(False), traced(model, on_device_of(model, copy.deepcopy(batch)), at_interface=False) as seen:
        own = {site.name: site for site in _sites(seen)}
    found = (own.get(site.name, site) if site.seen == "softmax" else site for site in sites)
    return tuple(replace(site, layer=layer) for layer, site in enumerate(found))


def _with_shared_weights(sites: list[Site], seen: Trace) -> tuple[Site, ...]:
    """The sites, each knowing which others use weights of its own slices."""
    weights = {each.name: id(getattr(each.module, "weight", each.module)) for each in seen.projected}
    used = [{weights[each.module] for each in site.slices} for site in sites]
    found = []
    for site, own in zip(sites, used, strict=True):
        shared = tuple(other.layer for other, theirs in zip(sites, used, strict=True) if other is not site and own & theirs)
        found.append(replace(site, shared_with=shared))
    return tuple(found)


def _leaks(seen: Trace) -> list[bool]:
    """Which attention outputs reach the model's results around every projection."""
    leaves = [attended.leaf for attended in seen.attended]
    found = [depends(result, leaves) for result in seen.results]
    return [any(column) for column in zip(*found, strict=True)] if found else [False] * len(leaves)


def _site(layer: int, studies: list[Study], seen: Trace, leaks: list[bool]) -> Site:
    """The site of one attention module, from all its calls in the pass, which must agree."""
    first = studies[0]
    reason = next((why for study in studies if (why := obstacle(study))), "")
    if not reason and any(study.facts() != first.facts() for study in studies[1:]):
        reason = "it is called more than once in a pass, with other weights each time"
    elif not reason and any(leaks[seen.attended.index(study.attended)] for study in studies):
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
    return f"{name} ({type(module).__name__}) holds quantised, sharded or derived weights ({held}): they can be masked, not cut"
