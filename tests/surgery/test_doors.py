"""The seed documents' names for pruning: masks by gradient and entropy, and models pruned by them."""

import numpy as np
import pytest
import torch

import neural_plasticity as plasticity
from neural_plasticity.errors import SettingNotUsable
from tests.anatomy.models import ids, llama

GRADIENT = torch.tensor([[0.1, 0.9, 0.5], [0.7, 0.3, 0.8]])
ENTROPY = torch.tensor([[2.0, 0.1, 1.0], [0.2, 1.5, 0.4]])


@pytest.mark.parametrize(
    ("strategy", "pruned"),
    [("gradient", {(0, 0), (1, 1)}), ("entropy", {(0, 0), (1, 1)}), ("combined", {(0, 0), (1, 1)})],
)
def test_the_mask_marks_the_share_that_matters_least(strategy, pruned):
    mask = plasticity.generate_pruning_mask(GRADIENT, ENTROPY, prune_percent=0.34, strategy=strategy)
    assert mask.dtype == torch.bool
    assert set(map(tuple, mask.nonzero().tolist())) == pruned


def test_entropy_weighs_more_than_the_gradient():
    gradient, entropy = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 2.0, 3.0]])  # they say the opposite of each other
    mask = plasticity.generate_pruning_mask(gradient, entropy, prune_percent=0.34)
    assert mask.tolist() == [[False, False, True]]


def test_heads_that_are_not_there_are_never_marked_and_random_is_the_same_for_the_same_seed():
    ragged = np.array([[0.5, np.nan], [0.2, 0.1]])
    assert plasticity.generate_pruning_mask(ragged, prune_percent=1.0, strategy="gradient").tolist() == [
        [True, False],
        [True, True],
    ]
    one, other = (plasticity.generate_pruning_mask(GRADIENT, prune_percent=0.5, strategy="random", seed=4) for _ in range(2))
    assert torch.equal(one, other)
    assert int(one.sum()) == 3
    assert not plasticity.generate_pruning_mask(GRADIENT, prune_percent=0.0, strategy="gradient").any()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"strategy": "best"}, "choose one of combined"),
        ({"prune_percent": 20}, "from 0 to 1"),
        ({"strategy": "entropy"}, "needs entropy_values"),
        ({"entropy_values": torch.ones(3, 2)}, "of the same heads"),
    ],
)
def test_what_gives_no_mask_is_refused(arguments, said):
    with pytest.raises(SettingNotUsable, match=said):
        plasticity.generate_pruning_mask(GRADIENT, **arguments)


def test_a_value_that_is_not_finite_is_refused_by_its_head():
    with pytest.raises(SettingNotUsable, match="Layer 1 head 2 has no gradient value"):
        plasticity.generate_pruning_mask([[1.0, 2.0, 3.0], [1.0, 2.0, np.inf]], strategy="gradient")


@pytest.mark.parametrize("strategy", ["combined", "entropy", "gradient", "random"])
def test_a_mask_marks_what_a_plan_names(strategy):
    mask = plasticity.generate_pruning_mask(GRADIENT, ENTROPY, prune_percent=0.5, strategy=strategy, seed=3)
    scores = {"gradient": plasticity.HeadGrid(GRADIENT.numpy()), "entropy": plasticity.HeadGrid(ENTROPY.numpy())}
    plan = plasticity.plan_pruning(scores, level=0.5, strategy=strategy, seed=3, min_heads=0)
    assert set(map(tuple, mask.nonzero().tolist())) == set(plan.heads)
    assert len(plan) == 3


@torch.no_grad()
@pytest.mark.parametrize("mode", list(plasticity.PruningMode))
def test_a_mask_is_applied_in_every_mode(mode):
    mask = torch.zeros(3, 6, dtype=torch.bool)
    mask[0, 1] = mask[2, 4] = True
    model, words = llama(), ids(2, 7)
    before = model(input_ids=words).logits
    assert plasticity.apply_pruning_mask(model, mask, mode=mode) == [(0, 1), (2, 4)]
    assert not torch.equal(model(input_ids=words).logits, before)
    surgeon = plasticity.Surgeon(model)
    assert len(surgeon.dormant) == (0 if mode is plasticity.PruningMode.COMPRESSED else 2)
    assert [str(surgeon.states[head]) for head in [(0, 1), (0, 0)]][1] == "active"


def test_an_empty_mask_changes_nothing_and_what_is_no_mask_is_refused():
    model = llama()
    assert plasticity.apply_pruning_mask(model, torch.zeros(3, 6, dtype=torch.bool)) == []
    with pytest.raises(SettingNotUsable, match="True for what goes"):
        plasticity.apply_pruning_mask(model, torch.zeros(3, 6))
