"""Every family taken apart: counts, completeness, and the decisive test, that a head's rows move that head only."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask
from transformers.pytorch_utils import Conv1D

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.sites import Anatomy, Site
from neural_plasticity.anatomy.taps import open_taps
from neural_plasticity.errors import NotDissectable
from tests.anatomy.test_dissect import same
from tests.conformance.families import FAMILIES, NO_ATTENTION
from tests.conformance.taken import SEED, Taken, taken_apart
from tests.conformance.test_families_build import floats

# Families whose heads do not come apart everywhere, each with words of the reason that must be given.
INSEPARABLE = {
    "olmo2": "q_norm",
    "olmo3": "q_norm",
    "olmoe": "q_norm",
    "flex_olmo": "q_norm",
    "olmo_hybrid": "q_norm",
    "bitnet": "attn_sub_norm",
    "diffllama": "v_proj",
    "doge": "dt_proj",
    "zaya": "v_proj_current",
    "hiera": "blocks of its own layout",
    "jetmoe": "cannot be traced to a projection",
    "convbert": "conv_kernel_layer",
    "xlnet": "cannot be traced to a projection",
    "squeezebert": "cannot be traced to a projection",
    "ibert": "cannot be traced to a projection",
    "longformer": "blocks of its own layout",
    "led": "blocks of its own layout",
    "longt5": "blocks of its own layout",
    "longt5-global": "blocks of its own layout",
    "pegasus_x": "blocks of its own layout",
    "prophetnet": "blocks of its own layout",
    "wavlm": "multi_head_attention_forward",
    "siglip": "multi_head_attention_forward",
}


@pytest.fixture(scope="module", params=FAMILIES)
def taken(request) -> Taken:
    return taken_apart(request.param)


def test_verdict_and_reason_are_the_known_ones(taken):
    reasons = [site.reason for site in taken.anatomy if site.reason]
    assert all(bool(site.reason) != site.separable for site in taken.anatomy)
    assert taken.anatomy.separable == (taken.family.name not in INSEPARABLE)
    if reasons:
        assert any(INSEPARABLE[taken.family.name] in reason for reason in reasons), reasons


def test_head_counts_and_widths_are_right(taken):
    """Against what the rows know of their configs. Sites that several calls share are counted once."""
    expected = taken.family.expected(taken.model)
    known = {(site.heads, site.kv_heads, site.head_dim, site.value_dim or site.head_dim) for site in expected}
    for site in taken.anatomy:
        if site.separable and site.seen == "interface":
            found = (site.heads, site.kv_heads, site.head_dim - padding(taken, site), site.value_dim - padding(taken, site))
            assert found in known, site
    assert sum(site.calls for site in taken.anatomy) <= len(expected)


def padding(taken: Taken, site: Site) -> int:
    return next((each.padding for each in taken.family.expected(taken.model) if each.heads == site.heads), 0)


def test_slices_are_disjoint_and_complete(taken):
    for site in taken.anatomy:
        if not site.separable:
            continue
        for each in site.slices:
            flat = [index for indices in each.indices for index in indices]
            assert len(flat) == len(set(flat))
            assert len(each.indices) == (site.heads if each.per == "head" else site.kv_heads)
        for role, width in (("q", site.head_dim), ("o", site.value_dim)):
            rows = {len(indices) for each in site.of_role(role) for indices in each.indices}
            assert rows <= {width - padding(taken, site)} or site.seen == "softmax" or len(site.of_role(role)) > 1, (role, rows)


def test_an_anatomy_survives_json(taken):
    import json

    assert Anatomy.from_dict(json.loads(json.dumps(taken.anatomy.as_dict()))) == taken.anatomy


# --- the decisive test -----------------------------------------------------------------------------------------------


class Reached(Exception):
    """The site under study has run; what comes behind it does not matter."""


class Watch:
    """What one site computes: q, k and v where they pass the attention interface, and what its output projection reads."""

    def __init__(self, taken: Taken, site: Site) -> None:
        self._model = taken.model
        self._module = taken.model.get_submodule(site.name)
        self._reader = taken.model.get_submodule(site.of_role("o")[0].module)
        self._columns = torch.tensor(site.of_role("o")[0].indices)
        uncached = {"use_cache": False} if "use_cache" in inspect.signature(taken.model.forward).parameters else {}
        self._batch = taken.example | uncached

    def look(self) -> list[Tensor]:
        """Of the site's first call: what is read by head, then q, k and v by head where they can be seen."""
        found: list[Tensor] = []

        def read(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            found.insert(0, arguments[0][..., self._columns].movedim(-2, 0).flatten(1))
            raise Reached

        def record(
            module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: object
        ) -> object:
            if module is self._module and not found:
                found.extend(tensor.transpose(0, 1).flatten(1).clone() for tensor in (query, key, value))
            return sdpa_attention_forward(module, query, key, value, attention_mask, **(options | {"softcap": None}))

        AttentionInterface.register(IMPLEMENTATION, record)
        handle = self._reader.register_forward_pre_hook(read)
        try:
            with torch.no_grad(), pytest.raises(Reached):
                self._model(**self._batch)
        finally:
            handle.remove()
        return found


IMPLEMENTATION = "conformance-slices"


@pytest.fixture
def observed(taken) -> Taken:
    """The same model, attending through the function that the watch registers."""
    AttentionInterface.register(IMPLEMENTATION, sdpa_attention_forward)
    AttentionMaskInterface.register(IMPLEMENTATION, eager_mask)
    return replace(taken, model=taken.family.build(SEED, IMPLEMENTATION))


@contextmanager
def perturbed(model: nn.Module, module_name: str, rows: tuple[int, ...]) -> Iterator[None]:
    """Other numbers in these rows of a projection, and in its bias there."""
    module = model.get_submodule(module_name)
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters(recurse=False)}
    with torch.no_grad():
        for name, parameter in module.named_parameters(recurse=False):
            target = parameter.T if isinstance(module, Conv1D) and name == "weight" else parameter
            target[list(rows)] += torch.rand(target[list(rows)].shape, generator=torch.Generator().manual_seed(0))
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in module.named_parameters(recurse=False):
                parameter.copy_(before[name])


