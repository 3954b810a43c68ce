"""One pass for everything: how often the model runs, what whoever watches is told, and what comes back."""

from collections import Counter

import numpy as np
import pytest
import torch

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.signals.base import signals
from neural_plasticity.signals.measure import DEFAULT, measure
from tests.anatomy.models import gpt2, ids, llama

EVERY = [name for name in signals() if name not in ("wake", "ablation")]
BATCHES = [{"input_ids": ids(3, 20), "labels": ids(3, 20)}, {"input_ids": ids(2, 7), "labels": ids(2, 7)}]


def counted(model: torch.nn.Module) -> Counter[str]:
    """How often each part of the model runs from now on; a hook of the user's, which must go on firing."""
    runs: Counter[str] = Counter()
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: runs.update([name]) and None)
    return runs


def test_all_signals_share_one_pass_over_each_batch():
    model = llama()
    anatomy = dissect(model)
    runs = counted(model)
    measure(model, BATCHES, EVERY, anatomy=anatomy)
    assert set(runs.values()) == {len(BATCHES)}


def test_weights_alone_take_no_pass_at_all():
    model = llama()
    anatomy = dissect(model)
    runs = counted(model)
    measure(model, BATCHES, ["magnitude"], anatomy=anatomy)
    assert not runs


def test_batches_are_asked_for_once_and_in_order():
    asked = []

    def stream():
        for number, batch in enumerate(BATCHES * 2):
            asked.append(number)
            yield batch

    found = measure(llama(), stream(), EVERY)
    assert asked == [0, 1, 2, 3]
    assert found.samples == 10
    assert found == measure(llama(), BATCHES * 2, EVERY)


@pytest.mark.parametrize(
    ("names", "passes"),
    [(["entropy", "taylor"], 1), (["ablation"], 9), (["taylor", "ablation"], 10), (["magnitude", "gradient"], 1)],
)
@pytest.mark.parametrize("counted_beforehand", [True, False])
def test_whoever_watches_sees_numbers_rise_to_the_total(names, passes, counted_beforehand):
    told: list[tuple[int, int | None]] = []
    batches = [{"input_ids": ids(2, 5), "labels": ids(2, 5)}] * 3
    given = batches if counted_beforehand else iter(batches)
    measure(gpt2(), given, names, watch=lambda done, whole: told.append((done, whole)))
    assert [done for done, _ in told] == list(range(1, 3 * passes + 1))
    assert {whole for _, whole in told} == {3 * passes if counted_beforehand else None}


def test_a_single_batch_need_not_be_in_a_list():
    told = []
    one = measure(gpt2(), BATCHES[0], watch=lambda *numbers: told.append(numbers))
    assert told == [(1, 1)]
    assert one == measure(gpt2(), BATCHES[:1])
    assert tuple(one) == DEFAULT
    assert one.samples == 3


def test_asking_for_more_signals_changes_none():
    alone = {name: measure(llama(), BATCHES, [name])[name] for name in EVERY}
    together = measure(llama(), BATCHES, EVERY)
    backwards = measure(llama(), BATCHES, EVERY[::-1])
    for name in EVERY:
        np.testing.assert_allclose(together[name].values, alone[name].values, rtol=2e-5, atol=1e-6)
        assert together[name] == backwards[name]


def test_a_signal_asked_for_twice_is_measured_once():
    assert list(measure(llama(), BATCHES, ["sink", "entropy", "sink"])) == ["sink", "entropy"]
    assert list(measure(llama(), BATCHES, "entropy")) == ["entropy"]


def test_a_grid_says_what_it_holds():
    grid = measure(llama(), BATCHES, ["entropy"])["entropy"]
    assert grid.label == "entropy (nats)"
    assert [head for head, _ in grid.items()] == dissect(llama()).heads


def test_ablation_runs_no_part_that_lies_before_the_head_again():
    model = llama(num_hidden_layers=3)
    anatomy = dissect(model)
    runs = counted(model)
    measure(model, [BATCHES[1]] * 6, ["ablation"], anatomy=anatomy)  # at the first, each site is tried whole
    first, last = (runs[f"model.layers.{layer}.mlp.up_proj"] for layer in (0, 2))
    assert first < 0.6 * last


def test_the_users_batch_is_left_alone():
    batch = {name: each.clone() for name, each in BATCHES[0].items()}
    kept = dict(batch)
    measure(llama(), batch, EVERY)
    assert list(batch) == list(kept)
    assert all(batch[name] is kept[name] and torch.equal(batch[name], BATCHES[0][name]) for name in batch)
