"""A course among others: accelerate's shared state, scaled fp16 losses, and a surgeon in the middle."""

import os
from copy import deepcopy
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch.amp.grad_scaler import GradScaler
from torch.optim import AdamW

from neural_plasticity.anatomy.past import past_of
from neural_plasticity.errors import Diverged, SettingNotUsable, TrainingError
from neural_plasticity.surgery.saving import load
from neural_plasticity.surgery.surgeon import Surgeon
from neural_plasticity.training.course import LEAST_SCALE, Course
from neural_plasticity.training.recipe import Recipe
from tests.surgery.models import logits, near, silenced
from tests.training.models import ANATOMIES, batch, fresh, same, weights

SHARED: tuple[Any, ...] = (PartialState, AcceleratorState, GradientState)
HEADS = [(0, 0), (0, 1), (0, 2), (1, 4), (2, 3)]


def shared() -> list[dict[str, Any]]:
    return [dict(each._shared_state) for each in SHARED]


def surroundings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}


@pytest.fixture
def untouched():
    """A process in which nobody has used accelerate yet, and nothing of the environment is changed."""
    before, environment = shared(), surroundings()
    for each in SHARED:
        each._shared_state.clear()
    yield
    assert surroundings() == environment
    for each, state in zip(SHARED, before, strict=True):
        each._shared_state.clear()
        each._shared_state.update(state)


@pytest.mark.usefixtures("untouched")
def test_courses_of_different_precision_take_turns_and_share_nothing():
    wide, narrow = (Course(fresh("gpt2"), Recipe(precision=precision), 4) for precision in (None, "bf16"))
    alone = Course(fresh("gpt2"), Recipe(), 4)
    expected = [alone.step([batch(step)]).loss for step in range(3)]
    found = []
    for step in range(3):
        found.append((wide.step([batch(step)]).loss, narrow.step([batch(step)]).loss))
        assert shared() == [{}, {}, {}]
    assert [one for one, _ in found] == expected
    assert all(one != other and abs(one - other) < 0.05 for one, other in found)


@pytest.mark.usefixtures("untouched")
def test_an_accelerator_of_the_users_own_goes_on_as_it_was():
    theirs = Accelerator(cpu=True, gradient_accumulation_steps=3)
    with theirs.accumulate():
        before = shared()
        with Course(fresh("gpt2"), Recipe(precision="bf16", accumulation=2), 4) as course:
            course.step([batch(0), batch(1)])
        assert shared() == before
        assert (theirs.mixed_precision, theirs.sync_gradients, theirs.gradient_accumulation_steps) == ("no", False, 3)


@pytest.mark.usefixtures("untouched")
def test_the_state_is_put_back_when_a_step_fails():
    course = Course(fresh("gpt2"), Recipe(precision="bf16"), 4)
    with pytest.raises(TrainingError):
        course.step([{"input_ids": batch(0)["input_ids"]}])
    assert shared() == [{}, {}, {}]


@pytest.mark.parametrize(
    ("name", "value"), [("ACCELERATE_MIXED_PRECISION", "bf16"), ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "7")]
)
def test_the_environment_does_not_change_the_recipe(monkeypatch, name, value):
    expected = Course(fresh("gpt2"), Recipe(), 1).step([batch(0)])
    monkeypatch.setenv(name, value)
    assert Course(fresh("gpt2"), Recipe(), 1).step([batch(0)]) == expected


@pytest.mark.parametrize("name", ["LOCAL_RANK", "WORLD_SIZE"])
def test_one_of_several_processes_is_refused(monkeypatch, name):
    monkeypatch.setenv(name, "2")
    with pytest.raises(TrainingError, match="several"):
        Course(fresh("gpt2"), Recipe(), 1)


def test_fp16_on_a_processor_is_refused():
    with pytest.raises(SettingNotUsable, match="fp16 needs a GPU"):
        Course(fresh("gpt2"), Recipe(precision="fp16"), 1)


def scaled(model: Any, scale: float) -> Course:
    """A course with a gradient scaler, as it is on a GPU, but where there is none."""
    course = Course(model, Recipe(accumulation=2), 9, rates={(0, 1): 3.0})
    ours = course._accelerated
    ours.accelerator.scaler = GradScaler("cpu", init_scale=scale)
    ours.accelerator.native_amp = True
    ours._own[1]["_mixed_precision"] = "fp16"
    with ours.here():
        ours.accelerator.autocast_handler = None
        ours.optimizer = type(ours.optimizer)(course.optimizer, device_placement=False, scaler=ours.accelerator.scaler)
        ours.accelerator._optimizers = [ours.optimizer]
    return course


