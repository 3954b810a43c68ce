"""A course: what is done at once and what is done in two sittings are the same, bit for bit, and nothing is left behind."""

import json
import math
import random
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import SGD, Adafactor, AdamW

from neural_plasticity.errors import Diverged, SettingNotUsable, TrainingError
from neural_plasticity.training.course import Course, Step
from neural_plasticity.training.recipe import Recipe, optimizer_for
from tests.anatomy.models import gpt2
from tests.anatomy.test_dissect import same as same_to_the_eye
from tests.surgery.models import seen
from tests.training.models import DROPOUT, batch, fresh, same, weights

OPTIMIZERS: dict[str, Any] = {
    "own": lambda parameters: None,
    "adamw-fused": partial(AdamW, lr=1e-2, fused=True),
    "sgd": partial(SGD, lr=1e-2, momentum=0.9),
    "adafactor": partial(Adafactor, lr=1e-2),
}
RATES = {(0, 1): 3.0, (1, 2): 0.0}


def batches(step: int, accumulation: int) -> list[dict[str, Tensor]]:
    return [batch(accumulation * step + number) for number in range(accumulation)]


def through(course: Course, steps: range) -> list[Step]:
    return [course.step(batches(step, course.recipe.accumulation)) for step in steps]


def written(state: tuple[dict[str, Any], dict[str, Tensor]]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A state as it comes back from a disk."""
    plain, tensors = state
    return json.loads(json.dumps(plain, allow_nan=False)), load(save(tensors))


@pytest.mark.parametrize("precision", [None, "bf16"])
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_twenty_steps_are_seven_and_thirteen_in_another_process(kind, accumulation, precision):
    recipe = Recipe(accumulation=accumulation, warm_steps=3, decay="cosine", precision=precision)

    def begun(model: nn.Module) -> Course:
        optimizer = OPTIMIZERS[kind](model.parameters())
        return Course(model, recipe, 20, seed=5, optimizer=optimizer, rates=RATES if accumulation == 2 else None)

    model = gpt2(**DROPOUT)
    with begun(model) as course:
        whole = through(course, range(20))
    half = gpt2(**DROPOUT)
    with begun(half) as course:
        first = through(course, range(7))
        state = written(course.state())
    torch.manual_seed(99)
    other = gpt2(**DROPOUT)
    other.load_state_dict(load(save(weights(half) | {"lm_head.weight": half.lm_head.weight.detach().clone()})))
    with begun(other) as course:
        course.restore(*state)
        assert course.done == 7
        second = through(course, range(7, 20))
    assert first + second == whole
    assert same(weights(other), weights(model))


def test_dropout_is_at_work_and_the_seed_decides_it():
    losses = [Course(gpt2(**DROPOUT), Recipe(), 1, seed=seed).step(batches(0, 1)).loss for seed in (0, 0, 1)]
    with torch.no_grad():
        plain = float(gpt2(**DROPOUT)(**batch(0)).loss)
    assert losses[0] == losses[1]
    assert len({losses[0], losses[2], plain}) == 3


def test_no_generator_of_the_process_is_moved():
    course = Course(gpt2(**DROPOUT), Recipe(), 2)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    course.step(batches(0, 1))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]


def test_steps_are_those_of_a_plain_loop():
    model, twin = fresh("llama"), fresh("llama")
    decayed = [each for each in twin.parameters() if each.dim() > 1]
    plain = [each for each in twin.parameters() if each.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = AdamW(groups, lr=1e-2)
    with Course(model, Recipe(learning_rate=1e-2, weight_decay=0.1, clip=0.5), 6) as course:
        for step in range(6):
            found = course.step(batches(step, 1))
            for group in optimizer.param_groups:
                group["lr"] = 1e-2 * (1 - step / 6)
            optimizer.zero_grad()
            loss = twin.train()(**batch(step)).loss
            loss.backward()
            norm = nn.utils.clip_grad_norm_([*decayed, *plain], 0.5)
            optimizer.step()
            assert (found.loss, found.gradient_norm) == (loss.item(), float(norm))
            assert found.learning_rate == pytest.approx(1e-2 * (1 - step / 6))
    assert same(weights(model), weights(twin))


@pytest.mark.parametrize("recipe", [Recipe(decay="linear", warm_steps=4), Recipe(decay="cosine"), Recipe(decay="constant")])
def test_the_learning_rate_warms_up_and_comes_down(recipe):
    rates = [recipe.factor(step, 20) for step in range(20)]
    warm = recipe.warm_steps
    assert rates[:warm] == pytest.approx([(step + 1) / warm for step in range(warm)])
    assert rates[warm] == 1.0
    assert all(one >= other for one, other in zip(rates[warm:], rates[warm + 1 :], strict=False))
    assert rates[-1] == pytest.approx(
        {"linear": 1 / 16, "cosine": (1 + math.cos(math.pi * 0.95)) / 2, "constant": 1.0}[recipe.decay]
    )


def test_what_does_not_learn_and_what_is_a_vector_does_not_decay():
    model = fresh("gpt2")
    model.transformer.wte.weight.requires_grad_(False)
    decaying, plain = optimizer_for(model, Recipe(weight_decay=0.1)).param_groups
    assert (decaying["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all("ln" in names[id(each)] or "bias" in names[id(each)] for each in plain["params"])
    assert not any("bias" in names[id(each)] or "wte" in names[id(each)] for each in decaying["params"])
    with pytest.raises(TrainingError, match="learns"):
        optimizer_for(model.requires_grad_(False), Recipe())


def test_nothing_is_left_on_the_model_or_the_optimizer():
    model = fresh("llama")
    model.model.layers[1].train()
    before = seen(model)
    optimizer = AdamW(model.parameters(), lr=0.5)
    with Course(model, Recipe(precision="bf16"), 3, optimizer=optimizer, rates=RATES) as course:
        through(course, range(2))
        assert "forward" not in vars(model)
        assert [module.training for module in model.modules()].count(True) == len(list(model.model.layers[1].modules()))
    after = seen(model)
    assert same_to_the_eye({**after, "weights": None}, {**before, "weights": None})
    assert [held[0] for held in after["weights"].values()] == [held[0] for held in before["weights"].values()]
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert not optimizer._optimizer_step_pre_hooks
    assert "step" not in vars(optimizer)
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(TrainingError, match="closed"):
        course.step(batches(2, 1))
    course.close()


@pytest.mark.parametrize("bad", ["loss", "gradient"])
@pytest.mark.parametrize("at", [0, 1])
def test_a_step_that_diverges_is_refused_before_it_touches_anything(bad, at):
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        def backward(ctx, *slopes):
            return slopes[0] * math.nan

    calls = []

    def loss(outputs: Any, batch: Any) -> Tensor:
        calls.append(batch)
        if len(calls) != 3 + at:
            return outputs.loss
        return outputs.loss * math.inf if bad == "loss" else Broken.apply(outputs.loss)

    model = fresh("gpt2")
    course = Course(model, Recipe(accumulation=2), 5, loss=loss, rates=RATES)
    course.step(batches(0, 2))
    before, moments = weights(model), written(course.state())
    with pytest.raises(Diverged, match=r"Step 2 of 5: the (loss|norm of the gradient) is (inf|nan).*lower the learning rate"):
        course.step(batches(1, 2))
    assert same(weights(model), before)
    after = written(course.state())
    assert same(after[1], moments[1])
    assert course.done == 1
    assert not any(module.training for module in model.modules())
    course.step(batches(1, 2))  # by then the loss is sound
    assert course.done == 2


def test_a_state_of_another_course_is_refused():
    course = Course(fresh("gpt2"), Recipe(), 5)
    course.step(batches(0, 1))
    state = course.state()
    for other, words in (
        (Course(fresh("gpt2"), Recipe(), 6), "steps 5"),
        (Course(fresh("gpt2"), Recipe(), 5, seed=1), "seed 0"),
        (Course(fresh("gpt2"), Recipe(clip=None), 5), "recipe"),
        (Course(fresh("llama"), Recipe(), 5), "other weights"),
        (Course(model := fresh("gpt2"), Recipe(), 5, optimizer=SGD(model.parameters(), lr=0.1)), "AdamW"),
    ):
        with pytest.raises(TrainingError, match=words):
            other.restore(*state)
    tensors = {name: value[:1] if value.dim() and "c_attn" in name else value for name, value in state[1].items()}
    tensors = {name: value.repeat(3, *[1] * (value.dim() - 1)) if "c_proj.w" in name and value.dim() else value
               for name, value in tensors.items()}  # fmt: skip
    with pytest.raises(TrainingError, match="other heads"):
        Course(fresh("gpt2"), Recipe(), 5).restore(state[0], tensors)


def test_a_state_is_a_copy():
    course = Course(fresh("gpt2"), Recipe(), 5)
    course.step(batches(0, 1))
    _, tensors = course.state()
    before = {name: value.clone() for name, value in tensors.items()}
    course.step(batches(1, 1))
    assert same(tensors, before)
    assert {name.rpartition("/")[2] for name in tensors} == {"exp_avg", "exp_avg_sq", "step"}


def test_what_cannot_be_trained_is_refused_in_a_sentence():
    model = fresh("gpt2")
    with pytest.raises(TrainingError, match=r"gave no loss: the batch holds input_ids\. Add labels"):
        Course(model, Recipe(), 1).step([{"input_ids": batch(0)["input_ids"]}])
    with pytest.raises(TrainingError, match="slopes False"):
        Course(model, Recipe(), 1, loss=lambda outputs, batch: outputs.loss.detach()).step(batches(0, 1))
    with pytest.raises(TrainingError, match="shape"):
        Course(model, Recipe(), 1, loss=lambda outputs, batch: outputs.logits).step(batches(0, 1))
    with pytest.raises(TrainingError, match="not in GPT2LMHeadModel"):
        Course(model, Recipe(), 1, optimizer=SGD([nn.Parameter(torch.ones(2))], lr=0.1))
    with pytest.raises(SettingNotUsable, match="given 1 batches"):
        Course(model, Recipe(accumulation=2), 1).step(batches(0, 1))
    course = Course(model, Recipe(), 1)
    course.step(batches(0, 1))
    with pytest.raises(TrainingError, match="All 1 steps"):
        course.step(batches(0, 1))
    with pytest.raises(SettingNotUsable, match="0 steps"):
        Course(model, Recipe(), 0)


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"warm_steps": -1},
        {"decay": "steep"},
        {"clip": 0.0},
        {"accumulation": 0},
        {"precision": "fp8"},
    ],
)
def test_a_recipe_says_what_it_cannot_be(options):
    with pytest.raises(SettingNotUsable, match=next(iter(options))):
        Recipe(**options)
