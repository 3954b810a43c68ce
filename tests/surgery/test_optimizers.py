"""Training between operations: what slept comes back bit for bit, moments too, and what stays learns as if masked."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import SGD, Adafactor, AdamW, Optimizer
from transformers.optimization import Adafactor as OldAdafactor

from neural_plasticity.anatomy.bank import Part
from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.surgery.layout import parts_gone
from neural_plasticity.surgery.surgeon import Surgeon
from tests.anatomy.models import gpt2, ids, llama
from tests.surgery.models import logits, near, silenced

Making = Callable[[Iterator[nn.Parameter]], Any]

OPTIMIZERS: dict[str, Making] = {
    "adamw": partial(AdamW, lr=1e-2, weight_decay=0.0, foreach=False),
    "adamw-foreach": partial(AdamW, lr=1e-2, weight_decay=0.0, foreach=True),
    "adamw-fused": partial(AdamW, lr=1e-2, weight_decay=0.0, fused=True),
    "adamw-amsgrad": partial(AdamW, lr=1e-2, weight_decay=0.0, amsgrad=True),
    "sgd": partial(SGD, lr=1e-2, momentum=0.9),
    "adafactor": partial(Adafactor, lr=1e-2, weight_decay=0.0),
    "old-adafactor": partial(OldAdafactor, lr=1e-2, relative_step=False, scale_parameter=False, warmup_init=False, beta1=0.9),
    "accelerated": lambda weights: Accelerator(cpu=True).prepare(AdamW(weights, lr=1e-2, weight_decay=0.0)),
}
EXACT = ("adamw", "adamw-foreach", "adamw-fused", "adamw-amsgrad", "sgd", "accelerated")  # each weight learns by itself

HEADS = [(0, 0), (0, 1), (0, 2), (1, 4), (2, 3), (2, 5)]  # a whole group, and heads of groups that stay
BUILD = {"llama": llama, "gpt2": gpt2}
MODELS = {kind: build() for kind, build in BUILD.items()}
ANATOMIES = {kind: dissect(model) for kind, model in MODELS.items()}


def train(model: nn.Module, optimizer: Any, steps: int, seed: int = 0) -> None:
    model.train(False)
    words = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = torch.randint(1, 50, (2, 6), generator=words)
        optimizer.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()


def bare(optimizer: Any) -> Optimizer:
    return getattr(optimizer, "optimizer", optimizer)


def pieces(model: nn.Module, optimizer: Any, parts: list[Part]) -> list[Tensor]:
    """Of each part the weights, and all moments that are as large as these."""
    found = []
    for part in parts:
        weight = model.get_parameter(part.parameter)
        alike = [each for each in bare(optimizer).state[weight].values() if isinstance(each, Tensor) and each.shape == weight.shape]
        found += [part.within(each.detach()) for each in (weight, *alike)]
    return found


def parts_of(model: nn.Module, surgeon: Surgeon, heads: list[tuple[int, int]]) -> list[Part]:
    gone = {layer: {head for other, head in heads if other == layer} for layer, _ in heads}
    return list(parts_gone(model, surgeon.anatomy, gone))


def shapes(model: nn.Module, optimizer: Any) -> list[list[tuple[int, ...]]]:
    """Of every weight, the shapes of its moments."""
    return [
        [tuple(each.shape) for each in bare(optimizer).state[weight].values() if isinstance(each, Tensor)]
        for weight in model.parameters()
    ]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_weights_and_moments_come_back_bit_for_bit_after_training_without_them(kind):
    model = llama()
    optimizer = OPTIMIZERS[kind](model.parameters())
    surgeon = Surgeon(model, anatomy=ANATOMIES["llama"])
    surgeon.attach(optimizer)
    train(model, optimizer, 2)
    parts = parts_of(model, surgeon, HEADS)
    before, formed = pieces(model, optimizer, parts), shapes(model, optimizer)
    assert len(before) > len(parts) or "old" in kind or kind == "adafactor"
    surgeon.prune(HEADS)
    train(model, optimizer, 3, seed=1)
    surgeon.revive(HEADS[::-1])
    assert all(map(torch.equal, pieces(model, optimizer, parts), before))
    assert shapes(model, optimizer) == formed
    train(model, optimizer, 1, seed=2)
    assert logits(model, {"input_ids": ids(2, 7)}).isfinite().all()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_without_steps_in_between_nothing_has_happened_to_the_optimizer(kind):
    model = llama()
    optimizer = OPTIMIZERS[kind](model.parameters())
    surgeon = Surgeon(model, anatomy=ANATOMIES["llama"])
    surgeon.attach(optimizer)
    train(model, optimizer, 2)
    before = deepcopy(bare(optimizer).state_dict())
    surgeon.prune(HEADS)
    surgeon.prune([(1, 0), (1, 1), (1, 2), (1, 3), (1, 5)])
    surgeon.revive([(1, 3), (0, 1)])
    surgeon.revive(surgeon.dormant)
    after = bare(optimizer).state_dict()["state"]
    for key, moments in before["state"].items():
        assert moments.keys() == after[key].keys()
        for name, moment in moments.items():
            assert torch.equal(torch.as_tensor(moment), torch.as_tensor(after[key][name])), (key, name)


@pytest.mark.parametrize("model_kind", BUILD)
@pytest.mark.parametrize("kind", EXACT)
def test_a_cut_model_learns_what_the_masked_one_learns(kind, model_kind):
    """Without weight decay: a masked head has no gradient, so nothing but its group's key and value could move."""
    heads = [(layer, head) for layer, head in HEADS if layer < 2 and head < 4]
    cut, twin = deepcopy(MODELS[model_kind]), deepcopy(MODELS[model_kind])
    surgeon = Surgeon(cut, anatomy=ANATOMIES[model_kind])
    optimizer, other = OPTIMIZERS[kind](cut.parameters()), OPTIMIZERS[kind](twin.parameters())
    surgeon.attach(optimizer)
    train(cut, optimizer, 2)
    train(twin, other, 2)
    surgeon.prune(heads)
    for optimizer_of in (optimizer, other):  # momentum of what sleeps would go on moving it in the twin, unseen
        optimizer_of.zero_grad()
    with silenced(twin, surgeon.anatomy, heads):
        train(cut, optimizer, 4, seed=1)
        train(twin, other, 4, seed=1)
        assert near(logits(cut), logits(twin), share=2e-5)