def test_a_step_whose_scaled_gradients_overflow_is_skipped_and_the_next_scales_less():
    model = fresh("gpt2")
    before = weights(model)
    course = scaled(model, 2.0**127)
    first = course.step([batch(0), batch(1)])
    assert first.skipped
    assert same(weights(model), before)
    assert course.done == 1
    plain, tensors = course.state()
    assert plain["scaler"]["scale"] == 2.0**126
    again = scaled(deepcopy(model), 1.0)
    again.restore(plain, tensors)
    assert again._accelerated.accelerator.scaler.get_scale() == 2.0**126
    course._accelerated.accelerator.scaler.update(1024.0)
    second = course.step([batch(2), batch(3)])
    assert not second.skipped
    assert second.gradient_norm < 100
    assert not same(weights(model), before)
    course.close()
    assert "step" not in vars(course.optimizer)


def test_gradients_that_overflow_at_any_scale_are_a_divergence():
    model = fresh("gpt2")
    with torch.no_grad():
        model.transformer.h[0].ln_1.weight[0] = 1e38
    course = scaled(model, LEAST_SCALE / 2)
    course._reader._loss = lambda outputs, batch: outputs.loss + (outputs.loss - outputs.loss.detach()) * 1e38 * 1e38
    with pytest.raises(Diverged):
        course.step([batch(0), batch(1)])


def test_heads_leave_and_come_back_in_mid_course_and_their_moments_with_them():
    model = fresh("llama")
    surgeon = Surgeon(model, anatomy=ANATOMIES["llama"])
    with Course(model, Recipe(), 12, rates={(1, 5): 3.0}) as course:
        surgeon.attach(course.optimizer)
        for step in range(3):
            course.step([batch(step)])
        weight = model.model.layers[1].self_attn.o_proj.weight
        moment = course.optimizer.state[weight]["exp_avg"].clone()
        surgeon.prune(HEADS)
        assert course.optimizer.state[weight]["exp_avg"].shape == (36, 40)
        for step in range(3, 6):
            assert course.step([batch(step)]).loss < 10
        surgeon.revive(HEADS)
        assert torch.equal(course.optimizer.state[weight]["exp_avg"][:, 32:40], moment[:, 32:40])
        for step in range(6, 12):
            course.step([batch(step)])
    assert past_of(model) is not None
    assert course.done == 12


def test_a_cut_model_learns_in_a_course_what_the_masked_one_learns():
    cut, twin = fresh("gpt2"), fresh("gpt2")
    recipe = Recipe(weight_decay=0.0, clip=None)
    for model in (cut, twin):
        for module in model.modules():
            module.p = 0.0 if isinstance(module, torch.nn.Dropout) else getattr(module, "p", None)
    one, other = Course(cut, recipe, 5), Course(twin, recipe, 5)
    surgeon = Surgeon(cut, anatomy=ANATOMIES["gpt2"])
    surgeon.attach(one)
    heads = [(0, 1), (1, 2)]
    surgeon.prune(heads)
    with silenced(twin, ANATOMIES["gpt2"], heads):
        for step in range(5):
            assert one.step([batch(step)]).loss == pytest.approx(other.step([batch(step)]).loss, rel=1e-5)
        assert near(logits(cut), logits(twin), share=2e-4)


def test_an_operated_model_that_was_saved_goes_on_where_its_course_was(tmp_path):
    model = fresh("llama")
    with Course(model, Recipe(), 8) as course:
        surgeon = Surgeon(model, anatomy=ANATOMIES["llama"])
        surgeon.attach(course.optimizer)
        course.step([batch(0)])
        surgeon.prune(HEADS)
        course.step([batch(1)])
        surgeon.save(tmp_path / "cut")
        state = course.state()
        surgeon.revive(HEADS)
        whole = [course.step([batch(step)]).loss for step in range(2, 6)]
    again = load(tmp_path / "cut")
    with Course(again, Recipe(), 8) as course:
        course.restore(*state)
        surgeon = Surgeon(again)
        surgeon.attach(course.optimizer)
        surgeon.revive(HEADS)  # with the moments that were saved with them
        assert [course.step([batch(step)]).loss for step in range(2, 6)] == whole
    assert same(weights(again), weights(model))


def test_a_layer_without_heads_is_passed_by():
    model = fresh("llama")
    surgeon = Surgeon(model, anatomy=ANATOMIES["llama"])
    with Course(model, Recipe(), 6, rates={(0, 0): 2.0}) as course:
        surgeon.attach(course.optimizer)
        course.step([batch(0)])
        surgeon.prune([(0, head) for head in range(6)])
        assert course.step([batch(1)]).gradient_norm > 0
        surgeon.revive([(0, head) for head in range(6)])
        course.step([batch(2)])


def test_a_prepared_optimizer_is_unwrapped():
    model = fresh("llama")
    bare = AdamW(model.parameters(), lr=1e-3)
    with Course(model, Recipe(), 1, optimizer=Accelerator(cpu=True).prepare(bare)) as course:
        assert course.optimizer is bare
        course.step([batch(0)])
