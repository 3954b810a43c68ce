"""The seed documents' names for pruning: masks by gradient and entropy, and models pruned by them."""

import numpy as np
import pytest
import torch

import neural_plasticity as plasticity
from neural_plasticity.errors import SettingNotUsable
from tests.anatomy.models import ids, llama

# No two numbers alike, and each strategy has heads of its own to prune.
GRADIENT = torch.tensor([[0.10, 0.90, 0.50, 0.20], [0.70, 0.30, 0.85, 0.60], [0.45, 0.80, 0.15, 0.95]])
ENTROPY = torch.tensor([[0.30, 1.90, 1.00, 0.70], [0.25, 1.60, 0.40, 2.20], [1.70, 0.60, 0.15, 1.20]])


def by_hand(strategy, count):
    """The heads in the order of the number that each strategy goes by."""
    gradient, entropy = GRADIENT.flatten().tolist(), ENTROPY.flatten().tolist()
    places = range(len(gradient))

    def rank(values, place):
        return sum(value < values[place] for value in values)  # 0 for the smallest

    matters = {
        "gradient": lambda place: gradient[place],
        "entropy": lambda place: -entropy[place],
        "combined": lambda place: 0.4 * rank(gradient, place) - 0.6 * rank(entropy, place),
    }[strategy]
    assert len({round(matters(place), 6) for place in places}) == len(places)  # no order among equals is at issue
    return {divmod(place, GRADIENT.shape[1]) for place in sorted(places, key=matters)[:count]}


def marked(mask):
    return set(map(tuple, mask.nonzero().tolist()))


@pytest.mark.parametrize("count", [1, 3, 4, 7])
@pytest.mark.parametrize("strategy", ["gradient", "entropy", "combined"])
def test_the_mask_marks_the_share_that_matters_least(strategy, count):
    mask = plasticity.generate_pruning_mask(GRADIENT, ENTROPY, prune_percent=count / 12, strategy=strategy)
    assert mask.dtype == torch.bool
    assert mask.shape == GRADIENT.shape
    assert marked(mask) == by_hand(strategy, count)


def test_the_strategies_do_not_agree_on_these_numbers():
    """Or the test above could not tell one from another."""
    chosen = [frozenset(by_hand(strategy, 3)) for strategy in ("gradient", "entropy", "combined")]
    assert len(set(chosen)) == 3
    assert chosen[0] == {(0, 0), (2, 2), (0, 3)}
    assert chosen[1] == {(1, 3), (0, 1), (2, 0)}


def test_a_share_that_is_no_whole_number_of_heads_is_never_exceeded():
    for share, count in ((0.0, 0), (0.08, 0), (0.34, 4), (0.5, 6), (0.999, 11), (1.0, 12)):
        assert int(plasticity.generate_pruning_mask(GRADIENT, prune_percent=share, strategy="gradient").sum()) == count


def test_entropy_weighs_more_than_the_gradient():
    gradient, entropy = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[1.0, 3.0, 4.0]])  # they say the opposite of each other
    mask = plasticity.generate_pruning_mask(gradient, entropy, prune_percent=0.34)
    assert mask.tolist() == [[False, False, True]]


EIGHTHS = (GRADIENT * 160).round() / 128  # which every sort of number holds exactly


@pytest.mark.parametrize(
    "given",
    [
        EIGHTHS.bfloat16(),
        EIGHTHS.half(),
        EIGHTHS.double().requires_grad_(),
        EIGHTHS.numpy(),
        EIGHTHS.tolist(),
        list(EIGHTHS.bfloat16()),
        (EIGHTHS * 128).int(),
        plasticity.HeadGrid(EIGHTHS.numpy()),
    ],
    ids=["bfloat16", "half", "a graph", "array", "lists", "list of rows", "whole", "grid"],
)
def test_numbers_are_taken_as_whatever_they_come(given):
    mask = plasticity.generate_pruning_mask(given, prune_percent=5 / 12, strategy="gradient")
    assert marked(mask) == by_hand("gradient", 5)


def test_heads_that_are_not_there_are_never_marked_and_random_is_the_same_for_the_same_seed():
    ragged = np.array([[0.5, np.nan], [0.2, 0.1]])
    assert plasticity.generate_pruning_mask(ragged, prune_percent=1.0, strategy="gradient").tolist() == [
        [True, False],
        [True, True],
    ]
    one, other = (plasticity.generate_pruning_mask(GRADIENT, prune_percent=0.5, strategy="random", seed=4) for _ in range(2))
    assert torch.equal(one, other)
    assert int(one.sum()) == 6
    masks = {
        tuple(plasticity.generate_pruning_mask(GRADIENT, prune_percent=0.5, strategy="random", seed=seed).flatten().tolist())
        for seed in range(5)
    }
    assert len(masks) > 1
    assert not plasticity.generate_pruning_mask(GRADIENT, prune_percent=0.0, strategy="gradient").any()


