"""Where an operation is interrupted, at many of its lines, the model is what it was, or what it was to become."""

import sys
from copy import deepcopy

import pytest
import torch

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.errors import PlasticityError, ProofFailed
from neural_plasticity.surgery.proof import Proof
from neural_plasticity.surgery.surgeon import Surgeon
from tests.anatomy.models import llama
from tests.anatomy.test_dissect import same
from tests.surgery.models import logits
from tests.surgery.test_refusals import as_it_stands

SMALL = dissect(llama(num_hidden_layers=2))
STOPPED = [*((0, head) for head in range(6)), (1, 3)]


def stopped_at(line, operate):
    """An operation that is interrupted before this line of ours, of all that it runs; how many it ran."""
    ran = [0]

    def inside(frame, event, argument):
        if event == "line":
            ran[0] += 1
            if ran[0] == line:
                raise KeyboardInterrupt
        return inside

    def outside(frame, event, argument):
        name = frame.f_code.co_filename
        return inside if "/neural_plasticity/" in name or name.endswith("/contextlib.py") else None

    before = sys.gettrace()
    sys.settrace(outside)
    try:
        operate()
    except (KeyboardInterrupt, PlasticityError):
        pass
    finally:
        sys.settrace(before)
    return ran[0]


def as_remembered(surgeon):
    past = surgeon._past
    kept = deepcopy((past.modes, past.forgotten, past.woken, past.kept, past.counts))
    found = as_it_stands(surgeon.model) | {"past": (*kept, len(past.bank))}
    return {name: value for name, value in found.items() if name != "generator"}


@pytest.mark.parametrize("case", ["remove", "zero_weights", "gate", "refused", "revive", "forget"])
def test_an_operation_that_stops_at_one_of_25_lines_of_it_is_whole_or_was_never_begun(case, monkeypatch):
    if case == "refused":
        monkeypatch.setattr(Proof, "compare", lambda *_: (_ for _ in ()).throw(ProofFailed("as if")))

    def prepared():
        surgeon = deepcopy(ready)
        acts = {"revive": lambda: surgeon.revive(STOPPED), "forget": lambda: surgeon.forget(STOPPED)}
        mode = case if case in ("zero_weights", "gate") else "remove"
        return surgeon, acts.get(case, lambda: surgeon.prune(STOPPED, mode=mode))

    ready = Surgeon(llama(num_hidden_layers=2), anatomy=SMALL)
    if case in ("revive", "forget"):
        ready.prune(STOPPED)
    surgeon, operate = prepared()
    lines = stopped_at(0, operate)
    asleep, forgotten = surgeon.dormant, set(surgeon._past.forgotten)
    whole = as_remembered(surgeon)
    for line in range(7, lines, max(1, lines // 25)):
        surgeon, operate = prepared()
        before = as_remembered(surgeon)
        stopped_at(line, operate)
        after = as_remembered(surgeon)
        if not same(before, after):
            assert (surgeon.dormant, surgeon._past.forgotten) == (asleep, forgotten), line
            assert all(same(whole[each], after[each]) for each in ("logits", "marked", "hooks", "attributes", "modes", "past")), (
                line
            )


@pytest.mark.parametrize("mode", ["remove", "gate"])
def test_heads_awake_for_a_while_sleep_again_where_waking_or_putting_back_stops(mode):
    """At 8 of the lines that wake them, and at 8 of those that put all back, which are the last to run."""
    untouched, stops = llama(num_hidden_layers=2), []
    ready = Surgeon(deepcopy(untouched), anatomy=SMALL)
    ready.prune(STOPPED, mode=mode)

    def prepared():
        surgeon = deepcopy(ready)
        return surgeon, as_remembered(surgeon)

    def wakes(surgeon):
        try:
            with surgeon.awakened():
                pass
        except KeyboardInterrupt:
            stops.append(line)
            raise

    line = 0
    surgeon, _ = prepared()
    state = surgeon._body.state()
    last = stopped_at(0, lambda: surgeon._body.restore(state))
    lines = stopped_at(0, lambda: wakes(surgeon))
    tried = [*range(3, lines - last, (lines - last) // 8), *range(lines - last, lines - 3, last // 8)]
    for line in tried:
        surgeon, before = prepared()
        stopped_at(line, lambda surgeon=surgeon: wakes(surgeon))
        assert same(before, as_remembered(surgeon)), line
        surgeon.revive(STOPPED)
        assert torch.equal(logits(surgeon.model), logits(untouched)), line
    assert stops == tried


def test_heads_awake_for_a_while_sleep_again_where_what_is_done_with_them_stops():
    surgeon = Surgeon(llama(num_hidden_layers=2), anatomy=SMALL)
    surgeon.prune(STOPPED)
    before = as_remembered(surgeon)
    with pytest.raises(KeyboardInterrupt), surgeon.awakened():
        raise KeyboardInterrupt
    assert same(before, as_remembered(surgeon))
