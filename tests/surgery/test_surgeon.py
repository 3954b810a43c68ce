"""What a surgeon does to a model: every mode the same outputs, everything else left alone, everything undone."""

from copy import deepcopy

import pytest
import torch
from peft import LoraConfig, get_peft_model

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.heads import HeadId, HeadState
from neural_plasticity.signals.measure import measure
from neural_plasticity.surgery.surgeon import Surgeon
from tests.anatomy.models import gpt2, ids, llama
from tests.anatomy.test_dissect import same
from tests.surgery.models import MODELS, PAST, albert, anatomy_of, batch_for, logits, near, seen, silenced

MODES = ("zero_weights", "mask_forward", "gate", "remove", "adaptive", "compressed")
HEADS = [(0, 0), (0, 3), (1, 1), (1, 2)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", MODELS)
def test_every_mode_gives_what_the_silenced_model_gives(kind, mode):
    model, twin = MODELS[kind](), MODELS[kind]()
    surgeon = Surgeon(model, anatomy=anatomy_of(kind))
    surgeon.prune(HEADS, mode=mode)
    with silenced(twin, surgeon.anatomy, HEADS):
        expected = logits(twin)
    assert near(logits(model), expected)
    assert not near(logits(twin), expected)


def test_modes_lie_beside_each_other():
    model, twin = llama(), llama()
    surgeon = Surgeon(model, anatomy=anatomy_of("llama"))
    heads = {"remove": [(0, 1), (1, 0), (1, 1), (1, 2)], "gate": [(0, 2)], "mask_forward": [(0, 4)], "zero_weights": [(0, 5)]}
    for mode in ("gate", "remove", "zero_weights", "mask_forward"):
        surgeon.prune(heads[mode], mode=mode)
    with silenced(twin, surgeon.anatomy, [head for each in heads.values() for head in each]):
        assert near(logits(model), logits(twin))


def test_removing_makes_a_model_smaller_and_nothing_else_does():
    sizes = {}
    for mode in MODES:
        model = llama()
        Surgeon(model, anatomy=anatomy_of("llama")).prune([(0, 0), (0, 1), (0, 2)], mode=mode)
        sizes[mode] = sum(weight.numel() for name, weight in model.named_parameters() if "plasticity" not in name)
    gone = 8 * 36 * (3 + 1 + 1 + 3)  # q, a whole group's k and v, and o
    whole = sizes["mask_forward"]
    assert sizes == dict.fromkeys(MODES, whole) | {"remove": whole - gone, "compressed": whole - gone}


def test_states_tell_what_became_of_every_head():
    surgeon = Surgeon(llama())
    assert set(surgeon.states.values()) == {HeadState.ACTIVE}
    assert len(surgeon.states) == 18
    surgeon.prune([(0, 0), (0, 1), (2, 5)])
    surgeon.revive([(0, 1)])
    surgeon.forget([(2, 5)])
    expected = {(0, 0): HeadState.DORMANT, (0, 1): HeadState.REVIVED, (2, 5): HeadState.REMOVED}
    assert surgeon.states == {head: expected.get(head, HeadState.ACTIVE) for head in surgeon.anatomy.heads}
    assert surgeon.dormant == [HeadId(0, 0)]


def test_a_forgotten_head_stays_silent_and_the_others_come_back():
    model, twin = llama(), llama()
    surgeon = Surgeon(model)
    surgeon.prune([(0, 0), (0, 1), (0, 2), (1, 3)])
    surgeon.forget([(0, 1)])
    surgeon.revive([(0, 0), (1, 3), (0, 2)])
    with silenced(twin, surgeon.anatomy, [(0, 1)]):
        assert near(logits(model), logits(twin))
    assert surgeon.dormant == []


def test_forgetting_gives_the_memory_back():
    model = llama()
    surgeon = Surgeon(model)
    surgeon.prune([(0, 0), (0, 1), (0, 2), (1, 3)])
    surgeon.forget()
    assert not model._plasticity_past.bank


@pytest.mark.parametrize("mode", MODES[:4])
@pytest.mark.parametrize("kind", MODELS)
def test_who_holds_a_parameter_still_holds_it(kind, mode):
    """Also frozen ones stay frozen, ties stay tied, and gradients of another shape are gone."""
    model = MODELS[kind]()
    next(model.parameters()).requires_grad_(False)
    before = {name: (id(weight), weight.requires_grad) for name, weight in model.named_parameters()}
    ties = len(list(model.named_parameters(remove_duplicate=False)))
    model(**batch_for(model)).logits.sum().backward()
    surgeon = Surgeon(model, anatomy=anatomy_of(kind))
    surgeon.prune(HEADS, mode=mode)
    now = {name: (id(weight), weight.requires_grad) for name, weight in model.named_parameters() if "plasticity" not in name}
    assert now == before
    assert len([name for name, _ in model.named_parameters(remove_duplicate=False) if "plasticity" not in name]) == ties
    assert all(weight.grad is None or weight.grad.shape == weight.shape for weight in model.parameters())
    model(**batch_for(model)).logits.sum().backward()
    surgeon.revive(HEADS)
    assert {name: (id(weight), weight.requires_grad) for name, weight in model.named_parameters()} == before
    model(**batch_for(model)).logits.sum().backward()


def test_tied_embeddings_stay_tied_in_a_model_whose_heads_leave():
    model = gpt2()
    Surgeon(model).prune([(0, 1), (1, 2)])
    assert model.lm_head.weight is model.transformer.wte.weight


@pytest.mark.parametrize("mode", MODES[:4])
def test_half_precision_stays_half_precision(mode):
    model = llama().to(torch.bfloat16)
    before = seen(model)
    surgeon = Surgeon(model)
    surgeon.prune(HEADS, mode=mode)
    assert {weight.dtype for name, weight in model.named_parameters() if "plasticity" not in name} == {torch.bfloat16}
    assert logits(model).dtype == torch.bfloat16
    surgeon.revive(HEADS)
    assert same(before, seen(model))


@pytest.mark.parametrize("mode", MODES[:4])
def test_a_trial_undoes_itself_also_when_its_block_fails(mode):
    model = llama()
    before, whole = seen(model), logits(model)
    surgeon = Surgeon(model, anatomy=anatomy_of("llama"))
    with surgeon.trial(HEADS, mode) as same_surgeon:
        assert same_surgeon is surgeon
        assert not near(logits(model), whole)
    assert same(before, seen(model))
    with pytest.raises(ZeroDivisionError), surgeon.trial(HEADS, mode):
        _ = 1 / 0
    assert same(before, seen(model))
    assert set(surgeon.states.values()) == {HeadState.ACTIVE}
    assert not hasattr(model, PAST)  # nothing has been done to it


def test_what_slept_before_a_trial_sleeps_after_it():
    model = llama()
    surgeon = Surgeon(model)
    surgeon.prune([(0, 0)])
    before, dormant = logits(model), surgeon.dormant
    with surgeon.trial([(0, 1), (0, 2), (1, 0)]):
        surgeon.revive([(0, 1)])
    assert surgeon.dormant == dormant
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("mode", MODES[:4])
def test_a_second_surgeon_goes_on_where_the_first_one_stopped(mode):
    model = llama()
    before = seen(model)
    first = Surgeon(model, anatomy=anatomy_of("llama"))
    first.prune(HEADS, mode=mode)
    second = Surgeon(model)
    assert second.anatomy == first.anatomy
    assert second.dormant == first.dormant
    second.prune([(0, 1), (0, 2)], mode="remove")
    Surgeon(model).revive([*HEADS, (0, 1), (0, 2)])
    assert same(before, seen(model))


@pytest.mark.parametrize("mode", MODES[:4])
@pytest.mark.parametrize("heads", [HEADS, [(0, head) for head in range(6)]], ids=["some", "a whole site"])
def test_a_copy_leads_a_life_of_its_own(mode, heads):
    model = llama()
    whole = logits(model)
    Surgeon(model, anatomy=anatomy_of("llama")).prune(heads, mode=mode)
    operated, copied = logits(model), deepcopy(model)
    assert torch.equal(logits(copied), operated)
    Surgeon(copied).revive(heads)
    assert torch.equal(logits(copied), whole)
    assert torch.equal(logits(model), operated)
    other = deepcopy(model)
    Surgeon(model).revive(heads)
    assert torch.equal(logits(model), whole)
    assert torch.equal(logits(other), operated)
    assert Surgeon(other).dormant == [HeadId(*head) for head in heads]


def test_an_operated_model_compiles():
    model = llama(num_hidden_layers=1)
    surgeon = Surgeon(model)
    for mode, head in (("remove", 5), ("gate", 0), ("mask_forward", 1), ("zero_weights", 2)):
        surgeon.prune([(0, head)], mode=mode)
    compiled = torch.compile(model, backend="eager")
    assert near(logits(compiled, {"input_ids": ids(2, 7)}), logits(model))
    torch._dynamo.reset()


def test_a_compiled_model_is_operated_on_through_its_wrapper():
    model = llama(num_hidden_layers=1)
    compiled = torch.compile(model, backend="eager")
    whole = logits(compiled, {"input_ids": ids(2, 7)})
    Surgeon(compiled).prune([(0, head) for head in range(6)])
    operated = logits(model)
    assert near(logits(compiled, {"input_ids": ids(2, 7)}), operated)
    assert not near(whole, operated)
    torch._dynamo.reset()


def test_the_attention_implementation_can_be_changed_after_an_operation():
    model = llama()
    surgeon = Surgeon(model)
    surgeon.prune([(0, 0), (1, 0), (1, 1), (1, 2), (2, 5)])
    expected = logits(model)
    model.set_attn_implementation("eager")
    assert near(logits(model), expected)
    surgeon.revive([(0, 0), (1, 0), (1, 1), (1, 2), (2, 5)])
    assert model.config._attn_implementation == "eager"
    assert near(logits(model), logits(llama()))


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["q_proj", "k_proj", "v_proj", "o_proj"]], ids=" ".join)
def test_adapters_are_cut_along_with_what_they_adapt(targets):
    def build() -> torch.nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return get_peft_model(llama(), LoraConfig(r=2, target_modules=targets, init_lora_weights=False)).eval()

    model, twin = build(), build()
    before = seen(model)
    surgeon = Surgeon(model)
    heads = [(0, 0), (0, 4), (1, 0), (1, 1), (1, 2)]
    surgeon.prune(heads)
    with silenced(twin, surgeon.anatomy, heads):
        assert near(logits(model, {"input_ids": ids(2, 7)}), logits(twin, {"input_ids": ids(2, 7)}))
    model(input_ids=ids(2, 7), labels=ids(2, 7)).loss.backward()
    surgeon.revive(heads)
    assert same(before, seen(model))


def test_layers_that_are_one_module_lose_their_heads_together():
    model, twin = albert(), albert()
    before = seen(model)
    surgeon = Surgeon(model)
    assert [site.calls for site in surgeon.anatomy] == [2]
    surgeon.prune([(0, 1), (0, 2)])
    with silenced(twin, surgeon.anatomy, [(0, 1), (0, 2)]):
        assert near(logits(model), logits(twin))
    surgeon.revive([(0, 1), (0, 2)])
    assert same(before, seen(model))


@pytest.mark.parametrize("mode", MODES[:4])
def test_an_operated_model_can_be_taken_apart_and_measured(mode):
    model = llama()
    Surgeon(model).prune([(0, 0), (1, 0), (1, 1), (1, 2)], mode=mode)
    before = logits(model)
    dissect(model)
    measure(model, [{"input_ids": ids(2, 7), "labels": ids(2, 7)}], signals=["entropy", "taylor"])
    assert torch.equal(logits(model), before)
