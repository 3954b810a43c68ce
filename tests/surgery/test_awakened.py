"""Heads awake for a while, and then asleep as they were."""

import pytest
import torch

from neural_plasticity.surgery.saving import load
from neural_plasticity.surgery.surgeon import Surgeon
from tests.anatomy.models import llama
from tests.anatomy.test_dissect import same, state


@torch.no_grad()
def logits_of(model):
    return model(input_ids=torch.arange(14).view(2, 7)).logits


@pytest.mark.parametrize("mode", ["remove", "mask_forward", "zero_weights", "gate"])
def test_sleepers_wake_for_a_while_and_sleep_again_to_the_last_bit(mode, tmp_path):
    model = llama()
    whole = logits_of(model)
    surgeon = Surgeon(model)
    surgeon.prune([(0, 1), (1, 2)], mode)
    before, asleep, logits = state(model), surgeon.dormant, logits_of(model)
    with surgeon.awakened() as woken:
        assert woken == asleep
        assert surgeon.dormant == []
        torch.testing.assert_close(logits_of(model), whole)
    assert surgeon.dormant == asleep
    assert same(state(model), before)
    assert torch.equal(logits_of(model), logits)
    surgeon.save(tmp_path / "model")  # which a mask that had become a weight would prevent
    assert Surgeon(load(tmp_path / "model", "cpu")).dormant == asleep


def test_an_error_among_the_awake_puts_them_to_sleep_too():
    model = llama()
    surgeon = Surgeon(model)
    surgeon.prune([(0, 1)], "gate")
    before = state(model)
    with pytest.raises(ZeroDivisionError), surgeon.awakened():
        1 / 0  # noqa: B018
    assert same(state(model), before)
    assert surgeon.dormant == [(0, 1)]


def test_a_head_whose_gate_has_learned_wakes_all_the_same():
    model = llama()
    whole = logits_of(model)
    surgeon = Surgeon(model)
    surgeon.prune([(0, 1)], "gate")
    (gate,) = [parameter for name, parameter in model.named_parameters() if name.endswith("plasticity_gate")]
    with torch.no_grad():
        gate[1] = 0.4
    assert not torch.equal(logits_of(model), whole)
    surgeon.revive([(0, 1)])
    assert torch.equal(logits_of(model), whole)