def moved(before: Tensor, after: Tensor) -> set[int]:
    """The heads whose numbers are no longer the same, to the bit."""
    return {head for head in range(len(before)) if not torch.equal(before[head], after[head])}


def test_the_rows_of_a_head_move_that_head_and_no_other(observed):
    used: set[int] = set()
    for site in observed.anatomy:
        weights = {each.module: id(observed.model.get_submodule(each.module).weight) for each in site.slices}
        own = [each for each in site.slices if each.axis == 0 and weights[each.module] not in used]
        used |= set(weights.values())  # a later site with the same weights would be moved from before, too
        if not site.separable:
            continue
        watch = Watch(observed, site)
        before = watch.look()
        for each in own:
            for place, rows in enumerate(each.indices):
                heads = {place} if each.per == "head" else {head for head in range(site.heads) if site.groups[head] == place}
                with perturbed(observed.model, each.module, rows):
                    after = watch.look()
                where = (site.name, each.role, place)
                assert moved(before[0], after[0]) == heads, where
                roles = {other.role for other in own if other.module == each.module and rows in other.indices}  # v may be k
                for role, one, other in zip("qkv", before[1:], after[1:], strict=False):
                    expected = set() if role not in roles else {place} if len(one) == len(each.indices) else heads
                    assert moved(one, other) == expected, (*where, role)


# --- the model is left alone, and what cannot be taken apart is refused --------------------------------------------------


def test_an_open_tap_that_only_looks_changes_nothing_in_a_padded_batch(taken):
    """Also where the mask matters: without its twin in the mask interface, padding would be attended to."""
    batch = dict(taken.example)
    if "input_ids" in batch and taken.family.head in ("causal-lm", "masked-lm", "seq2seq-lm"):
        mask = torch.ones_like(batch["input_ids"])
        mask[0, -2:] = 0
        mask[1, :2] = 0
        batch["attention_mask"] = mask
    tappable = [site for site in taken.anatomy if site.seen == "interface" or site.of_role("o")]
    calls = dict.fromkeys(tappable, 0)

    def count(site: Site):
        def tap(call) -> None:
            calls[site] += 1

        return tap

    with torch.no_grad():
        before = list(floats(taken.model(**batch)))
        with open_taps(taken.model, {site: count(site) for site in tappable}):
            during = list(floats(taken.model(**batch)))
        after = list(floats(taken.model(**batch)))
    assert all(calls.values())
    for one, two, three in zip(before, during, after, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_dissection_leaves_no_trace(taken):
    assert same(taken.before, taken.after)


def test_without_an_example_the_same_sites_are_found(taken):
    """From the config and the signature alone; models of several halves may be reached in part, and then say so."""
    if taken.family.name in ("patchtst", "decision_transformer", "paligemma", "idefics"):
        with pytest.raises(NotDissectable, match="pass example="):
            dissect(taken.model)
        return
    alone = dissect(taken.model)
    missing = {site.name for site in taken.anatomy} - {site.name for site in alone}
    assert {site.name for site in alone} <= {site.name for site in taken.anatomy}
    assert all(any(name.startswith(part) for part in alone.asleep) for name in missing)


@pytest.mark.parametrize("name", NO_ATTENTION)
def test_models_without_attention_are_refused_with_what_was_seen(name):
    family = NO_ATTENTION[name]
    model = family.build(SEED)
    with pytest.raises(NotDissectable, match="ran without a call of softmax attention") as refusal:
        dissect(model, family.example(model, SEED))
    assert any(type(module).__name__ in str(refusal.value) for module in model.modules())


def test_at_least_forty_five_families_are_covered_and_forty_two_come_apart():
    types = {family.model_type for family in FAMILIES.values()}
    separable = {family.model_type for name, family in FAMILIES.items() if name not in INSEPARABLE}
    assert len(types) >= 45
    assert len(separable) >= 42
