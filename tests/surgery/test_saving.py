"""What is saved comes back bit for bit, whatever was done to it, whoever is killed while saving, and nothing else does."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, BertConfig, BertModel, PreTrainedModel, ViTConfig, ViTModel

from neural_plasticity.anatomy.past import Past, past_of
from neural_plasticity.errors import ModelNotUsable, NotBanked
from neural_plasticity.heads import HeadId, HeadState
from neural_plasticity.inputs.models import load_model
from neural_plasticity.surgery.saving import load, load_into, save
from neural_plasticity.surgery.surgeon import Surgeon
from tests.anatomy.models import gpt2, ids, llama
from tests.conformance.families import FAMILIES
from tests.surgery.models import anatomy_of

GPT2 = {"bos_token_id": 0, "eos_token_id": 0}
HEADS = [(0, 0), (0, 2), (1, 1)]


def build(kind):
    """A model and what it takes."""
    if kind in FAMILIES:
        model = FAMILIES[kind].build(3)
        return model, FAMILIES[kind].example(model, 3)
    made = {"llama": llama, "gpt2": lambda: gpt2(**GPT2), "bfloat16": lambda: llama().to(torch.bfloat16)}
    return made[kind](), {"input_ids": ids(2, 7)}


def keep(surgeon, folder, **options):
    save(surgeon.model, past_of(surgeon.model) or Past(surgeon.anatomy), folder, **options)


@torch.no_grad()
def outputs(model, example):
    return [value for value in model(**example).values() if isinstance(value, torch.Tensor)]


def same(ours, theirs):
    return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def alike(ours, theirs):
    return ours.keys() == theirs.keys() and same(list(ours.values()), [theirs[name] for name in ours])


def pruned(heads=HEADS, mode="remove", model=None):
    surgeon = Surgeon(llama(), anatomy=anatomy_of("llama")) if model is None else Surgeon(model)
    surgeon.prune(heads, mode)
    return surgeon


@pytest.mark.parametrize("mode", ["zero_weights", "mask_forward", "gate", "remove"])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "bfloat16", "t5", "bert"])
def test_outputs_and_heads_come_back_bit_for_bit(kind, mode, tmp_path):
    model, example = build(kind)
    untouched = state(model)
    surgeon = Surgeon(model, example=example)
    surgeon.prune(HEADS, mode)
    keep(surgeon, tmp_path)
    opened = load(tmp_path, "cpu")
    assert type(opened) is type(model)
    assert not opened.training
    assert alike(state(opened), state(model))
    assert same(outputs(opened, example), outputs(model, example))
    again = Surgeon(opened, example=example)
    assert again.states == surgeon.states
    assert again.anatomy == surgeon.anatomy
    again.revive(HEADS)
    assert alike(state(opened), untouched)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
def test_ties_are_ties_again(kind, tmp_path):
    model, _ = build(kind)
    keep(pruned(model=model), tmp_path)
    opened = load(tmp_path, "cpu")
    ties = [{} for _ in range(2)]
    for each, found in zip((model, opened), ties, strict=True):
        for name, parameter in each.named_parameters(remove_duplicate=False):
            found.setdefault(id(parameter), []).append(name)
    assert [*ties[0].values()] == [*ties[1].values()]


def test_heads_that_others_ask_for_in_part_come_back(tmp_path):
    """All of a group, a whole layer, heads of every mode at once, one forgotten, and gates that have learned."""
    surgeon = pruned([(0, 3), (0, 4), (0, 5), *((1, head) for head in range(6))])
    surgeon.prune([(0, 0)], "mask_forward")
    surgeon.prune([(2, 2)], "gate")
    surgeon.prune([(2, 3)], "zero_weights")
    surgeon.forget([(0, 4)])
    with torch.no_grad():
        next(each for name, each in surgeon.model.named_parameters() if name.endswith("gate")).add_(0.37)
    before = outputs(surgeon.model, {"input_ids": ids(2, 7)})
    keep(surgeon, tmp_path)
    again = Surgeon(load(tmp_path, "cpu"))
    assert same(outputs(again.model, {"input_ids": ids(2, 7)}), before)
    assert again.states == surgeon.states
    for each in (surgeon, again):
        each.revive([head for head in each.dormant if head.layer < 2])
    assert alike(state(again.model), state(surgeon.model))
    assert again.states[HeadId(0, 4)] == HeadState.REMOVED


def test_a_saved_model_goes_on_being_pruned_and_saved(tmp_path):
    surgeon = Surgeon(llama())
    untouched = state(surgeon.model)
    for head in HEADS:
        surgeon.prune([head])
        keep(surgeon, tmp_path)
        surgeon = Surgeon(load(tmp_path, "cpu"))
    surgeon.revive(HEADS)
    keep(surgeon, tmp_path)
    assert alike(state(load(tmp_path, "cpu")), untouched)
    assert Surgeon(load(tmp_path, "cpu")).states[HeadId(0, 2)] == HeadState.REVIVED


def test_moments_of_an_optimizer_lie_in_the_bank(tmp_path):
    model = llama()
    optimizer = torch.optim.AdamW(model.parameters())
    model(input_ids=ids(2, 7), labels=ids(2, 7)).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    surgeon = Surgeon(model)
    surgeon.attach(optimizer)
    surgeon.prune(HEADS)
    keep(surgeon, tmp_path)
    held, opened = past_of(model), past_of(load(tmp_path, "cpu"))
    assert held is not None
    assert opened is not None
    assert list(opened.bank) == list(held.bank)
    assert all(alike(piece, held.bank[part]) and "0.exp_avg" in piece for part, piece in opened.bank.items())


def test_without_the_bank_heads_whose_weights_are_away_are_gone(tmp_path):
    surgeon = pruned()
    surgeon.prune([(2, 5)], "mask_forward")
    keep(surgeon, tmp_path, bank=False)
    assert surgeon.states[HeadId(0, 0)] == HeadState.DORMANT
    again = Surgeon(load(tmp_path, "cpu"))
    assert again.dormant == [HeadId(2, 5)]
    assert again.states[HeadId(0, 0)] == HeadState.REMOVED
    with pytest.raises(NotBanked, match=r"Head 0\.0"):
        again.revive([(0, 0)])
    again.prune([(0, 1)])
    again.revive([(0, 1), (2, 5)])
    assert same(outputs(again.model, {"input_ids": ids(2, 7)}), outputs(pruned().model, {"input_ids": ids(2, 7)}))


def test_another_dtype_is_that_of_the_untouched_model_too(tmp_path):
    keep(pruned(), tmp_path)
    opened = load(tmp_path, "cpu", "bfloat16")
    assert {each.dtype for each in opened.parameters()} == {torch.bfloat16}
    Surgeon(opened).revive(HEADS)
    assert alike(state(opened), state(llama().to(torch.bfloat16)))


def test_what_a_model_generates_by_comes_along(tmp_path):
    model = llama()
    model.generation_config.max_new_tokens = 3
    model.set_attn_implementation("eager")
    surgeon = pruned(model=model)
    keep(surgeon, tmp_path)
    opened = load(tmp_path, "cpu")
    assert isinstance(opened, PreTrainedModel)
    assert opened.generation_config.max_new_tokens == 3
    torch.testing.assert_close(opened.generate(ids(1, 4)), surgeon.model.generate(ids(1, 4)))
    Surgeon(opened).revive(HEADS)
    assert opened.config._attn_implementation == "eager"


def test_opening_draws_no_random_number(tmp_path):
    keep(pruned(), tmp_path)
    before = torch.random.get_rng_state()
    load(tmp_path, "cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("mode", ["mask_forward", "gate", "remove"])
def test_what_was_frozen_is_frozen_again(mode, tmp_path):
    model = llama()
    model.model.embed_tokens.requires_grad_(False)
    surgeon = pruned(model=model, mode=mode)
    keep(surgeon, tmp_path)
    wanted = {name: each.requires_grad for name, each in model.named_parameters()}
    assert {name: each.requires_grad for name, each in load(tmp_path, "cpu").named_parameters()} == wanted
    assert not all(wanted.values())


@torch.no_grad()
@pytest.mark.parametrize("mode", ["gate", "remove"])
def test_switches_that_only_the_constructor_knows_come_back(mode, tmp_path):
    config = BertConfig(hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=20, vocab_size=50)
    sights = ViTConfig(hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=20, image_size=8, patch_size=4)
    words, picture = {"input_ids": ids(2, 7)}, {"pixel_values": torch.ones(2, 3, 8, 8)}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = [
            (BertModel(config, add_pooling_layer=False), words),
            (ViTModel(sights, add_pooling_layer=False, use_mask_token=True), picture),
        ]
    for place, (model, example) in enumerate(made):
        surgeon = pruned(model=model.eval(), mode=mode)
        keep(surgeon, tmp_path / str(place))
        opened = load(tmp_path / str(place), "cpu")
        assert opened.pooler is None
        assert alike(state(opened), state(model))
        assert same(outputs(opened, example), outputs(model, example))


def test_a_model_becomes_what_was_saved_and_whoever_holds_its_modules_holds_them_still(tmp_path):
    surgeon = pruned()
    keep(surgeon, tmp_path)
    model = llama().train()
    held = list(model.modules())
    load_into(model, tmp_path)
    assert list(model.modules()) == held
    assert model.training
    assert alike(state(model), state(surgeon.model))
    Surgeon(model).revive(HEADS)
    assert alike(state(model), state(llama()))


def test_a_home_folder_is_found_both_ways(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    keep(pruned(), "~/operated")
    assert (tmp_path / "operated" / "plasticity.json").exists()
    assert alike(state(load("~/operated", "cpu")), state(pruned().model))
    model = llama()
    load_into(model, "~/operated")
    assert alike(state(model), state(pruned().model))


# --- plain transformers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["mask_forward", "gate", "remove"])
def test_plain_transformers_refuses_an_operated_folder(mode, tmp_path):
    keep(Surgeon(llama()), tmp_path)
    keep(pruned(mode=mode), tmp_path)
    for opens in (AutoConfig, AutoModel, AutoModelForCausalLM):
        with pytest.raises(ValueError, match="neural_plasticity"):
            opens.from_pretrained(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    with pytest.raises(ModelNotUsable, match=r"heads were operated on; open it by neural_plasticity\.load\.$"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
def test_plain_transformers_opens_what_is_only_weights(kind, tmp_path):
    model, example = build(kind)
    surgeon = Surgeon(model, example=example)
    surgeon.prune(HEADS)
    keep(surgeon, tmp_path)
    surgeon.revive(HEADS)
    surgeon.prune(HEADS, "zero_weights")
    keep(surgeon, tmp_path)
    plain, report = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert same(outputs(plain, example), outputs(model, example))
    assert same(outputs(load_model(str(tmp_path), "cpu").model, example), outputs(model, example))
    assert same(outputs(load(tmp_path, "cpu"), example), outputs(model, example))
