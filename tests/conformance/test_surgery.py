"""Every family operated on: heads that are removed are as good as masked, and come back to the last bit."""

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, StaticCache

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.sites import Anatomy, Site
from neural_plasticity.anatomy.taps import open_taps
from neural_plasticity.errors import NotRemovable, ProofFailed, SurgeryError
from neural_plasticity.heads import HeadId
from neural_plasticity.surgery.surgeon import Surgeon
from tests.anatomy.test_dissect import same, state
from tests.conformance.families import FAMILIES
from tests.conformance.family import Family, draw_weights, tokens, words
from tests.conformance.taken import SEED, taken_apart

NEAR = 1e-5  # of the largest output, in float32
STEPS = 2  # tokens that are decoded with a cache
PAST = "_plasticity_past"
CANNOT = (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError)  # as a model says that a pass is not for it

# Families whose heads come apart and yet cannot be removed, each with words of the reason that must be given.
OWN_COUNT = "counts heads in a way of its own"
REFUSED = {
    "blip": OWN_COUNT,
    "bloom": OWN_COUNT,
    "codegen": OWN_COUNT,
    "dbrx": OWN_COUNT,
    "falcon-alibi": OWN_COUNT,
    "falcon-new": OWN_COUNT,
    "fsmt": OWN_COUNT,
    "funnel": OWN_COUNT,
    "led": OWN_COUNT,
    "mpnet": OWN_COUNT,
    "mpt": OWN_COUNT,
    "nystromformer": OWN_COUNT,
    "prophetnet": OWN_COUNT,
    "stablelm-qk-norm": "differ by",
    "timesformer": OWN_COUNT,
}

# Families that can lose heads, but not the last one of a site.
KEEPS_A_HEAD = {
    "albert-groups",
    "beit",
    "data2vec-vision",
    "deberta-v2",
    "flava",
    "git",
    "gpt_neo",
    "gpt_neox_japanese",
    "mvp",
    "openai-gpt",
    "qwen2_5_vl",
    "qwen2_vl",
    "switch_transformers",
    "xglm",
    "xlm",
}

Plan = dict[Site, list[int]]
Outputs = dict[str, list[Tensor]]


def heads_of(plan: Plan) -> list[HeadId]:
    return [HeadId(site.layer, head) for site, heads in plan.items() for head in heads]


def drawn_plan(sites: list[Site], random: Random) -> Plan:
    """Some heads of every site, groups of several left uneven where chance has it; of some sites all."""
    plan: Plan = {}
    for site in sites:
        number = site.heads if random.random() < 0.2 or site.heads == 1 else random.randint(1, site.heads - 1)
        plan[site] = sorted(random.sample(range(site.heads), number))
    return plan


def sparing_one(plan: Plan) -> Plan:
    """The same, with a head left in each site."""
    return {site: heads[: site.heads - 1] for site, heads in plan.items()}


# --- the mask that it is held against: at the attention interface of a copy that nobody operates on ---------------------


@contextmanager
def masked(model: nn.Module, plan: Plan) -> Iterator[None]:
    """The attention outputs of these heads are 0 until the block ends."""

    def silence(site: Site, heads: list[int]) -> Any:
        factors = torch.ones(site.heads)
        factors[heads] = 0
        return lambda call: call.output * factors.to(call.output)[:, None]

    with open_taps(model, {site: silence(site, heads) for site, heads in plan.items()}):
        yield


def floats(outputs: Any, real: Tensor | None = None) -> list[Tensor]:
    """What a model gives at real positions."""
    values = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
    tensors = [value for value in values if isinstance(value, Tensor) and value.is_floating_point()]
    return [value[real] if real is not None and value.shape[:2] == real.shape else value for value in tensors]


