"""What `dissect` leaves alone, takes apart and refuses."""

import copy

import pytest
import torch
from torch import nn
from transformers import MambaConfig, MambaForCausalLM, PreTrainedModel

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.sites import Anatomy, ranges
from neural_plasticity.anatomy.taps import open_taps
from neural_plasticity.errors import NotDissectable
from neural_plasticity.heads import HeadId
from tests.anatomy.models import gpt2, ids, llama


def state(model: nn.Module) -> dict[str, object]:
    """Everything about a model that somebody could notice."""
    configs = {id(module.config): module.config for module in model.modules() if isinstance(module, PreTrainedModel)}
    return {
        "weights": {
            name: (id(parameter), parameter.clone(), parameter.requires_grad) for name, parameter in model.named_parameters()
        },
        "buffers": {name: buffer.clone() for name, buffer in model.named_buffers()},
        "grads": {name: parameter.grad for name, parameter in model.named_parameters()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
        "hooks": {
            name: [len(hooks) for key, hooks in vars(module).items() if key.endswith("hooks") and isinstance(hooks, dict)]
            for name, module in model.named_modules()
        },
        "configs": {key: (config._attn_implementation, copy.deepcopy(config.to_dict())) for key, config in configs.items()},
        "generator": torch.random.get_rng_state(),
    }


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


MODELS = {"llama": llama, "gpt2": gpt2, "eager": lambda: llama(attn_implementation="eager")}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_the_model_comes_out_as_it_went_in(kind, training):
    model = MODELS[kind]()
    model.train(training)
    next(model.parameters()).requires_grad_(False)
    model(input_ids=ids(1, 4), labels=ids(1, 4)).loss.backward()
    before = state(model)
    dissect(model)
    assert same(before, state(model))


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("after", [0, 1, 4])
def test_also_when_it_is_stopped_midway(fault, after, monkeypatch):
    model = llama().train()
    before = state(model)
    countdown = [after]
    whole = nn.Linear.forward

    def breaking(self: nn.Linear, values: torch.Tensor) -> torch.Tensor:
        if not countdown[0]:
            raise fault
        countdown[0] -= 1
        return whole(self, values)

    monkeypatch.setattr(nn.Linear, "forward", breaking)
    with pytest.raises((fault, NotDissectable)):
        dissect(model)
    monkeypatch.undo()
    assert same(before, state(model))


def test_slices_are_the_ones_that_the_layout_says():
    """Llama: heads one after the other. GPT-2: q, k and v one after the other in one matrix."""
    site = dissect(llama())[1]
    assert (site.heads, site.kv_heads, site.head_dim, site.kind, site.groups) == (6, 2, 8, "decoder", (0, 0, 0, 1, 1, 1))
    assert site.rows("q", 4) == {"model.layers.1.self_attn.q_proj": tuple(range(32, 40))}
    assert site.rows("k", 4) == {"model.layers.1.self_attn.k_proj": tuple(range(8, 16))}
    assert site.rows("o", 4) == {"model.layers.1.self_attn.o_proj": tuple(range(32, 40))}
    fused = dissect(gpt2())[0]
    starts = {role: next(iter(fused.rows(role, 1).values()))[0] for role in "qkv"}
    assert starts == {"q": 6, "k": 24 + 6, "v": 48 + 6}


def test_heads_table_and_json_tell_the_same(tmp_path):
    import json

    anatomy = dissect(llama())
    assert anatomy.heads == [HeadId(layer, head) for layer in range(3) for head in range(6)]
    assert len(anatomy.table().splitlines()) == 4
    (tmp_path / "anatomy.json").write_text(json.dumps(anatomy.as_dict()))
    assert Anatomy.from_dict(json.loads((tmp_path / "anatomy.json").read_text())) == anatomy


def test_ranges_are_half_open():
    assert ranges([0, 1, 2, 8, 9, 11]) == "0:3,8:10,11:12"
    assert ranges([]) == ""


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_floating_dtype_will_do(dtype):
    assert dissect(llama().to(dtype)).sites == dissect(llama()).sites


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_callers_that_keep_no_gradients_are_served_too(mode):
    model = llama()
    with mode():
        assert dissect(model).separable


def test_frozen_models_are_served_too():
    assert dissect(llama().requires_grad_(False)).sites == dissect(llama()).sites


def test_a_model_of_width_768_with_uneven_groups():
    sizes = {"hidden_size": 768, "num_attention_heads": 12, "num_key_value_heads": 4, "head_dim": 40}
    site = dissect(llama(**sizes, num_hidden_layers=1))[0]
    assert (site.heads, site.kv_heads, site.head_dim, site.separable) == (12, 4, 40, True)


# --- wrappers, adapters, quantised weights ------------------------------------------------------------------------------


def test_a_compiled_model_is_taken_apart_and_tapped_through_its_wrapper():
    model = llama()
    compiled = torch.compile(model, backend="eager")
    assert dissect(compiled).sites == dissect(model).sites
    batch = {"input_ids": ids(2, 5)}
    site = dissect(model)[1]
    with torch.no_grad():
        before = compiled(**batch).logits
        for _ in range(2):
            with open_taps(compiled, {site: lambda call: call.output * 0}):
                assert not torch.allclose(compiled(**batch).logits, before)
            assert torch.equal(compiled(**batch).logits, before)


@pytest.fixture
def process_group(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_a_data_parallel_wrapper_is_seen_through(process_group):
    model = llama()
    wrapped = nn.parallel.DistributedDataParallel(model)
    sites = dissect(wrapped).sites
    assert sites == dissect(model).sites
    fired = []
    with open_taps(wrapped, {sites[0]: lambda call: fired.append(1)}):
        wrapped(input_ids=ids(1, 4))
    assert fired == [1]


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in v6:FutureWarning")  # peft asks by an old name
def test_adapters_are_slices_of_their_own():
    from peft import LoraConfig, get_peft_model

    site = dissect(get_peft_model(llama(), LoraConfig(r=3, target_modules=["q_proj", "o_proj"])))[0]
    base = "base_model.model.model.layers.0.self_attn"
    assert site.rows("q", 2) == {
        f"{base}.q_proj.base_layer": tuple(range(16, 24)),
        f"{base}.q_proj.lora_B.default": tuple(range(16, 24)),
    }
    assert set(site.rows("o", 2)) == {f"{base}.o_proj.base_layer", f"{base}.o_proj.lora_A.default"}
    assert site.sliceable


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_weights_are_recognised_and_not_sliceable():
    quantised = torch.ao.quantization.quantize_dynamic(llama(), {nn.Linear}, dtype=torch.qint8)
    for site in dissect(quantised):
        assert site.separable
        assert not site.sliceable
        assert "quantised" in site.reason
        assert site.heads == 6


# --- refusals ---------------------------------------------------------------------------------------------------------


def refusal(model: object, example: dict | None = None) -> str:
    with pytest.raises(NotDissectable) as raised:
        dissect(model, example)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_cannot_be_taken_apart_is_refused_in_one_sentence():
    assert "str is no model" in refusal("gpt2")
    assert "meta device" in refusal(llama().to("meta"))
    assert "no config" in refusal(nn.Linear(3, 3))
    assert "MambaMixer" in refusal(MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=1, vocab_size=30)))
    assert "did not run on the example" in refusal(llama(), {"pixel_values": torch.zeros(1)})
    assert "Linear" in refusal(nn.Sequential(nn.Linear(3, 3)), {"input": torch.zeros(1, 3)})