def test_a_model_is_trained_on_after_an_operation_by_an_optimizer_that_began_after_it():
    model = llama()
    surgeon = Surgeon(model, anatomy=ANATOMIES["llama"])
    surgeon.prune(HEADS)
    optimizer = AdamW(model.parameters(), lr=1e-2)
    surgeon.attach(optimizer)
    train(model, optimizer, 2)
    surgeon.revive(HEADS)
    train(model, optimizer, 2)
    for weight, moments in optimizer.state.items():
        assert moments["exp_avg"].shape == weight.shape


def test_an_attached_optimizer_that_has_not_stepped_yet_is_no_hindrance():
    model = llama()
    surgeon, optimizer = Surgeon(model, anatomy=ANATOMIES["llama"]), AdamW(model.parameters(), lr=1e-2)
    surgeon.attach(optimizer)
    surgeon.prune(HEADS)
    assert not any(optimizer.state.values())
    train(model, optimizer, 1)
    surgeon.revive(HEADS)


@pytest.mark.parametrize("mode", ["zero_weights", "mask_forward", "remove"])
def test_a_sleeping_head_stays_silent_while_the_others_learn(mode):
    model = llama()
    surgeon, optimizer = Surgeon(model, anatomy=ANATOMIES["llama"]), AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    surgeon.attach(optimizer)
    surgeon.prune(HEADS, mode=mode)
    train(model, optimizer, 3)
    alone = logits(model)
    with silenced(model, ANATOMIES["llama"], HEADS) if mode != "remove" else torch.no_grad():
        assert near(logits(model), alone)


def test_an_interrupted_operation_leaves_moments_alone(monkeypatch):
    from neural_plasticity.surgery.proof import Proof

    model = llama()
    surgeon, optimizer = Surgeon(model, anatomy=ANATOMIES["llama"]), AdamW(model.parameters(), lr=1e-2)
    surgeon.attach(optimizer)
    train(model, optimizer, 2)
    before = deepcopy(optimizer.state_dict()["state"])

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Proof, "compare", stopped)
        surgeon.prune(HEADS)
    for key, moments in optimizer.state_dict()["state"].items():
        assert all(torch.equal(moment, before[key][name]) for name, moment in moments.items())
    train(model, optimizer, 1)


@settings(max_examples=12)
@given(order=st.randoms(use_true_random=False), rounds=st.integers(2, 6))
def test_pieces_come_back_bit_for_bit_whatever_happens_in_between(order, rounds):
    """Each head that is woken has the weights and moments it had when it was put to sleep."""
    model = deepcopy(MODELS["llama"])
    surgeon, optimizer = Surgeon(model, anatomy=ANATOMIES["llama"]), AdamW(model.parameters(), lr=1e-2)
    surgeon.attach(optimizer)
    train(model, optimizer, 1)
    asleep: dict[tuple[int, int], Tensor] = {}

    def own(layer: int, head: int) -> Tensor:
        """The columns of the output projection, now, where the head is by the numbers of those present."""
        places = [other for other in range(6) if (layer, other) not in asleep]
        weight = model.model.layers[layer].self_attn.o_proj.weight
        at = places.index(head) * 8
        moments = optimizer.state[weight]
        held = (weight.detach(), moments["exp_avg"], moments["exp_avg_sq"])
        return torch.stack([each[:, at : at + 8] for each in held]).clone()

    for turn in range(rounds):
        awake = [head for head in surgeon.anatomy.heads if head not in asleep]
        if order.random() < 0.5 and awake:
            chosen = order.sample(awake, order.randint(1, min(5, len(awake))))
            held = {head: own(*head) for head in chosen}
            surgeon.prune(chosen)
            asleep |= held
        elif asleep:
            chosen = order.sample(sorted(asleep), order.randint(1, len(asleep)))
            surgeon.revive(chosen)
            held = {head: asleep.pop(head) for head in chosen}
            assert all(torch.equal(own(*head), held[head]) for head in chosen)
        if order.random() < 0.7:
            train(model, optimizer, 1, seed=turn)
