"""Speed is measured: a model that does twice the work takes about twice the time, and nothing is left changed."""

import time
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from neural_plasticity.errors import NotMeasurable, SettingNotUsable
from neural_plasticity.experiment.speed import Speed, _compared, _skipped, compare_speed
from neural_plasticity.surgery.surgeon import Surgeon
from neural_plasticity.surgery.twin import untouched
from tests.anatomy.models import gpt2, llama
from tests.anatomy.test_dissect import same, state
from tests.surgery.models import batch_for, bert, t5, vit


class Slowed:
    """A model that waits before every pass, by how many tokens it is given."""

    def __init__(self, model, seconds, log=None, name=""):
        self.passes = []
        model.register_forward_pre_hook(self.wait, with_kwargs=True)
        self.seconds, self.log, self.name = seconds, log, name

    def wait(self, module, arguments, named):
        tokens = named["input_ids"].shape[1]
        self.passes.append((tokens, module.training, torch.is_inference_mode_enabled()))
        if self.log is not None:
            self.log.append((self.name, tokens))
        time.sleep(self.seconds)


def test_a_model_that_waits_half_as_long_is_about_twice_as_fast():
    before, after = gpt2(), gpt2()
    Slowed(before, 0.04)
    Slowed(after, 0.016)
    found = compare_speed(before, after, tokens=8, new_tokens=3, rounds=5)
    for ratio, low, high in (
        (found.prefill_ratio, found.prefill_low, found.prefill_high),
        (found.decode_ratio, found.decode_low, found.decode_high),
    ):
        assert 1.2 < ratio < 2.8
        assert low <= ratio <= high
    assert found.prefill_ms_before > 40 > found.prefill_ms_after > 16
    assert found.decode_ms_per_token_before > 40 > found.decode_ms_per_token_after > 16
    assert (found.tokens, found.rounds, found.threads, found.device) == (8, 5, torch.get_num_threads(), "cpu")


