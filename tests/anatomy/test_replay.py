"""A replayed pass gives what a whole pass would, computes only what comes after the site, and leaves nothing behind."""

from collections.abc import Callable
from inspect import signature

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.replay import Replay, replaying
from neural_plasticity.anatomy.sites import Anatomy, Site
from neural_plasticity.anatomy.taps import open_taps
from neural_plasticity.errors import AnatomyError
from tests.anatomy.models import gpt2, ids, llama
from tests.anatomy.test_dissect import same, state
from tests.conformance.families import FAMILIES

SHAPES = """
    gpt_neox phi gemma2 gpt_oss mixtral gemma3n_text jamba zamba bloom codegen falcon mpt
    bert albert t5 bart whisper vit vit_mae swin qwen2_vl
"""


def without(head: int) -> Callable[[Tensor], Tensor]:
    """The attention without one head, written in place."""

    def alter(output: Tensor) -> Tensor:
        output[..., head, :] = 0
        return output

    return alter


def tensors(outputs: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]


def wholly(model: nn.Module, batch: dict, site: Site, head: int) -> list[Tensor]:
    """What a whole pass gives with one head left out."""
    switch = {"use_cache": False} if "use_cache" in signature(model.forward).parameters else {}
    with torch.no_grad(), open_taps(model, {site: lambda call: without(head)(call.output.clone())}):
        return tensors(model(**batch, **switch))


def agree(replay: Replay, model: nn.Module, batch: dict, sites: tuple[Site, ...]) -> None:
    for site in sites:
        for head in {0, site.heads - 1}:
            found = tensors(replay.altered(site, without(head)))
            expected = wholly(model, batch, site, head)
            assert len(found) == len(expected)
            assert all(map(torch.equal, found, expected)), (site.layer, head)


@pytest.mark.parametrize("name", SHAPES.split())
@torch.no_grad()
def test_a_replayed_pass_is_a_whole_pass_bit_for_bit(name):
    family = FAMILIES[name]
    model = family.build(9)
    batches = [family.example(model, seed) for seed in (1, 2)]
    sites = dissect(model, batches[0]).sites
    before = state(model)
    with replaying(model, sites) as replay:
        for batch in batches:
            intact = tensors(replay.intact(batch))
            agree(replay, model, batch, sites)
            agree(replay, model, batch, sites[:1])  # and back again
            assert all(map(torch.equal, intact, tensors(replay.altered(sites[-1], lambda output: output))))
    assert not replay.whole
    assert same(before, state(model))


@pytest.mark.parametrize("build", [llama, gpt2, lambda: llama(attn_implementation="eager")])
@torch.no_grad()
def test_batches_of_any_length_follow_one_another(build):
    model = build()
    sites = dissect(model).sites
    with replaying(model, sites) as replay:
        for shape in ((2, 5), (1, 9), (3, 2), (2, 5)):
            batch = {"input_ids": ids(*shape), "labels": ids(*shape)}
            replay.intact(batch)
            agree(replay, model, batch, sites[::-1])
    assert not replay.whole


@torch.no_grad()
def test_what_a_pass_is_asked_to_show_is_shown_or_the_pass_is_whole():
    model = llama(attn_implementation="eager")
    sites = dissect(model).sites
    batch = {"input_ids": ids(2, 5), "output_attentions": True, "output_hidden_states": True}
    with replaying(model, sites) as replay:
        replay.intact(batch)
        agree(replay, model, batch, sites)
    assert replay.whole == {1, 2}  # attention of the blocks before is shown from within them


# --- work is saved ------------------------------------------------------------------------------------------------------


@pytest.fixture
def computed(monkeypatch) -> list[int]:
    """Every projection that is really computed, by id."""
    found: list[int] = []
    whole = nn.Linear.forward

    def counted(self: nn.Linear, values: Tensor) -> Tensor:
        found.append(id(self))
        return whole(self, values)

    monkeypatch.setattr(nn.Linear, "forward", counted)
    return found


@torch.no_grad()
def test_only_what_comes_after_the_site_is_computed(computed):
    model = llama()
    sites = dissect(model).sites
    names = {id(module): name for name, module in model.named_modules()}
    with replaying(model, sites) as replay:
        replay.intact({"input_ids": ids(2, 5)})
        for site in sites:
            replay.altered(site, without(0))
            computed.clear()
            replay.altered(site, without(1))
            expected = [f"{site.name}.o_proj", *(f"model.layers.{site.layer}.mlp.{part}_proj" for part in ("gate", "up", "down"))]
            found = [names[module] for module in computed]
            assert found[: len(expected)] == expected
            assert len(found) == len(expected) + 7 * (2 - site.layer) + 1


@torch.no_grad()
def test_attention_itself_is_not_computed_again(monkeypatch):
    model = llama(attn_implementation="eager")
    sites = dissect(model).sites
    calls = []
    softmax = torch.nn.functional.softmax
    with replaying(model, sites) as replay:
        replay.intact({"input_ids": ids(2, 5)})
        replay.altered(sites[2], without(0))
        monkeypatch.setattr(torch.nn.functional, "softmax", lambda *args, **more: calls.append(1) or softmax(*args, **more))
        replay.altered(sites[2], without(1))
    assert not calls


