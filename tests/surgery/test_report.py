"""The report counts what is there, and what was there before."""

import numpy as np
import pytest
import torch
from torch import nn

from neural_plasticity.anatomy.past import Past, past_of
from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.surgery.report import report
from neural_plasticity.surgery.surgeon import Surgeon
from tests.anatomy.models import gpt2, ids, llama
from tests.conformance.families import FAMILIES

TOKENS = 9
SURGEON = Surgeon(llama())


def reported(surgeon, tokens=TOKENS):
    return report(surgeon.model, past_of(surgeon.model) or Past(surgeon.anatomy), tokens)


def counted(model: nn.Module) -> tuple[int, int]:
    return sum(each.numel() for each in model.parameters()), sum(each.numel() * each.element_size() for each in model.parameters())


@pytest.mark.parametrize("build", [gpt2, llama, lambda: llama().to(torch.bfloat16), FAMILIES["t5"], FAMILIES["bert"]])
def test_parameters_are_those_of_the_model_now_and_of_a_fresh_one(build):
    make = build if callable(build) else lambda: build.build(3)
    model = make()
    surgeon = Surgeon(model)
    surgeon.prune([(0, 0), (0, 2), (1, 1)])
    for _ in range(2):
        found = reported(surgeon)
        assert (found.after.parameters, found.after.parameter_bytes) == counted(model)
        assert (found.before.parameters, found.before.parameter_bytes) == counted(make())
        surgeon.forget()  # what is before does not depend on the bank
    assert found.asleep == {"remove": 3}


def test_before_is_right_after_the_last_heads_are_forgotten():
    surgeon = Surgeon(llama())
    surgeon.prune([(0, head) for head in range(3, 6)], mode="compressed")
    assert reported(surgeon).before.parameters == counted(llama())[0]
    assert reported(surgeon).after.parameters == counted(surgeon.model)[0]


@pytest.mark.parametrize("build", [gpt2, llama])
def test_the_cache_is_as_large_as_the_one_that_the_model_fills(build):
    model = build()
    surgeon = Surgeon(model)
    for heads in ([], [(0, 0), (0, 1), (0, 2), (1, 3)]):
        if heads:
            surgeon.prune(heads)
        with torch.no_grad():
            cache = model(input_ids=ids(1, 5), use_cache=True).past_key_values
        held = sum(each.numel() * each.element_size() for layer in cache.layers for each in (layer.keys, layer.values))
        assert reported(surgeon).after.cache_bytes_per_token * 5 == held


def test_work_is_that_of_the_formula():
    """Three layers of six heads on two key-value heads, 8 wide, in a model 36 wide."""
    surgeon = Surgeon(llama())
    layer = 2 * TOKENS * (36 * 8 * (6 + 2 + 2 + 6) + 6 * TOKENS * 16)
    assert reported(surgeon).after.attention_flops == reported(surgeon).before.attention_flops == 3 * layer
    surgeon.prune([(0, 3), (0, 4), (0, 5)])  # the second group, with its key-value head
    assert reported(surgeon).before.attention_flops == 3 * layer
    assert reported(surgeon).after.attention_flops == 2 * layer + layer // 2
    assert [(each.heads, each.kv_heads) for each in reported(surgeon).layers] == [(3, 1), (6, 2), (6, 2)]


@pytest.mark.parametrize("mode", ["zero_weights", "mask_forward", "gate"])
def test_heads_that_stay_in_the_weights_save_nothing(mode):
    surgeon = Surgeon(gpt2())
    surgeon.prune([(0, 1), (1, 2)], mode=mode)
    found = reported(surgeon)
    assert found.before == found.after
    assert found.asleep == {mode: 2}
    assert f"heads asleep: 2 by {mode}" in str(found)


def test_cross_attention_is_cached_apart():
    surgeon = Surgeon(FAMILIES["t5"].build(3))
    found = reported(surgeon).before
    for kind, bytes_per_token in (("decoder", found.cache_bytes_per_token), ("cross", found.source_cache_bytes_per_token)):
        sites = [site for site in surgeon.anatomy if site.kind == kind]
        assert bytes_per_token == sum(site.kv_heads * (site.head_dim + site.value_dim) * 4 for site in sites) > 0


@pytest.mark.parametrize("tokens", [0, -3, True, 2.0, "9", None, [9], float("nan")], ids=repr)
def test_what_is_no_length_of_a_text_is_refused_in_one_sentence(tokens):
    with pytest.raises(SettingNotUsable, match=r"^tokens=.* is no length of a text for the report; pass a whole number from 1\.$"):
        SURGEON.report(tokens)


def test_a_length_may_be_of_any_sort_of_whole_number():
    assert SURGEON.report(np.int64(9)) == SURGEON.report(9)
    assert type(SURGEON.report(np.int64(9)).after.attention_flops) is int
    assert SURGEON.report(torch.tensor(9)).tokens == 9


def test_it_reads_as_a_table():
    surgeon = Surgeon(llama())
    surgeon.prune([(0, 3), (0, 4), (0, 5)])
    lines = str(reported(surgeon)).splitlines()
    assert lines[0].split() == ["LlamaForCausalLM,", "9", "tokens", "before", "after", "left"]
    assert lines[1].split()[-1].endswith("%")
    assert lines[6].startswith("layer 0 model.layers.0.self_attn")
    assert lines[6].endswith("6 heads on 2  3 heads on 1")
    assert lines[-1] == "heads asleep: 3 by remove"
