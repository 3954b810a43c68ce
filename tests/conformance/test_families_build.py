"""Every row of `families.py` builds, runs, and has exactly the attention that it says it has."""

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask

from tests.conformance.families import FAMILIES, NO_ATTENTION, Family, Site
from tests.conformance.family import EVERY_KIND

SEEDS = (1, 5)  # 4 heads on 2 groups, then 5 on 1; head_dim above and below width / heads
ROWS = {**FAMILIES, **NO_ATTENTION}
VISIBLE = [name for name, family in FAMILIES.items() if family.legacy != EVERY_KIND]
LEGACY = [name for name, family in FAMILIES.items() if family.legacy]

Call = tuple[int, int, int, int]  # heads of q and of k, width of q and of v


@pytest.fixture(scope="module")
def recorder() -> list[Call]:
    """The shapes that an attention function of ours is called with; register it, clear it, read it."""
    calls: list[Call] = []

    def record(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **more: Any) -> Any:
        assert key.shape[1] == value.shape[1]
        calls.append((query.shape[1], key.shape[1], query.shape[-1], value.shape[-1]))
        return sdpa_attention_forward(module, query, key, value, attention_mask, **(more | {"softcap": None}))

    AttentionInterface.register("conformance-recorder", record)
    AttentionMaskInterface.register("conformance-recorder", eager_mask)  # sdpa_mask may be None, which old code cannot add
    return calls


class Softmaxes(TorchDispatchMode):
    """The shapes of everything that goes through a softmax, wherever it is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[torch.Size] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if "softmax" in func.overloadpacket.__name__:
            self.shapes.append(out.shape)
        return out


def floats(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield from (output,) if output.is_floating_point() else ()
    elif isinstance(output, dict):
        yield from floats(list(output.values()))
    elif isinstance(output, list | tuple):
        for each in output:
            yield from floats(each)


@torch.no_grad()
def run(family: Family, model: nn.Module, seed: int) -> list[Tensor]:
    return list(floats(model(**family.example(model, seed))))


def as_called(site: Site) -> Call:
    """What an attention function sees of a site."""
    value_dim = site.head_dim if site.value_dim is None else site.value_dim
    key_heads = site.heads if site.repeated else site.kv_heads
    return site.heads, key_heads, site.head_dim + site.padding, value_dim + site.padding


def fits(shape: torch.Size, heads: int, batch: int = 2) -> bool:
    """Weights lie in (batch, heads, …), in (batch, blocks or words, heads, …) or in (batch × heads, …)."""
    return shape[0] == batch * heads if len(shape) == 3 else len(shape) > 3 and heads in shape[1:3]


def unknown_settings(config: PreTrainedConfig, settings: dict[str, Any], source: str) -> Iterator[str]:
    known = {field.name for field in fields(config)} | {"model_type"}
    for name, value in settings.items():
        part = getattr(config, name) if isinstance(value, dict) else None
        if isinstance(part, PreTrainedConfig):
            yield from unknown_settings(part, value, source)
        elif name not in known and not re.search(rf"\b{name}\b", source):
            yield name


@pytest.mark.parametrize("name", ROWS)
def test_two_seeds_build_and_run_alike_each_time(name):
    family = ROWS[name]
    for seed in SEEDS:
        before = torch.get_rng_state()
        model = family.build(seed)
        assert torch.equal(torch.get_rng_state(), before)
        assert not model.training
        first, second = run(family, model, seed), run(family, family.build(seed), seed)
        assert first
        assert all(each.isfinite().all() for each in first)
        assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("name", ROWS)
def test_no_setting_is_a_misspelling(name):
    family = ROWS[name]
    model = family.build(0)
    source = "".join(inspect.getsource(sys.modules[type(each).__module__]) for each in (model, model.config))
    assert list(unknown_settings(model.config, family.settings(Random(0)), source)) == []


@pytest.mark.parametrize("name", VISIBLE)
def test_expected_sites_are_the_calls_of_the_attention_interface(name, recorder):
    family = FAMILIES[name]
    for seed in SEEDS:
        model = family.build(seed, "conformance-recorder")
        recorder.clear()
        run(family, model, seed)
        assert recorder == [as_called(site) for site in family.observable(model)]


@pytest.mark.parametrize("name", FAMILIES)
def test_expected_sites_are_all_the_softmaxes_over_words(name):
    family = FAMILIES[name]
    for seed in SEEDS:
        model = family.build(seed, "eager")
        expected = family.expected(model)
        with Softmaxes() as softmaxes:
            run(family, model, seed)
        attentions = [shape for shape in softmaxes.shapes if any(fits(shape, site.heads) for site in expected)]
        assert len(attentions) == len(expected)
        assert all(fits(shape, site.heads) for shape, site in zip(attentions, expected, strict=True))


@pytest.mark.parametrize("name", LEGACY)
def test_legacy_rows_ask_the_attention_interface_for_nothing_more(name, monkeypatch):
    asked: list[str] = []

    def get_interface(self: AttentionInterface, implementation: str, default: Any) -> Any:
        asked.append(implementation)
        return default

    monkeypatch.setattr(AttentionInterface, "get_interface", get_interface)
    family = FAMILIES[name]
    model = family.build(0, "eager")
    run(family, model, 0)
    assert len(asked) == len(family.observable(model))


@pytest.mark.parametrize("name", NO_ATTENTION)
def test_rows_without_attention_attend_nowhere(name, recorder):
    family = NO_ATTENTION[name]
    model = family.build(0, "conformance-recorder")
    recorder.clear()
    with Softmaxes() as softmaxes:
        run(family, model, 0)
    assert recorder == softmaxes.shapes == family.expected(model) == []