def decoded(model: nn.Module, batch: Mapping[str, Tensor]) -> list[Tensor]:
    """The outputs for the last tokens, each from the cache of those before."""
    name = "decoder_input_ids" if "decoder_input_ids" in batch else "input_ids"
    rest = {key: value for key, value in batch.items() if key != name}
    ids, found = batch[name], []
    outputs = model(**rest, **{name: ids[:, :-STEPS]}, use_cache=True)
    for place in range(ids.shape[1] - STEPS, ids.shape[1]):
        cache = {"past_key_values": outputs["past_key_values"]}
        outputs = model(**rest, **{name: ids[:, place : place + 1]}, **cache, use_cache=True)
        found.append(floats(outputs)[0])
    return found


@torch.no_grad()
def passes(family: Family, model: nn.Module, example: dict[str, Tensor]) -> Outputs:
    """The model on a prompt, on a left-padded batch, and decoding with a cache, as far as it is made for these."""
    found = {"prompt": floats(model(**example))}
    named = inspect.signature(model.forward).parameters
    if family.head not in ("causal-lm", "masked-lm", "seq2seq-lm") or not set(example) <= {"input_ids", "decoder_input_ids"}:
        return found
    if "attention_mask" in named:
        mask = torch.ones_like(example["input_ids"])
        mask[0, :3] = 0
        found["padded"] = floats(model(**example, attention_mask=mask), mask.bool())
    if family.head != "masked-lm" and {"past_key_values", "use_cache"} <= set(named):
        try:
            found["decoded"] = decoded(model, example)
        except CANNOT as fault:
            found[f"cannot decode: {fault}"] = []
    return found


def distance(one: Outputs, other: Outputs) -> float:
    """The largest difference, as a share of the largest output."""
    assert one.keys() == other.keys()
    worst = 0.0
    for name in one:
        assert [each.shape for each in one[name]] == [each.shape for each in other[name]], name
        for ours, theirs in zip(one[name], other[name], strict=True):
            worst = max(worst, float((ours - theirs).abs().max() / theirs.abs().max()) if theirs.numel() else 0.0)
    return worst


@torch.no_grad()
def seen(model: nn.Module) -> dict[str, object]:
    """All that somebody could notice about a model, but for its memory of what was done to it."""
    found = state(model)
    found["attributes"] = {name: [each for each in held if each != PAST] for name, held in found["attributes"].items()}
    return found