def test_a_plain_module_around_a_model_can_be_taken_apart_with_an_example():
    class Scorer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.score = llama().model, nn.Linear(36, 1)

        def forward(self, words: torch.Tensor) -> torch.Tensor:
            return self.score(self.body(input_ids=words).last_hidden_state)

    anatomy = dissect(Scorer(), {"words": ids(2, 5)})
    assert [site.name for site in anatomy] == [f"body.layers.{layer}.self_attn" for layer in range(3)]


def test_a_half_that_the_example_does_not_reach_is_named():
    model = llama()
    model.unused = llama().model.layers[0].__class__(model.config, 0)  # another layer that never runs: its kind does
    assert dissect(model).asleep == ()
    model.eye = gpt2()
    assert dissect(model).asleep == ("eye",)
    assert "not reached by the example: eye" in dissect(model).table()


def test_models_that_attend_without_gradients_are_taken_apart_all_the_same():
    """FlexAttention has no backward pass on the CPU; dissection borrows another attention for its one pass."""
    model = llama(attn_implementation="flex_attention")
    assert dissect(model).sites == dissect(llama()).sites
    assert model.config._attn_implementation == "flex_attention"


def test_sharded_weights_are_recognised(process_group):
    from torch.distributed.fsdp import fully_shard

    model = llama()
    for layer in model.model.layers:
        fully_shard(layer)
    fully_shard(model)
    sites = dissect(model).sites
    assert all(site.separable and not site.sliceable and "sharded" in site.reason for site in sites)
    fired = []
    with open_taps(model, dict.fromkeys(sites, lambda call: fired.append(1))):
        model(input_ids=ids(1, 4))
    assert fired == [1, 1, 1]