@torch.no_grad()
def test_only_what_settles_before_several_sites_is_kept_from_the_intact_pass():
    model = llama(num_hidden_layers=5)
    with replaying(model, dissect(model).sites) as replay:
        replay.intact({"input_ids": ids(2, 5)})
        kept = {replay._past.modules[place] for place in replay._past.memory}
    decoder = model.model
    assert kept == {decoder.embed_tokens, decoder.rotary_emb, *decoder.layers[:3]}
    assert replay._past is None


# --- what flows in odd ways ----------------------------------------------------------------------------------------------


class Writer(nn.Module):
    """A block that writes into what the block within it gave."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden: Tensor, **more: object) -> Tensor:
        return self.inner(hidden, **more).mul_(1.5)


class Keeper(nn.Module):
    """A block that passes something on behind the back, to any block but the first."""

    def __init__(self, inner: nn.Module, shelf: list[Tensor]) -> None:
        super().__init__()
        self.inner, self._shelf = inner, shelf

    def forward(self, hidden: Tensor, **more: object) -> Tensor:
        given = self.inner(hidden, **more)
        if self.inner.self_attn.layer_idx:
            given = given + self._shelf.pop()
        self._shelf[:] = [given.clone(), given.clone()]
        return given


def blocks_of(model: nn.Module, wrap: Callable[[nn.Module], nn.Module]) -> Anatomy:
    for place, layer in enumerate(model.model.layers):
        model.model.layers[place] = wrap(layer)
    return dissect(model)


@torch.no_grad()
def test_consumers_may_write_into_what_is_answered():
    model = llama()
    sites = blocks_of(model, Writer).sites
    batch = {"input_ids": ids(2, 5)}
    with replaying(model, sites) as replay:
        replay.intact(batch)
        for _ in range(2):
            agree(replay, model, batch, sites)
    assert not replay.whole


@pytest.mark.parametrize("backwards", [False, True])
@torch.no_grad()
def test_what_is_passed_on_behind_the_back_is_noticed_and_the_passes_are_whole(backwards):
    model = llama()
    shelf: list[Tensor] = []
    sites = blocks_of(model, lambda layer: Keeper(layer, shelf)).sites
    batch = {"input_ids": ids(2, 5)}
    expected = {site.layer: wholly(model, batch, site, 1) for site in sites}
    with replaying(model, sites) as replay:
        replay.intact(batch)
        for site in [*sites[:: -1 if backwards else 1], *sites]:
            assert all(map(torch.equal, tensors(replay.altered(site, without(1))), expected[site.layer])), site.layer
    assert replay.whole == {1, 2}


@torch.no_grad()
def test_an_altered_shape_is_refused_as_by_a_tap():
    model = llama()
    sites = dissect(model).sites
    with replaying(model, sites) as replay:
        replay.intact({"input_ids": ids(2, 5)})
        with pytest.raises(ValueError, match="same shape"):
            replay.altered(sites[1], lambda output: output[:, :1])
    assert not replay.whole


# --- order ---------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_site_without_an_intact_pass_is_refused():
    model = llama()
    sites = dissect(model).sites
    with replaying(model, sites[:1]) as replay:
        with pytest.raises(AnatomyError, match=r"Layer 0 .*call intact"):
            replay.altered(sites[0], without(0))
        replay.intact({"input_ids": ids(2, 5)})
        with pytest.raises(AnatomyError, match="name the site"):
            replay.altered(sites[1], without(0))


@torch.no_grad()
def test_a_model_that_changed_since_the_intact_pass_is_refused():
    model = llama()
    sites = dissect(model).sites
    with replaying(model, sites) as replay:
        replay.intact({"input_ids": ids(2, 5)})
        replay.altered(sites[2], without(0))
        model.model.layers[0], model.model.layers[1] = model.model.layers[1], model.model.layers[0]
        with pytest.raises(AnatomyError, match=r"Layer 2 .* has the model changed"):
            replay.altered(sites[2], without(1))


# --- no trace ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("after", [0, 5, 12, 30])
@torch.no_grad()
def test_a_pass_that_is_stopped_midway_leaves_no_trace(fault, after, monkeypatch):
    model = llama()
    model.model.layers[0].mlp.forward = model.model.layers[0].mlp.forward  # somebody else's, which stays
    sites = dissect(model).sites
    before = state(model)
    whole = nn.Linear.forward
    countdown = [after]

    def breaking(self: nn.Linear, values: Tensor) -> Tensor:
        if not countdown[0]:
            raise fault
        countdown[0] -= 1
        return whole(self, values)

    monkeypatch.setattr(nn.Linear, "forward", breaking)
    with pytest.raises(fault), replaying(model, sites) as replay:
        replay.intact({"input_ids": ids(2, 5)})
        replay.altered(sites[1], without(0))
    monkeypatch.undo()
    assert same(before, state(model))
    assert "forward" in vars(model.model.layers[0].mlp)


@torch.no_grad()
def test_a_compiled_model_is_replayed_through_its_wrapper():
    model = llama()
    compiled = torch.compile(model, backend="eager")
    sites = dissect(model).sites
    batch = {"input_ids": ids(2, 5)}
    intact = compiled(**batch).logits
    with replaying(compiled, sites) as replay:
        replay.intact(batch)
        agree(replay, model, batch, sites)
    assert torch.equal(compiled(**batch).logits, intact)