def with_nan(values, *head):
    found = values.clone()
    found[head] = float("nan")
    return found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"strategy": "best"}, "choose one of combined"),
        ({"prune_percent": 20}, "prune_percent is 20; pass a share of all heads, from 0 to 1"),
        ({"prune_percent": "0.2"}, "prune_percent is '0.2'; pass a share"),
        ({"prune_percent": float("nan")}, "prune_percent is nan; pass a share"),
        ({"prune_percent": True}, "prune_percent is True; pass a share"),
        ({"strategy": "entropy"}, "needs entropy_values, and there are none"),
        ({"entropy_values": torch.ones(4, 3)}, r"entropy_values has shape \(4, 3\) and grad_norm_values \(3, 4\); give both"),
        ({"entropy_values": ENTROPY[0]}, r"entropy_values has shape \(4,\) and type float64; pass a number for each head"),
        ({"entropy_values": [[1.0], [2.0, 3.0]]}, r"entropy_values is \[\[1\.0\], \[2\.0, 3\.0\]\]; pass a number for each"),
        ({"entropy_values": "high"}, r"entropy_values has shape \(4,\) and type <U1; pass a number for each head"),
        ({"entropy_values": 3}, "entropy_values is 3; pass a number for each head"),
        ({"entropy_values": ENTROPY > 1}, "has shape .* and type bool; pass a number for each head"),
        ({"entropy_values": ENTROPY * float("nan")}, "entropy_values says of all 12 heads that they are not there"),
        (
            {"entropy_values": with_nan(ENTROPY, 1, 2)},
            r"Head 1\.2 has a number in grad_norm_values and none \(NaN\) in entropy_values",
        ),
    ],
)
def test_what_gives_no_mask_is_refused(arguments, said):
    with pytest.raises(SettingNotUsable, match=said) as refusal:
        plasticity.generate_pruning_mask(GRADIENT, **arguments)
    assert str(refusal.value).count(". ") == 0


def test_a_gradient_that_is_no_number_where_the_entropy_is_one_is_no_missing_head():
    with pytest.raises(SettingNotUsable, match=r"Head 2\.1 has a number in entropy_values and none \(NaN\) in grad_norm_values"):
        plasticity.generate_pruning_mask(with_nan(GRADIENT, 2, 1), ENTROPY)
    both = plasticity.generate_pruning_mask(with_nan(GRADIENT, 2, 1), with_nan(ENTROPY, 2, 1), prune_percent=1.0)
    assert both.logical_not().nonzero().tolist() == [[2, 1]]


def test_a_value_that_is_not_finite_is_refused_by_its_head():
    with pytest.raises(SettingNotUsable, match="Layer 1 head 2 has no gradient value"):
        plasticity.generate_pruning_mask([[1.0, 2.0, 3.0], [1.0, 2.0, np.inf]], strategy="gradient")


@pytest.mark.parametrize("strategy", ["combined", "entropy", "gradient", "random"])
def test_a_mask_marks_what_a_plan_names(strategy):
    mask = plasticity.generate_pruning_mask(GRADIENT, ENTROPY, prune_percent=0.5, strategy=strategy, seed=3)
    scores = {"gradient": plasticity.HeadGrid(GRADIENT.numpy()), "entropy": plasticity.HeadGrid(ENTROPY.numpy())}
    plan = plasticity.plan_pruning(scores, level=0.5, strategy=strategy, seed=3, min_heads=0)
    assert set(map(tuple, mask.nonzero().tolist())) == set(plan.heads)
    assert len(plan) == 6


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
    for odd in (torch.zeros(3, 6), torch.zeros(6, dtype=torch.bool), [[True], [True, False]], None, "mask", 3):
        with pytest.raises(
            SettingNotUsable, match=r"^pruning_mask (has shape|is) .*; pass booleans, layers × heads, True for what"
        ):
            plasticity.apply_pruning_mask(model, odd)


@pytest.mark.parametrize(
    "given", [np.array, list, lambda rows: [torch.tensor(row) for row in rows]], ids=["array", "lists", "rows"]
)
def test_a_mask_is_taken_as_whatever_it_comes(given):
    model = llama()
    assert plasticity.apply_pruning_mask(model, given([[False] * 6, [False] * 5 + [True], [True] + [False] * 5])) == [
        (1, 5),
        (2, 0),
    ]