def differing(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """What is not the same any more, by name."""
    return [
        f"{kind}: {name}"
        for kind in one
        if not same(one[kind], other[kind])
        for name in (one[kind] if isinstance(one[kind], dict) else [""])
        if not isinstance(one[kind], dict) or name not in other[kind] or not same(one[kind][name], other[kind][name])
    ]


# --- one course of operations for every family ----------------------------------------------------------------------------


@dataclass
class Course:
    """What became of a family's model on its way: parts of it out, and back."""

    family: Family
    anatomy: Anatomy
    plan: Plan
    before: dict[str, object]
    untouched: Outputs
    is_spared: bool = False  # of heads that were to empty whole sites, one had to stay in each
    refusal: SurgeryError | None = None
    after_refusal: dict[str, object] = field(default_factory=dict)
    is_marked: bool = False
    masked: Outputs = field(default_factory=dict)
    removed: Outputs = field(default_factory=dict)
    lighter: int = 0
    after: dict[str, object] = field(default_factory=dict)
    revived: Outputs = field(default_factory=dict)


@pytest.fixture(scope="module", params=FAMILIES)
def course(request) -> Course:
    family = FAMILIES[request.param]
    model, random = family.build(SEED), Random(request.param)
    taken = taken_apart(request.param)
    example, anatomy = taken.example, taken.anatomy
    plan = drawn_plan([site for site in anatomy if site.sliceable and not site.shared_with], random)
    untouched = passes(family, model, example)  # first: some models keep things of their own from a pass
    twin = deepcopy(model)
    run = Course(family, anatomy, plan, seen(model), untouched)
    if not plan:
        return run
    surgeon = Surgeon(model, anatomy=anatomy, example=example)
    operate(run, surgeon)
    if run.refusal is not None:
        run.after_refusal, run.is_marked = seen(model), hasattr(model, PAST)
        return run
    with masked(twin, run.plan):
        run.masked = passes(family, twin, example)
    run.removed = passes(family, model, example)
    run.lighter = sum(weight.numel() for weight in twin.parameters()) - sum(weight.numel() for weight in model.parameters())
    heads = heads_of(run.plan)
    random.shuffle(heads)
    surgeon.revive(heads[::2])
    surgeon.revive(heads[1::2]) if heads[1:] else None
    run.after, run.revived = seen(model), passes(family, model, example)
    return run


def operate(run: Course, surgeon: Surgeon) -> None:
    """The plan, or the same with a head left everywhere where whole sites may not be emptied."""
    if is_removed(run, surgeon) or run.plan == sparing_one(run.plan):
        return
    assert not differing(run.before, seen(surgeon.model))
    run.plan, run.is_spared, run.refusal = sparing_one(run.plan), True, None
    is_removed(run, surgeon)


def is_removed(run: Course, surgeon: Surgeon) -> bool:
    try:
        surgeon.prune(heads_of(run.plan), mode="remove")
    except SurgeryError as refusal:
        run.refusal = type(refusal)(str(refusal))  # without the frames that it came through
        return False
    return True


def test_removed_heads_are_as_good_as_masked(course):
    if not course.plan or course.refusal is not None:
        return
    assert distance(course.removed, course.masked) <= NEAR
    assert distance(course.masked, course.untouched) > 10 * NEAR  # else nothing was tested
    assert course.lighter > 0


def test_revived_heads_leave_no_trace_of_having_been_away(course):
    if course.plan and course.refusal is None:
        assert not differing(course.before, course.after)
        assert distance(course.revived, course.untouched) == 0


def test_what_is_refused_is_known_and_was_never_begun(course):
    name = course.family.name
    assert (course.refusal is not None) == (name in REFUSED), course.refusal
    assert (course.is_spared and course.refusal is None) == (name in KEEPS_A_HEAD)
    if course.refusal is not None:
        assert isinstance(course.refusal, ProofFailed | NotRemovable)
        assert REFUSED[name] in str(course.refusal)
        assert not differing(course.before, course.after_refusal)
        assert not course.is_marked


def test_a_family_without_slices_of_its_own_is_masked_or_refused(course):
    """Where nothing can be removed, a mask does, if it is known which columns of the output projection are whose."""
    if course.plan:
        return
    model = course.family.build(SEED)
    example = course.family.example(model, SEED)
    passes(course.family, model, example)
    twin, before = deepcopy(model), seen(model)
    surgeon = Surgeon(model, anatomy=course.anatomy, example=example)
    site = course.anatomy[0]
    with pytest.raises(NotRemovable, match=re.escape(site.name)):
        surgeon.prune([(0, 1)], mode="remove")
    if not site.of_role("o"):
        with pytest.raises(NotRemovable, match="shows no columns"):
            surgeon.prune([(0, 1)], mode="mask_forward")
    else:
        surgeon.prune([(0, 1)], mode="mask_forward")
        with masked(twin, {site: [1]}):
            expected = passes(course.family, twin, example)
        assert distance(passes(course.family, model, example), expected) <= NEAR
        surgeon.revive([(0, 1)])
    assert not differing(before, seen(model))


def test_most_families_can_lose_heads_and_enough_of_them_decode(course, request):
    """Counted from the tables, and from what was seen on the way where this is the last of the families."""
    COUNTED[course.family.name] = [name for name in course.untouched if name != "prompt"]
    if len(COUNTED) == len(FAMILIES):
        assert sum("decoded" in found for found in COUNTED.values()) >= 100
        assert sum("padded" in found for found in COUNTED.values()) >= 140
    removable = {family.model_type for name, family in FAMILIES.items() if name not in REFUSED}
    assert len(removable) >= 42


COUNTED: dict[str, list[str]] = {}


# --- decoders in use: caches of every sort, windows, generation -------------------------------------------------------------


def windowed(name: str) -> Family:
    """A family whose layers see only the last few tokens."""
    family = FAMILIES[name]
    return replace(family, settings=lambda random: family.settings(random) | {"sliding_window": 4})


IN_USE = {name: FAMILIES[name] for name in ("llama", "gpt2", "gpt_neox", "phi3", "qwen3", "opt", "gemma3_text")}
IN_USE |= {f"{name}-window": windowed(name) for name in ("mistral", "gemma2", "gemma3_text")}


@pytest.fixture(scope="module", params=IN_USE)
def in_use(request) -> tuple[nn.Module, nn.Module, Plan]:
    """A decoder with heads removed, its untouched twin, and the plan."""
    model = IN_USE[request.param].build(SEED)
    anatomy, twin = dissect(model), deepcopy(model)
    plan = drawn_plan(list(anatomy), Random(request.param))
    plan[anatomy[0]] = list(range(anatomy[0].heads)) if request.param in ("llama", "gemma3_text-window") else [0]
    Surgeon(model, anatomy=anatomy).prune(heads_of(plan), mode="remove")
    return model, twin, plan


def steps(model: nn.Module, ids: Tensor, cache: Any) -> Outputs:
    """Three tokens at first, then one after the other."""
    with torch.no_grad():
        found = [model(input_ids=ids[:, :3], past_key_values=cache, use_cache=True).logits]
        for place in range(3, ids.shape[1]):
            where = {"cache_position": torch.tensor([place])} if isinstance(cache, StaticCache) else {}
            found.append(model(input_ids=ids[:, place : place + 1], past_key_values=cache, use_cache=True, **where).logits)
    return {"steps": found}


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_every_cache_serves_removed_heads_as_it_does_masked_ones(in_use, kind):
    model, twin, plan = in_use
    ids = words(torch.Generator().manual_seed(1), 2, 9)

    def cache() -> Any:
        return DynamicCache(config=twin.config) if kind == "dynamic" else StaticCache(config=twin.config, max_cache_len=12)

    with masked(twin, plan):
        expected = steps(twin, ids, cache())
    assert distance(steps(model, ids, cache()), expected) <= NEAR


@pytest.mark.parametrize("search", [{"num_beams": 1}, {"num_beams": 2}, {"cache_implementation": "static"}], ids=str)
def test_the_same_words_are_generated(in_use, search):
    model, twin, plan = in_use
    ids = words(torch.Generator().manual_seed(2), 2, 5)
    batch = {"input_ids": ids, "attention_mask": torch.tensor([[0, 0, 1, 1, 1], [1] * 5])}
    how = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False, "pad_token_id": 0, "disable_compile": True}
    with masked(twin, plan):
        expected = twin.generate(**batch, **how, **search)
    assert torch.equal(model.generate(**batch, **how, **search), expected)


