"""What somebody from outside would try on a surgeon: odd arguments, strange homes of a model, and what others do to it."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from accelerate import cpu_offload, dispatch_model
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import BertConfig, BertModel, StaticCache

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.past import past_of
from neural_plasticity.errors import NotDissectable, NotRemovable, ProofFailed, SettingNotUsable, SurgeryError
from neural_plasticity.heads import HeadId
from neural_plasticity.surgery.proof import Proof, _difference
from neural_plasticity.surgery.surgeon import Surgeon
from tests.anatomy.models import gpt2, ids, llama
from tests.anatomy.test_dissect import same
from tests.surgery.models import SIZES, logits, near, seeded, seen, silenced

ANATOMY = dissect(llama())
HEADS = [(0, 0), (0, 3), (1, 1), (2, 0), (2, 1), (2, 2)]
WITHOUT_ONE = [*HEADS, *((1, head) for head in (0, 2, 3, 4, 5))]  # a layer that loses all its heads
WORDS = {"input_ids": ids(2, 7)}

peft_asks = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


def surgeon_of(model=None):
    return Surgeon(model if model is not None else llama(), anatomy=ANATOMY)


def adapted():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = LoraConfig(r=2, target_modules=["q_proj", "v_proj", "o_proj"], init_lora_weights=False)
        return get_peft_model(llama(), config).eval()


# --- arguments ----------------------------------------------------------------------------------------------------------


class Plan:
    heads = ((0, 1), (1, 2))


@pytest.mark.parametrize(
    "heads",
    [np.array([[0, 1], [1, 2]]), torch.tensor([[1, 2], [0, 1]]), [(np.int64(0), torch.tensor(1)), (1, 2), (1, 2)], Plan()],
    ids=["array", "tensor", "numbers", "plan"],
)
def test_heads_are_named_by_whatever_holds_whole_numbers(heads):
    surgeon = surgeon_of()
    surgeon.prune(heads, mode="mask_forward")
    assert surgeon.dormant == [HeadId(0, 1), HeadId(1, 2)]
    assert {type(number) for head in surgeon.dormant for number in head} == {int}
    surgeon.revive(heads)
    assert surgeon.dormant == []


@pytest.mark.parametrize(
    "heads",
    [
        "",
        "01",
        ["0.1"],
        [("0", "1")],
        (0, 1),
        None,
        3,
        [(0.0, 1.0)],
        [(True, False)],
        [(0, 1, 2)],
        {0: [1]},
        torch.zeros(3, 6, dtype=torch.bool),
    ],
    ids=repr,
)
def test_what_names_no_heads_is_refused_in_one_line(heads):
    surgeon = surgeon_of()
    for operate in (surgeon.prune, surgeon.revive):
        with pytest.raises(SettingNotUsable, match=r"^heads=.* names no heads; pass a plan, or pairs"):
            operate(heads)


def test_what_is_no_optimizer_of_this_model_is_refused():
    surgeon = surgeon_of()
    for odd in (None, "adam", [torch.optim.SGD(surgeon.model.parameters())]):
        with pytest.raises(SettingNotUsable, match="is no optimizer"):
            surgeon.attach(odd)
    with pytest.raises(SettingNotUsable, match="holds no weight of this LlamaForCausalLM"):
        surgeon.attach(torch.optim.SGD(llama().parameters()))


class Plain(nn.Module):
    def forward(self, values):
        return values


def test_what_is_no_model_or_has_no_weights_is_refused():
    with pytest.raises(NotDissectable, match="A str is no model"):
        Surgeon("gpt2")
    with pytest.raises(NotDissectable, match="Plain has no weights"):
        Surgeon(Plain(), example={"values": torch.ones(2, 3)})
    with pytest.raises(SettingNotUsable, match="A list is no example; pass a dict"):
        Surgeon(llama(), example=[1, 2])


def test_an_anatomy_of_another_model_is_refused():
    with pytest.raises(SurgeryError, match=r"This GPT2LMHeadModel lacks model\.layers\.0\.self_attn, which its anatomy names"):
        Surgeon(gpt2(), anatomy=ANATOMY)


# --- proofs --------------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("pooled", [True, False])
def test_a_pass_that_shows_nothing_proves_nothing(pooled):
    """An encoder takes `use_cache` and returns no cache."""
    model = seeded(lambda: BertModel(BertConfig(**SIZES, vocab_size=50), add_pooling_layer=pooled))
    surgeon = Surgeon(model)
    before = model(**WORDS)[0]
    surgeon.prune([(0, 1), (1, 0)])
    surgeon.revive([(0, 1), (1, 0)])
    assert torch.equal(model(**WORDS)[0], before)


def test_outputs_that_are_infinite_in_the_same_places_are_alike():
    inf, nan = float("inf"), float("nan")
    ours = torch.tensor([-inf, nan, 1.0, 4.0])
    assert _difference(ours, ours.clone()) == 0
    assert _difference(torch.tensor([-inf, nan, 1.0, 2.0]), ours) == 0.5
    assert not _difference(torch.tensor([-inf, 0.0, 1.0, 4.0]), ours) <= 1
    assert not _difference(torch.tensor([0.0, nan, 1.0, 4.0]), ours) <= 1


def test_a_copied_surgeon_proves_things_on_its_own_model(monkeypatch):
    surgeon = surgeon_of()
    surgeon.prune(HEADS)
    copied = deepcopy(surgeon)
    assert past_of(copied.model) is not past_of(surgeon.model)
    ran = []
    copied.model.register_forward_hook(lambda *_: ran.append("copy"))
    surgeon.model.register_forward_hook(lambda *_: ran.append("original"))
    copied.revive(HEADS)
    assert set(ran) == {"copy"}
    assert torch.equal(logits(copied.model), logits(llama()))
    assert surgeon.dormant == sorted(HEADS)


# --- trials --------------------------------------------------------------------------------------------------------------


def test_a_trial_leaves_the_states_as_they_were():
    surgeon = surgeon_of()
    surgeon.prune([(0, 1), (2, 2)])
    surgeon.revive([(0, 1)])
    before = surgeon.states
    with surgeon.trial([(0, 1), (1, 1)]):
        surgeon.revive([(2, 2)])
    assert surgeon.states == before | {HeadId(2, 2): "revived"}


def test_a_trial_does_not_forget():
    surgeon = surgeon_of()
    with pytest.raises(SettingNotUsable, match="forgets the heads that a trial is to wake"), surgeon.trial(HEADS, "compressed"):
        pass
    assert surgeon.dormant == []


# --- homes ---------------------------------------------------------------------------------------------------------------


def test_weights_made_in_inference_mode_can_be_trained():
    model = llama()
    with torch.inference_mode():
        surgeon_of(model).prune(HEADS)
    model(**WORDS, labels=WORDS["input_ids"]).loss.backward()
    Surgeon(model).revive(HEADS)
    assert torch.equal(logits(model), logits(llama()))


def test_a_model_that_accelerate_places_is_operated_on_under_its_hooks():
    model, twin = llama(), llama()
    dispatch_model(model, {"": "cpu"}, main_device="cpu", force_hooks=True)
    before = seen(model)
    surgeon = surgeon_of(model)
    surgeon.prune(WITHOUT_ONE)
    with silenced(twin, ANATOMY, WITHOUT_ONE):
        assert near(logits(model), logits(twin))
    surgeon.revive(WITHOUT_ONE)
    assert same(before, seen(model))


def test_a_model_can_be_placed_after_a_layer_has_lost_all_its_heads():
    model = llama()
    surgeon = surgeon_of(model)
    surgeon.prune(WITHOUT_ONE)
    operated = logits(model)
    dispatch_model(model, {"": "cpu"}, main_device="cpu", force_hooks=True)
    for _ in range(2):
        assert torch.equal(logits(model), operated)
        surgeon.revive(WITHOUT_ONE)
        assert torch.equal(logits(model), logits(llama()))
        surgeon.prune(WITHOUT_ONE)


def test_weights_that_have_left_since_are_refused():
    surgeon = surgeon_of()
    surgeon.prune(HEADS)
    surgeon.model.to("meta")
    for operate in (lambda: surgeon.prune([(0, 1)]), lambda: surgeon.revive(HEADS)):
        with pytest.raises(SurgeryError, match="LlamaForCausalLM has weights on the meta device"):
            operate()
    assert surgeon.dormant == sorted(HEADS)


@pytest.mark.parametrize("mode", ["remove", "zero_weights", "gate"])
def test_weights_that_are_one_and_the_same_are_refused_or_go_and_come_back(mode):
    """Keys that are values, and layers that write by the same weights."""
    for one, other in (("0.self_attn.k_proj", "0.self_attn.v_proj"), ("1.self_attn.o_proj", "0.self_attn.o_proj")):
        model = llama()
        model.model.layers.get_submodule(one).weight = model.model.layers.get_submodule(other).weight
        surgeon = Surgeon(model)
        before = seen(model)
        try:
            surgeon.prune([(0, 0), (0, 1), (0, 2)], mode)
        except (ProofFailed, NotRemovable):
            assert mode != "gate"
            assert surgeon.dormant == []
        else:
            surgeon.revive([(0, 0), (0, 1), (0, 2)])
        assert same(before, seen(model))


def test_offloaded_weights_are_refused():
    model = cpu_offload(llama(), execution_device=torch.device("cpu"))
    with pytest.raises(SurgeryError, match=r"weights on the meta device.*load it without offloading"):
        Surgeon(model)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_quantised_weights_are_masked_and_gated_and_nothing_is_written_into_them():
    def build():
        return torch.ao.quantization.quantize_dynamic(llama(), {nn.Linear}, dtype=torch.qint8)

    model, twin = build(), build()
    whole, surgeon = logits(model), Surgeon(model)
    for mode in ("mask_forward", "gate"):
        surgeon.prune(HEADS, mode=mode)
        with silenced(twin, surgeon.anatomy, HEADS):
            assert near(logits(model), logits(twin))
        surgeon.revive(HEADS)
        assert torch.equal(logits(model), whole)
    for mode in ("remove", "zero_weights"):
        with pytest.raises(NotRemovable, match=r"Layer 0 .*_proj.* quantised.*use mode='mask_forward'"):
            surgeon.prune(HEADS, mode=mode)
    assert torch.equal(logits(model), whole)


class Sealed(torch.Tensor):
    """A weight that cannot be made anew, as those of quantisation libraries."""

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        if function is torch.Tensor.new_empty:
            raise NotImplementedError("a sealed weight")
        return super().__torch_function__(function, types, arguments, options or {})


def test_undoing_writes_to_no_weight_that_was_not_written_to(monkeypatch):
    model = llama()
    head = model.lm_head
    head.weight = nn.Parameter(head.weight.detach().as_subclass(Sealed))
    surgeon, before = Surgeon(model), logits(model)

    def fails(*_):
        raise ProofFailed("as if")

    with monkeypatch.context() as patch, pytest.raises(ProofFailed):
        patch.setattr(Proof, "compare", fails)
        surgeon.prune(HEADS, mode="gate")
    assert torch.equal(logits(model), before)


# --- adapters ------------------------------------------------------------------------------------------------------------


@peft_asks
def test_heads_do_not_come_back_under_merged_adapters():
    model = adapted()
    whole, surgeon = logits(model, WORDS), Surgeon(model)
    surgeon.prune(HEADS)
    model.merge_adapter()
    for operate in (surgeon.revive, lambda heads: surgeon.prune([(0, 1)])):
        with pytest.raises(SurgeryError, match=r"q_proj has adapters merged into its weights.*unmerge them first"):
            operate(HEADS)
    model.unmerge_adapter()
    surgeon.revive(HEADS)
    assert near(logits(model, WORDS), whole)


@peft_asks
def test_a_model_that_lost_its_past_by_merging_is_refused_and_runs():
    model = adapted()
    surgeon = Surgeon(model)
    surgeon.prune(WITHOUT_ONE)
    operated = logits(model, WORDS)
    merged = model.merge_and_unload()
    assert near(logits(merged), operated, share=1e-4)
    with pytest.raises(SurgeryError, match=r"PeftModel lacks .*q_proj\.base_layer, which its anatomy names"):
        surgeon.revive(WITHOUT_ONE)
    with pytest.raises(SurgeryError, match="LlamaForCausalLM was operated on as part of another model"):
        Surgeon(merged)


@peft_asks
def test_a_model_that_holds_an_operated_one_is_refused():
    model = llama()
    surgeon_of(model).prune(HEADS)
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(SurgeryError, match=r"PeftModel holds a model that was operated on \(base_model\.model\)"):
        Surgeon(wrapped)


# --- compiled, cached, pickled -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [HEADS, WITHOUT_ONE], ids=["uneven", "a whole layer"])
def test_an_operated_model_compiles_to_one_graph(heads):
    model = llama()
    surgeon_of(model).prune(heads)
    expected = logits(model)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert near(logits(compiled, WORDS), expected)
    torch._dynamo.reset()


def test_a_cache_that_was_made_for_all_heads_serves_a_layer_without_any():
    model, twin = llama(), llama()
    heads = [(0, head) for head in range(6)]
    surgeon_of(model).prune(heads)
    found = []
    for each in (model, twin):
        cache = StaticCache(config=each.config, max_cache_len=12)
        cache.early_initialization(2, 2, 8, torch.float32, torch.device("cpu"))
        with silenced(twin, ANATOMY, heads), torch.no_grad():
            found.append(each(**WORDS, past_key_values=cache, use_cache=True).logits)
        assert int(cache.get_seq_length()) == 7
    assert near(*found)


def test_a_layer_without_heads_fills_whole_groups_of_a_quantised_cache():
    from neural_plasticity.surgery.emptied import _room

    class Layer:
        keys, q_group_size = torch.tensor([]), 64

    class Cache:
        layers = (Layer(),)

    assert _room(Cache(), 0) == (1, 64)
    assert _room(Cache(), 1) == (1, 1)


def test_an_operated_model_is_pickled_and_goes_on():
    model = llama()
    surgeon_of(model).prune(WITHOUT_ONE)
    copied = pickle.loads(pickle.dumps(model))
    assert torch.equal(logits(copied), logits(model))
    Surgeon(copied).revive(WITHOUT_ONE)
    assert torch.equal(logits(copied), logits(llama()))
    assert Surgeon(model).dormant == sorted(WITHOUT_ONE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_what_lies_in_the_bank_follows_the_dtype_of_the_model(dtype):
    model = llama()
    surgeon_of(model).prune(WITHOUT_ONE)
    model.to(dtype)
    Surgeon(model).revive(WITHOUT_ONE)
    assert {weight.dtype for weight in model.parameters()} == {dtype}
    assert torch.equal(logits(model), logits(llama().to(dtype)))