def test_passes_take_turns_and_each_decodes_token_by_token_with_its_own_cache():
    log = []
    before, after = gpt2(), gpt2()
    Slowed(before, 0, log, "b")
    Slowed(after, 0, log, "a")
    told = []
    compare_speed(before, after, tokens=5, new_tokens=2, rounds=3, watch=lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    writing = {name: [(name, 1), (name, 1)] for name in "ab"}
    rounds = [[(one, 5), (other, 5), *writing[one], *writing[other]] for one, other in ("ba", "ab", "ba")]
    expected = [each for turn in rounds for each in turn]
    assert log[-len(expected) :] == expected
    assert len(log) == len(expected) + 2 * len(rounds[0])  # the warm-up


def test_the_cache_holds_what_was_read_and_written():
    model, lengths = llama(), []

    def remember(module, arguments, named):
        lengths.append(
            (
                named["past_key_values"].get_seq_length() if "past_key_values" in named else 0,
                named.get("logits_to_keep"),
            )
        )

    model.register_forward_pre_hook(remember, with_kwargs=True)
    compare_speed(model, llama(), tokens=6, new_tokens=3, rounds=1)
    assert lengths[-4:] == [(0, 1), (6, None), (7, None), (8, None)]


@pytest.mark.parametrize("training", [True, False])
def test_both_come_out_as_they_went_in(training):
    before, after = llama(), llama()
    Surgeon(after).prune([(0, 0), (1, 4)])
    after.train(training)
    before.model.layers[0].train(not training)
    watch = Slowed(after, 0)
    states = state(before), state(after)
    compare_speed(before, after, tokens=4, new_tokens=2, rounds=1)
    assert same(states[0], state(before))
    assert same(states[1], state(after))
    assert {(mode, inference) for _, mode, inference in watch.passes} == {(False, True)}
    after(input_ids=torch.ones(1, 4, dtype=torch.long)).logits.sum().backward()  # nothing of inference mode is left


def test_tokens_are_those_that_the_model_has_positions_for():
    watch = Slowed(model := gpt2(), 0)
    found = compare_speed(model, model, tokens=500, new_tokens=4, rounds=1)
    assert found.tokens == 28
    assert max(watch.passes)[0] == 28
    with pytest.raises(NotMeasurable, match="new_tokens=32 leaves none of GPT2LMHeadModel's 32 positions to read; use fewer"):
        compare_speed(model, model, tokens=1, new_tokens=32, rounds=1)


def test_the_same_seed_reads_the_same_ordinary_tokens():
    read = []
    model = llama(eos_token_id=1, bos_token_id=2)
    model.register_forward_pre_hook(lambda module, arguments, named: read.append(named["input_ids"]), with_kwargs=True)
    for seed in (0, 0, 1):
        compare_speed(model, model, tokens=300, new_tokens=1, rounds=1, seed=seed)
    each = len(read) // 3
    assert torch.equal(read[0], read[each])
    assert not torch.equal(read[0], read[2 * each])
    assert not set(read[0].flatten().tolist()) & {0, 1, 2}
    assert read[0].max() < 50


@pytest.mark.parametrize("build", [bert, lambda: gpt2().transformer])
def test_a_model_that_does_not_write_is_timed_by_reading_alone(build):
    found = compare_speed(build(), build(), tokens=8, rounds=2)
    assert found.prefill_ms_after > 0
    assert (found.decode_ratio, found.decode_ms_per_token_before, found.decode_low) == (None, None, None)
    assert set(found.values()) == {f"prefill_{each}" for each in ("ms_before", "ms_after", "ratio", "low", "high")} | {
        "tokens",
        "rounds",
        "threads",
    }
    assert "writing" not in str(found)


def test_an_encoder_reads_and_its_decoder_writes():
    model, seen = t5(), []
    model.encoder.register_forward_pre_hook(lambda *_: seen.append("encoder"))
    model.decoder.register_forward_pre_hook(
        lambda module, arguments, named: seen.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    found = compare_speed(model, t5(), tokens=9, new_tokens=2, rounds=1)
    assert seen[-4:] == ["encoder", (1, 1), (1, 1), (1, 1)]
    assert found.tokens == 9
    assert found.decode_ratio is not None


def test_a_model_that_reads_no_tokens_is_given_the_example():
    model = vit()
    with pytest.raises(NotMeasurable, match="ViTForImageClassification reads no tokens, so its speed is not known; pass example="):
        compare_speed(model, vit(), tokens=8, rounds=1)
    found = compare_speed(model, vit(), tokens=8, rounds=1, example=batch_for(model))
    assert (found.tokens, found.decode_ratio) == (0, None)
    assert str(found).startswith("One pass takes ")


class Picky(type(gpt2())):
    """A model that wants to be told more than tokens."""

    def forward(self, input_ids=None, mood=None, **more):
        return super().forward(input_ids=input_ids + mood * 0, **more)


def test_a_model_that_wants_more_than_tokens_is_given_the_example():
    model = Picky(gpt2().config).eval()
    example = {"input_ids": torch.ones(2, 7, dtype=torch.long), "mood": torch.ones(1, dtype=torch.long)}
    with pytest.raises(NotMeasurable, match=r"Picky does not run on 8 random tokens \(TypeError"):
        compare_speed(model, model, tokens=8, rounds=1)
    assert compare_speed(model, model, tokens=8, rounds=1, example=example).tokens == 7
    with pytest.raises(NotMeasurable, match="Picky does not run on the example"):
        compare_speed(model, model, tokens=8, rounds=1, example={"mood": 1})


@pytest.mark.parametrize("name", ["tokens", "new_tokens", "rounds"])
def test_nothing_to_measure_is_refused(name):
    with pytest.raises(SettingNotUsable, match=f"{name}=0 leaves nothing to measure"):
        compare_speed(gpt2(), gpt2(), **{"tokens": 4, "new_tokens": 2, "rounds": 2} | {name: 0})


def test_models_on_two_devices_are_refused():
    with pytest.raises(SettingNotUsable, match="One model lies on cpu and the other on meta; move both"):
        compare_speed(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"), tokens=4)


@pytest.mark.parametrize("rounds", [1, 2, 3, 5, 6, 7, 8, 9, 11, 12, 14])
def test_the_interval_is_the_narrowest_that_holds_the_median_by_95_percent(rounds):
    """Brute force: every way in which the values may lie below or above the median."""
    below = [sum(sides) for sides in product((0, 1), repeat=rounds)]

    def missed(skipped):
        return sum(count <= skipped or rounds - count <= skipped for count in below) / len(below)

    found = _skipped(rounds)
    assert missed(found) <= 0.05 or found == 0
    assert missed(found + 1) > 0.05


def test_ratios_are_medians_of_rounds_and_not_ratios_of_medians():
    """A machine that slows down for some rounds slows both models, and leaves their ratios alone."""
    slowness = np.array([1, 1, 9, 9, 9, 1, 1.0])
    read = _compared(np.stack([slowness * 3, slowness * 2]))
    assert read == pytest.approx((3, 2, 1.5, 1.5, 1.5))
    odd = _compared(np.array([[2.0, 2, 2, 2, 2, 2, 50], [1, 1, 1, 1, 1, 1, 1]]))
    assert odd[2:] == (2, 2, 50)


def test_it_reads_as_a_sentence_and_says_where_there_may_be_no_gain():
    found = Speed(12, 10, 1.2, 1.1, 1.3, 5, 4.9, 1.02, 0.97, 1.1, 128, 7, 1, "cpu")
    assert str(found) == (
        "Reading 128 tokens takes 10 ms in place of 12, 1.20 times as fast (1.10 to 1.30); writing a token takes 4.9 ms in place "
        "of 5, 1.02 times as fast (0.97 to 1.10, so perhaps no faster). 7 rounds on cpu, threads: 1."
    )
    assert found.values()["decode_ratio"] == 1.02
    assert "device" not in found.values()


def test_the_embedded_model_reads_faster_without_half_of_its_heads(tiny):
    import copy

    model = copy.deepcopy(tiny.model)
    surgeon = Surgeon(model)
    surgeon.prune([head for head in surgeon.anatomy.heads if head.head % 2])
    found = compare_speed(untouched(model), model, tokens=400, new_tokens=2, rounds=7)
    assert found.prefill_ratio > 1.03  # 1.4 where nothing else runs
