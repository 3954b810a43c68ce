"""Every family's attention signals against its own eager weights in float64, unpadded, padded left and right, and packed."""

import inspect
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.sites import Anatomy, Site
from neural_plasticity.errors import NotMeasurable
from neural_plasticity.signals.measure import measure
from tests.conformance.families import FAMILIES
from tests.conformance.taken import SEED, taken_apart

SIGNALS = ("entropy", "normalized_entropy", "sink", "previous_token", "self_token", "distance", "confidence")
LAYOUTS = ("plain", "left", "right", "packed")
MORE = 4  # tokens at the padded end, so that no picture has as many patches as the text has tokens
SPLIT = 4  # where the second sequence of a packed row begins

# Families with a layer that is refused, because its attention lies in blocks of a layout of its own.
REFUSED = {"longformer", "led", "longt5", "longt5-global", "hiera"}


class Softmaxes(TorchFunctionMode):
    """Writes down what the modules of a model get from softmax."""

    def __init__(self, model: nn.Module, sites: dict[str, int]) -> None:
        super().__init__()
        self.found: dict[str, list[Tensor]] = defaultdict(list)
        self._sites, self._running, self._handles = sites, [], []
        for name, module in model.named_modules():
            if name in sites:
                self._handles.append(module.register_forward_pre_hook(lambda *_, name=name: self._running.append(name)))
                self._handles.append(module.register_forward_hook(lambda *_: self._running.pop() and None))

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if getattr(func, "__name__", "") == "multi_head_attention_forward" and self._running:
            output, weights = func(*args, **(options | {"need_weights": True, "average_attn_weights": False}))
            self.found[self._running[-1]].append(weights.detach().double())
            return output, weights
        result = func(*args, **options)
        axis = args[1] if len(args) > 1 else options.get("dim")
        if getattr(func, "__name__", "") == "softmax" and self._running and axis in (-1, result.dim() - 1):
            name = self._running[-1]
            heads = self._sites[name]
            if result.dim() == 3 and len(result) % heads == 0:
                self.found[name].append(result.detach().double().unflatten(0, (-1, heads)))
            elif result.dim() == 4 and result.shape[1] == heads:
                self.found[name].append(result.detach().double())
        return result

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()


def begins(weights: Tensor, real: Tensor) -> Tensor:
    """The first token of each query's sequence, (rows, queries): behind the last query that no head looked back from."""
    first = []
    for row, counted in zip(weights, real, strict=True):
        starts = [0]
        for place in range(1, len(counted)):
            alone = bool(counted[place]) and not bool(row[:, place, place - 1].any())
            starts.append(place if alone else starts[-1])
        first.append(starts)
    return torch.tensor(first)


def expected(weights: list[Tensor], site: Site, real: Tensor) -> dict[str, Tensor]:
    """The signals of a site from its weights, straight from their definitions; `real` is of its tokens."""
    sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros(site.heads, dtype=torch.float64))
    most = number = 0.0
    for every in weights:
        rows, _, queries, keys = every.shape
        learned = int(keys == queries + 1 and site.kind == "decoder")  # a sink that takes part in the softmax as one more key
        aligned = site.kind != "cross" and keys - learned == queries
        seen = every[..., : keys - learned]
        known = real.shape == (rows, queries)
        counted = (real if known else torch.ones(rows, queries, dtype=torch.bool)).unsqueeze(1)
        own = torch.arange(queries).expand(rows, -1)
        if aligned:  # who does not see itself is padding, as of a picture's missing tiles
            counted = counted & (seen.diagonal(dim1=-2, dim2=-1) > 0).any(1, keepdim=True)
        start = begins(seen, counted[:, 0]) if aligned else (seen > 0).any(1).byte().argmax(-1)
        number += float(counted.sum())
        most += float(((every > 0).any(1).sum(-1).double().log() * counted[:, 0]).sum())

        def at(keys: Tensor, inside: Tensor, seen: Tensor = seen) -> Tensor:
            index = keys.clamp(min=0)[:, None, :, None].expand(*seen.shape[:3], 1)
            return seen.gather(-1, index).squeeze(-1) * inside.unsqueeze(1)

        values = {
            "entropy": -torch.special.xlogy(every, every).sum(-1),
            "sink": at(start, start >= 0),
            "confidence": seen.amax(-1),
        }
        if aligned:
            values["self_token"] = at(own, own >= 0)
            values["previous_token"] = at(own - 1, own > start)
            values["distance"] = (seen * (own[0].unsqueeze(1) - own[0]).abs()).sum(-1)
        for name, value in values.items():
            sums[name] += value.where(counted, 0).sum((0, 2))
    found = {name: total / number for name, total in sums.items()}
    return found | {"normalized_entropy": sums["entropy"] / most}


