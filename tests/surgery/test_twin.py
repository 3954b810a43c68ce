"""The twin of an operated model is the model before the operation, but for the numbers in its weights."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.errors import SurgeryError
from neural_plasticity.surgery.saving import load
from neural_plasticity.surgery.surgeon import Surgeon
from neural_plasticity.surgery.twin import untouched
from tests.anatomy.models import gpt2, ids, llama
from tests.anatomy.test_dissect import same
from tests.surgery.models import albert, batch_for, bert, logits, seen, t5, vit

MODELS = {"llama": llama, "gpt2": gpt2, "bert": bert, "t5": t5, "vit": vit}


def shape(model: nn.Module) -> dict[str, object]:
    """What a model is, but for the numbers in its weights."""
    return {
        "parameters": {name: (each.shape, each.dtype, each.device) for name, each in model.named_parameters()},
        "buffers": {name: (each.shape, each.dtype, each.device) for name, each in model.named_buffers()},
        "attention": model.config._attn_implementation,
        "heads": [(site.name, site.heads, site.kv_heads, site.head_dim) for site in dissect(model)],
        "modes": {each.training for each in model.modules()},
        "hooks": [name for name, each in model.named_modules() if each._forward_pre_hooks],
    }


@pytest.mark.parametrize("mode", ["remove", "gate", "zero_weights"])
@pytest.mark.parametrize("kind", MODELS)
def test_it_has_the_heads_and_shapes_of_before(kind, mode):
    model = MODELS[kind]()
    before = shape(model)
    Surgeon(model).prune([(0, 0), (0, 2), (1, 1)], mode=mode)
    twin = untouched(model)
    assert shape(twin) == before
    assert logits(twin, batch_for(model)).shape == logits(model).shape
    own = {each.data_ptr() for each in model.parameters() if each.numel()}
    assert not own & {each.data_ptr() for each in twin.parameters()}


@pytest.mark.parametrize("heads", [[(0, 1), (0, 4), (1, 0)], [(0, head) for head in range(6)], [(2, 3), (2, 4), (2, 5)]])
@pytest.mark.parametrize("more", [{}, {"attn_implementation": "eager"}])
def test_uneven_groups_emptied_layers_and_attention_by_name(heads, more):
    model = llama(**more)
    before = shape(model)
    surgeon = Surgeon(model)
    surgeon.prune(heads)
    assert shape(untouched(model)) == before
    surgeon.forget()
    assert shape(untouched(model)) == before
    assert untouched(model).config._attn_implementation == more.get("attn_implementation", "sdpa")


def test_it_has_the_dtype_of_each_tensor():
    model = llama().to(torch.bfloat16)
    model.lm_head.float()
    before = shape(llama().to(torch.bfloat16))["parameters"]
    Surgeon(llama())  # an anatomy is not needed for a model that nobody operated on
    twin = untouched(model)
    assert twin.lm_head.weight.dtype == torch.float32
    rest = {name: each for name, each in shape_of_parameters(twin).items() if name != "lm_head.weight"}
    assert rest == {name: each for name, each in before.items() if name != "lm_head.weight"}
    assert {name: each.dtype for name, each in twin.named_buffers()} == {name: each.dtype for name, each in model.named_buffers()}


def shape_of_parameters(model: nn.Module) -> dict[str, object]:
    return {name: (each.shape, each.dtype, each.device) for name, each in model.named_parameters()}


def test_the_model_and_the_generators_of_the_caller_stay_as_they_are():
    model = llama()
    Surgeon(model).prune([(0, 0), (1, 4)])
    model.train()
    before, config = seen(model), model.config
    generators = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first, second = untouched(model), untouched(model)
    assert torch.equal(generators[0], torch.random.get_rng_state())
    assert np.array_equal(generators[1], np.random.get_state()[1])
    assert generators[2] == random.getstate()
    assert same(before, seen(model))
    assert model.config is config
    assert first.config is not config
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))
    assert all(each.isfinite().all() for each in first.parameters())


def test_a_model_that_was_saved_and_opened_has_the_same_twin(tmp_path):
    model = llama()
    before = shape(model)
    surgeon = Surgeon(model)
    surgeon.prune([(0, 0), (0, 1), (1, 4)])
    surgeon.save(tmp_path)
    assert shape(untouched(load(tmp_path, "cpu"))) == before


def test_the_twin_can_be_operated_on_like_the_model():
    model = llama()
    Surgeon(model).prune([(0, 0), (1, 4)])
    twin = untouched(model)
    Surgeon(twin).prune([(0, 0), (1, 4)])
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(input_ids=ids(1, 5)).logits, model(input_ids=ids(1, 5)).logits)


@pytest.mark.parametrize("mode", ["remove", "gate"])
def test_it_is_built_with_the_switches_that_no_config_says(mode):
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 20}
    model = BertModel(BertConfig(**sizes, vocab_size=50), add_pooling_layer=False).eval()
    before = shape(model)
    Surgeon(model).prune([(0, 1), (1, 2)], mode)
    twin = untouched(model)
    assert twin.pooler is None
    assert shape(twin) == before


def test_shared_layers_are_shared():
    model = albert()
    assert shape_of_parameters(untouched(model)) == shape_of_parameters(model)


class WithMore(type(llama())):
    """A class whose making wants more than a config."""

    def __init__(self, config, depth):
        super().__init__(config)
        self.depth = depth


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Linear(2, 2), "Linear is no model of transformers"),
        (lambda: WithMore(llama().config, 3), "WithMore cannot be built again from its config, where it raises TypeError: .*depth"),
        (lambda: llama().to("meta"), "LlamaForCausalLM lies on meta and not on one device"),
        (lambda: extended(llama()), r"cannot be built again from its config, which leaves model\.extra\.bias, .* otherwise"),
        (lambda: quantised(llama()), "LlamaForCausalLM holds quantised weights"),
    ],
)
def test_what_cannot_be_built_again_is_refused_in_one_sentence(build, message):
    with pytest.raises(SurgeryError, match=message) as refusal:
        untouched(build())
    assert str(refusal.value).endswith("so there is no untouched model to compare with; load one and pass it on.")


def extended(model):
    model.model.extra = nn.Linear(2, 2)
    return model


def quantised(model):
    model.hf_quantizer = object()
    return model