def test_a_wide_model_with_uneven_groups_and_heads_of_their_own_width_is_cut_as_exactly():
    sizes = {"hidden_size": 768, "num_hidden_layers": 2, "num_attention_heads": 12, "num_key_value_heads": 4, "head_dim": 48}
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        model = LlamaForCausalLM(LlamaConfig(**sizes, intermediate_size=512, vocab_size=101, attention_bias=True)).eval()
        draw_weights(model)
    wide = replace(FAMILIES["llama"], name="wide")
    example = tokens(model.config, torch.Generator().manual_seed(3), 2, 9)
    untouched, twin, before = passes(wide, model, example), deepcopy(model), seen(model)
    surgeon = Surgeon(model)
    plan = {surgeon.anatomy[0]: [0, 4, 5, 9, 10, 11], surgeon.anatomy[1]: [0, 1, 2, 7]}
    surgeon.prune(heads_of(plan), mode="remove")
    with masked(twin, plan):
        expected = passes(wide, twin, example)
    assert distance(passes(wide, model, example), expected) <= NEAR
    assert model.model.layers[0].self_attn.k_proj.weight.shape[0] == 3 * 48
    surgeon.revive(heads_of(plan))
    assert not differing(before, seen(model))
    assert distance(passes(wide, model, example), untouched) == 0