# --- the layouts -----------------------------------------------------------------------------------------------------


def laid_out(layout: str, model: nn.Module, example: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor] | None:
    """The example in this layout, with which of its tokens are real."""
    ids = example.get("input_ids")
    named = inspect.signature(model.forward).parameters
    shape = ids.shape if ids is not None and ids.dim() == 2 else (0, 0)
    real = torch.ones(shape, dtype=torch.bool)
    if layout == "plain":
        return example, real
    if not shape[0] or "attention_mask" not in named:
        return None
    if layout == "packed":
        if "position_ids" not in named or len(example) > 1:  # with pictures, places are not those of the words alone
            return None
        places = torch.cat([torch.arange(SPLIT), torch.arange(shape[1] - SPLIT)]).expand(shape)
        return {name: value for name, value in example.items() if name != "attention_mask"} | {"position_ids": places}, real
    longer = {name: grown(value, layout) if value.shape[:2] == shape else value for name, value in example.items()}
    real = torch.ones(shape[0], shape[1] + MORE, dtype=torch.bool)
    real[0, slice(0, 2) if layout == "left" else slice(-2, None)] = False
    return longer | {"attention_mask": real.long()}, real


def grown(tokens: Tensor, layout: str) -> Tensor:
    """Something for every token, with more at one end, like the last: there lies no picture."""
    more = tokens[:, -1:].repeat_interleave(MORE, 1)
    return torch.cat([more, tokens] if layout == "left" else [tokens, more], 1)


# Where sdpa and eager of one family do not agree, its eager half is measured.
TWO_ATTENTIONS = {"falcon-alibi"}


@dataclass(frozen=True)
class Case:
    name: str
    model: nn.Module
    eager: nn.Module
    anatomy: Anatomy
    example: dict[str, Tensor]


@pytest.fixture(scope="module", params=FAMILIES)
def case(request) -> Case:
    family = FAMILIES[request.param]
    model = family.build(SEED, "eager" if family.name in TWO_ATTENTIONS else None)
    eager = family.build(SEED, "eager").double()
    if hasattr(eager, "set_experts_implementation"):
        eager.set_experts_implementation("eager")  # the others take no float64
    taken = taken_apart(family.name)
    anatomy = dissect(model, taken.example) if family.name in TWO_ATTENTIONS else taken.anatomy
    return Case(family.name, model, eager, anatomy, taken.example)


def weights_of(case: Case, batch: dict[str, Tensor]) -> dict[str, list[Tensor]]:
    """Eager weights in float64, or in float32 where the model's code allows no more."""
    uncached = {"use_cache": False} if "use_cache" in inspect.signature(case.eager.forward).parameters else {}
    for dtype in (torch.float64, torch.float32):
        softmaxes = Softmaxes(case.eager.to(dtype), {site.name: site.heads for site in case.anatomy})
        cast = {name: value.to(dtype) if value.is_floating_point() else value for name, value in batch.items()}
        try:
            with torch.no_grad(), softmaxes:
                case.eager(**cast, **uncached)
            if all(bool(each.isfinite().all()) for calls in softmaxes.found.values() for each in calls):
                break  # in float64 some masks overflow the float32 of a softmax, and padding becomes nan
        except RuntimeError as fault:
            if "upcasting" not in str(fault) and "overflow" not in str(fault):
                raise
        finally:
            softmaxes.close()
    return softmaxes.found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_signals_are_those_of_eager_attention_in_float64(case, layout):
    prepared = laid_out(layout, case.model, case.example)
    if prepared is None:
        return
    batch, real = prepared
    if case.name in REFUSED and all(site.seen == "softmax" and not site.separable for site in case.anatomy):
        with pytest.raises(NotMeasurable, match="layout of its own"):
            measure(case.model, batch, SIGNALS, anatomy=case.anatomy)
        return
    measured = measure(case.model, batch, SIGNALS, anatomy=case.anatomy)
    assert bool(measured.refused) == (case.name in REFUSED), measured.refused
    weights = weights_of(case, batch)
    for site in case.anatomy:
        if site.layer in measured.refused.get("entropy", {}):
            assert "layout of its own" in measured.refused["entropy"][site.layer]
            continue
        for name, values in expected(weights[site.name], site, real).items():
            found = torch.tensor(measured[name].values[site.layer, : site.heads])
            assert torch.allclose(found, values, rtol=1e-4, atol=1e-4), (site.name, name, found - values)


def test_no_more_than_six_families_are_refused():
    assert len(REFUSED) <= 6
