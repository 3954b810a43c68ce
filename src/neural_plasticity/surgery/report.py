"""What pruning has saved: parameters, bytes, cache and attention work, of the untouched model and of what is left of it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import prod

from torch import nn
from transformers.pytorch_utils import Conv1D

from neural_plasticity.anatomy.past import Axis, Past
from neural_plasticity.anatomy.sites import Site
from neural_plasticity.surgery.gating import GATE
from neural_plasticity.surgery.layout import groups_gone, parts_gone


@dataclass(frozen=True, slots=True)
class Size:
    """How large a model is, and how much work its attention does for one text.

    The caches are the bytes of keys and values for each token, of the text that is made and of a source that is read;
    the work counts each multiplication and addition of the projections and of all scores, those that masks hide included.
    """

    parameters: int
    parameter_bytes: int
    cache_bytes_per_token: int
    source_cache_bytes_per_token: int
    attention_flops: int


@dataclass(frozen=True, slots=True)
class LayerHeads:
    """The heads whose weights a layer has, and had."""

    layer: int
    name: str
    heads: int
    heads_before: int
    kv_heads: int
    kv_heads_before: int


@dataclass(frozen=True, slots=True)
class Report:
    """A model before and after pruning; `tokens` is the length that the work is counted for, `asleep` the heads by mode.

    Heads that are masked, gated or zeroed save nothing, and gates are not counted as parameters.
    """

    model: str
    tokens: int
    before: Size
    after: Size
    layers: tuple[LayerHeads, ...]
    asleep: Mapping[str, int]

    def __str__(self) -> str:
        asleep = ", ".join(f"{heads} by {mode}" for mode, heads in self.asleep.items()) or "none"
        rows = [(f"{self.model}, {self.tokens} tokens", "before", "after", "left")]
        for each in fields(Size):
            before, after = getattr(self.before, each.name), getattr(self.after, each.name)
            rows.append((each.name.replace("_", " "), f"{before:,}", f"{after:,}", f"{after / before:.1%}" if before else "-"))
        rows += [(f"layer {each.layer} {each.name}", _heads(each, "_before"), _heads(each), "") for each in self.layers]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]
        return "\n".join([*(line.rstrip() for line in lines), f"heads asleep: {asleep}"])


def report(model: nn.Module, past: Past, tokens: int = 512) -> Report:
    """What the heads that were removed have saved, exactly: all numbers are of the weights that are there, and were."""
    sizes, whole = _parameters(model), _wholes(model, past)
    layers = tuple(_layer(site, past) for site in past.anatomy)
    now = _Attention({site.layer: past.gone(site.layer) for site in past.anatomy})
    return Report(
        model=past.anatomy.model,
        tokens=tokens,
        before=_size(model, past, whole, _Attention({}), tokens),
        after=_size(model, past, sizes, now, tokens),
        layers=layers,
        asleep=dict(Counter(past.modes.values())),
    )


@dataclass(frozen=True, slots=True)
class _Attention:
    """Which heads of each layer are gone."""

    gone: Mapping[int, set[int]]

    def heads(self, site: Site) -> list[int]:
        return sorted(set(range(site.heads)) - self.gone.get(site.layer, set()))

    def kv_heads(self, site: Site) -> list[int]:
        return sorted(set(site.groups) - groups_gone(site, self.gone.get(site.layer, set())))


def _size(model: nn.Module, past: Past, sizes: Mapping[nn.Parameter, int], attention: _Attention, tokens: int) -> Size:
    caches = {
        kind: sum(_cached(model, site) * len(attention.kv_heads(site)) for site in past.anatomy if site.kind == kind)
        for kind in ("decoder", "cross")
    }
    return Size(
        parameters=sum(sizes.values()),
        parameter_bytes=sum(size * parameter.element_size() for parameter, size in sizes.items()),
        cache_bytes_per_token=caches["decoder"],
        source_cache_bytes_per_token=caches["cross"],
        attention_flops=sum(_flops(model, site, attention, tokens) for site in past.anatomy),
    )


def _cached(model: nn.Module, site: Site) -> int:
    """The bytes that a key-value head keeps of each token."""
    keys = site.of_role("k") or site.of_role("o")
    module = model.get_submodule(keys[0].module if keys else site.name)
    return (site.head_dim + site.value_dim) * next(module.parameters()).element_size() * site.calls


def _flops(model: nn.Module, site: Site, attention: _Attention, tokens: int) -> int:
    heads, kv_heads = attention.heads(site), attention.kv_heads(site)
    scores = len(heads) * tokens * (site.head_dim + site.value_dim)
    weights = 0
    for each in site.slices:
        there = heads if each.per == "head" else kv_heads
        weights += sum(len(each.indices[member]) for member in there) * _across(model, each.module, each.axis)
    return 2 * tokens * (scores + weights) * site.calls


def _across(model: nn.Module, name: str, axis: int) -> int:
    """How long a row, or a column, of a projection is."""
    module = model.get_submodule(name)
    turned = isinstance(module, Conv1D)  # which stores inputs × outputs
    return model.get_parameter(f"{name}.weight").shape[axis if turned else 1 - axis]


def _parameters(model: nn.Module) -> dict[nn.Parameter, int]:
    return {parameter: parameter.numel() for name, parameter in model.named_parameters() if not name.endswith(GATE)}


def _wholes(model: nn.Module, past: Past) -> dict[nn.Parameter, int]:
    """How many numbers every parameter held in the untouched model."""
    gone: dict[Axis, set[int]] = {}
    for part in parts_gone(model, past.anatomy, {site.layer: past.gone(site.layer) for site in past.anatomy}):
        gone.setdefault((part.parameter, part.axis), set()).update(part.indices)
    shapes = {parameter: list(parameter.shape) for parameter in _parameters(model)}
    for (name, axis), places in gone.items():
        shapes[model.get_parameter(name)][axis] += len(places)
    return {parameter: prod(shape) for parameter, shape in shapes.items()}


def _layer(site: Site, past: Past) -> LayerHeads:
    gone = past.gone(site.layer)
    kv_heads = site.kv_heads - len(groups_gone(site, gone))
    return LayerHeads(site.layer, site.name, site.heads - len(gone), site.heads, kv_heads, site.kv_heads)


def _heads(layer: LayerHeads, when: str = "") -> str:
    heads, kv_heads = getattr(layer, f"heads{when}"), getattr(layer, f"kv_heads{when}")
    return f"{heads} heads" if layer.heads_before == layer.kv_heads_before else f"{heads} heads on {kv_heads}"
