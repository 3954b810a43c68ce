"""What must not matter: the order of samples and batches, how they are cut, and which place a head has among the others."""

from functools import cache
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.signals.base import signals
from neural_plasticity.signals.measure import Measurement, measure
from tests.anatomy.models import ids, llama
from tests.signals.brute import IGNORED, close

EVERY = [name for name in signals() if name not in ("wake", "ablation")]
HEADS, WIDTH = 4, 8


@cache
def plain() -> torch.nn.Module:
    """Every head has a key-value head of its own, so heads can change places; one layer, for they mix behind it."""
    return llama(num_attention_heads=HEADS, num_key_value_heads=HEADS, num_hidden_layers=2, head_dim=WIDTH)


@cache
def anatomy():
    return dissect(plain())


@cache
def samples(side: str) -> dict[str, torch.Tensor]:
    """Eight sequences of different lengths, padded to the same one, with labels on some of their words."""
    words = ids(8, 12)
    lengths = torch.tensor([12, 5, 9, 12, 3, 7, 11, 6])
    places = torch.arange(12)
    mask = (places < lengths.unsqueeze(1)) if side == "right" else (places >= 12 - lengths.unsqueeze(1))
    labels = words.masked_fill(~mask | (words % 5 == 0), IGNORED)
    labels[torch.arange(8), mask.long().argmax(1)] = IGNORED  # nobody can predict the first word, from padding least of all
    last = 11 - mask.long().flip(1).argmax(1)
    labels[torch.arange(8), last] = words[torch.arange(8), last]
    return {"input_ids": words, "attention_mask": mask.long(), "labels": labels}


def cut(side: str, order: list[int], sizes: list[int]) -> list[dict[str, torch.Tensor]]:
    """The samples in this order, in batches of these sizes."""
    return [{name: each[rows] for name, each in samples(side).items()} for rows in torch.tensor(order).split(sizes)]


@cache
def whole(side: str) -> Measurement:
    return measure(plain(), samples(side), EVERY, anatomy=anatomy())


@st.composite
def cuts(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    order = draw(st.permutations(range(8)))
    inner = draw(st.sets(st.integers(1, 7)))
    bounds = [0, *sorted(inner), 8]
    return list(order), [stop - start for start, stop in pairwise(bounds)]


@pytest.mark.parametrize("side", ["left", "right"])
@settings(max_examples=8)
@given(arranged=cuts())
def test_how_samples_are_ordered_and_cut_into_batches_changes_nothing(side, arranged):
    found = measure(plain(), cut(side, *arranged), EVERY, anatomy=anatomy())
    assert found.samples == 8
    for name in EVERY:
        close(found[name], whole(side)[name], rtol=1e-4, atol=1e-6)


def test_a_batch_without_any_label_counts_for_nothing():
    """A sample of which every word is masked is one of these, where samples come one by one."""
    silent = {name: each[:1].clone() for name, each in samples("right").items()}
    silent["labels"][:] = IGNORED
    names = ["taylor", "fisher", "gradient", "ablation"]
    found = measure(plain(), [silent, samples("right")], names, anatomy=anatomy())
    alone = measure(plain(), samples("right"), names, anatomy=anatomy())
    for name in names:
        close(found[name], alone[name], rtol=1e-4, atol=1e-6)


def test_left_and_right_padding_are_the_same_text():
    """Where places are told, as generation does; a sequence is the same wherever it lies in its row."""
    right = dict(samples("right"))
    shifts = 12 - right["attention_mask"].sum(1)
    left = {
        name: torch.stack([row.roll(int(shift)) for row, shift in zip(each, shifts, strict=True)]) for name, each in right.items()
    }
    left["position_ids"] = (left["attention_mask"].cumsum(1) - 1).clamp_min(0)
    names = [name for name in EVERY if name not in ("gradient", "magnitude")]
    one, other = (measure(plain(), batch, names, anatomy=anatomy()) for batch in (left, right))
    for name in names:
        close(one[name], other[name], rtol=1e-3, atol=1e-5)


def test_ablation_does_not_depend_on_how_samples_are_cut_either():
    one = measure(plain(), samples("right"), ["ablation"], anatomy=anatomy())["ablation"]
    other = measure(plain(), cut("right", list(range(8)), [3, 1, 4]), ["ablation"], anatomy=anatomy())["ablation"]
    close(one, other, rtol=1e-3, atol=1e-6)


@settings(max_examples=5)
@given(random=st.randoms(use_true_random=False))
def test_heads_that_change_places_take_their_numbers_with_them(random: Random):
    places = random.sample(range(HEADS), HEADS)
    entries = [head * WIDTH + inner for head in places for inner in range(WIDTH)]
    moved = llama(num_attention_heads=HEADS, num_key_value_heads=HEADS, num_hidden_layers=2, head_dim=WIDTH)
    with torch.no_grad():
        attention = moved.model.layers[0].self_attn
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            projection.weight.copy_(projection.weight[entries].clone())
        attention.o_proj.weight.copy_(attention.o_proj.weight[:, entries].clone())
    found = measure(moved, samples("right"), EVERY, anatomy=anatomy())
    for name in EVERY:
        before = whole("right")[name].values
        close(found[name], np.stack([before[0, places], before[1]]), rtol=1e-4, atol=1e-6)
