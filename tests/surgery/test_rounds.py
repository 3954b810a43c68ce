"""Any heads, in any mode, in any order, as often as one likes: in the end nothing has happened."""

from copy import deepcopy

from hypothesis import given, settings
from hypothesis import strategies as st

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.surgery.surgeon import Surgeon
from tests.anatomy.models import gpt2, llama
from tests.anatomy.test_dissect import same
from tests.surgery.models import PAST, logits, near, seen, silenced, t5

MODES = ("zero_weights", "mask_forward", "gate", "remove", "remove")
MODELS = {"llama": llama(), "gpt2": gpt2(), "t5": t5()}
ANATOMIES = {kind: dissect(model) for kind, model in MODELS.items()}


@settings(max_examples=12)
@given(kind=st.sampled_from(sorted(MODELS)), rounds=st.integers(1, 4), order=st.randoms(use_true_random=False))
def test_what_was_put_to_sleep_and_woken_in_any_order_is_as_it_was(kind, rounds, order):
    model, twin = deepcopy(MODELS[kind]), MODELS[kind]
    before, surgeon = seen(model), Surgeon(model, anatomy=ANATOMIES[kind])
    every = surgeon.anatomy.heads
    asleep: list[tuple[int, int]] = []
    for _ in range(rounds):
        awake = [head for head in every if head not in asleep]
        if awake and (not asleep or order.random() < 0.6):
            chosen = order.sample(awake, order.randint(1, len(awake)))
            surgeon.prune(chosen, mode=order.choice(MODES))
            asleep += chosen
        else:
            chosen = order.sample(asleep, order.randint(1, len(asleep)))
            surgeon.revive(chosen)
            asleep = [head for head in asleep if head not in chosen]
        assert surgeon.dormant == sorted(asleep)
        with silenced(twin, surgeon.anatomy, asleep):
            assert near(logits(model), logits(twin))
    while asleep:
        chosen = order.sample(asleep, order.randint(1, len(asleep)))
        surgeon.revive(chosen)
        asleep = [head for head in asleep if head not in chosen]
    assert same(before, seen(model))
    assert not model.__dict__[PAST].bank
    assert near(logits(model), logits(twin), share=0)
