"""What a surgeon refuses, in what words, and that whatever stops an operation leaves the model as it was."""

import socket

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.errors import NotBanked, NotRemovable, ProofFailed, SettingNotUsable, SurgeryError
from neural_plasticity.surgery.cut import Weights
from neural_plasticity.surgery.proof import Proof
from neural_plasticity.surgery.surgeon import Surgeon
from tests.anatomy.models import ids, llama
from tests.anatomy.test_dissect import same
from tests.surgery.models import PAST, logits, near, seen

MODES = ("zero_weights", "mask_forward", "gate", "remove")
ANATOMY = dissect(llama(num_hidden_layers=2))
WHOLE = [(0, head) for head in range(6)]


# --- words ---------------------------------------------------------------------------------------------------------------


def test_an_unknown_head_is_refused_with_what_there_is():
    surgeon = Surgeon(llama())
    for head in ((3, 0), (0, 6), (-1, 0)):
        with pytest.raises(SettingNotUsable, match=rf"no head {head[0]}\.{head[1]}: LlamaForCausalLM has 3 layers"):
            surgeon.prune([head])


def test_a_sleeping_head_is_not_put_to_sleep_again():
    surgeon = Surgeon(llama())
    surgeon.prune([(0, 1)], mode="gate")
    with pytest.raises(SettingNotUsable, match=r"Head 0\.1 is dormant already \(gate\); revive it first"):
        surgeon.prune([(0, 0), (0, 1)])
    assert surgeon.dormant == [(0, 1)]


def test_only_what_sleeps_is_woken():
    surgeon = Surgeon(llama())
    surgeon.prune([(0, 1), (1, 1)])
    surgeon.forget([(0, 1)])
    with pytest.raises(NotBanked, match=r"Head 0\.1 is removed and cannot be woken; those that sleep are 1\.1"):
        surgeon.revive([(0, 1)])
    with pytest.raises(NotBanked, match=r"Head 2\.0 is active and cannot be woken"):
        surgeon.revive([(2, 0)])
    with pytest.raises(NotBanked, match=r"Head 9\.9 "):
        surgeon.revive([(9, 9)])
    with pytest.raises(NotBanked, match=r"Head 0\.1 is removed"):
        surgeon.forget([(0, 1)])


def test_an_unknown_mode_is_refused_with_those_there_are():
    with pytest.raises(SettingNotUsable, match="no pruning mode 'burn'; choose one of zero_weights, mask_forward, gate, remove"):
        Surgeon(llama()).prune([(0, 0)], mode="burn")


@pytest.mark.parametrize("mode", [*MODES, "compressed"])
def test_no_heads_at_all_are_none_to_prune_to_try_to_wake_or_to_forget(mode):
    surgeon = Surgeon(llama())
    before = as_it_stands(surgeon.model)
    assert surgeon.prune([], mode=mode) == surgeon.revive(()) == 0
    surgeon.forget([])
    if mode != "compressed":
        with surgeon.trial([], mode):
            assert same(before, as_it_stands(surgeon.model))
    assert same(before, as_it_stands(surgeon.model))
    surgeon.prune([(0, 1)], "gate")
    before = as_it_stands(surgeon.model)
    assert surgeon.prune([], mode=mode) == surgeon.revive(()) == 0
    assert same(before, as_it_stands(surgeon.model))
    assert surgeon.dormant == [(0, 1)]


def test_heads_that_do_not_come_apart_are_refused_with_the_reason():
    from tests.conformance.families import FAMILIES

    with pytest.raises(NotRemovable, match=r"Layer 0 .*q_norm.*use mode='mask_forward'"):
        Surgeon(FAMILIES["olmo2"].build(0)).prune([(0, 0)])


def test_a_model_that_runs_on_nothing_is_refused():
    with pytest.raises(SurgeryError, match="runs on no input"):
        Proof(llama(), {"nothing": torch.ones(1)})


# --- graphs that are alive ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_loss_whose_backward_pass_has_not_run_stands_in_the_way(mode):
    model = llama().train()
    surgeon = Surgeon(model)
    loss = model(input_ids=ids(2, 5), labels=ids(2, 5)).loss
    with pytest.raises(SurgeryError, match="backward pass has not run; run it, or drop the loss") as refusal:
        surgeon.prune([(0, 1)], mode=mode)
    assert str(refusal.value).count(". ") == 0
    loss.backward()
    surgeon.prune([(0, 1)], mode=mode)  # though the loss is still there
    again = model(input_ids=ids(2, 5), labels=ids(2, 5)).loss
    again.backward()
    assert loss.isfinite()
    assert again.isfinite()


def test_a_loss_between_stands_in_the_way_of_waking_too():
    model = llama().train()
    surgeon = Surgeon(model)
    surgeon.prune([(0, 1)])
    loss = model(input_ids=ids(2, 5), labels=ids(2, 5)).loss
    with pytest.raises(SurgeryError, match="backward pass has not run"):
        surgeon.revive([(0, 1)])
    loss.backward()
    surgeon.revive([(0, 1)])


def test_a_view_of_a_weight_is_no_graph():
    """Somebody looks at a row, without gradients: no backward pass will ever come."""
    model = llama()
    surgeon = Surgeon(model)
    with torch.no_grad():
        row = model.model.layers[0].self_attn.q_proj.weight[0]
    surgeon.prune([(0, 1)])
    assert row.shape == (36,)


def test_a_refusal_that_somebody_keeps_does_not_stand_in_the_way():
    """As a notebook does: its frames hold what the model was running on."""
    from tests.conformance.families import FAMILIES

    family = FAMILIES["beit"]
    model = family.build(9)
    surgeon = Surgeon(model, example=family.example(model, 9))
    site = surgeon.anatomy[0]
    with pytest.raises(SurgeryError) as kept:
        surgeon.prune([(0, head) for head in range(site.heads)])
    surgeon.prune([(0, 0)])
    assert kept.value is not None


# --- wrappers -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def group():
    """A process group of one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_a_data_parallel_wrapper_is_refused_and_so_is_what_it_holds(group):
    """It keeps account of every weight as it was when it was wrapped around it."""
    model = llama()
    wrapped = DistributedDataParallel(model)
    with pytest.raises(SurgeryError, match="wrapped in DistributedDataParallel"):
        Surgeon(wrapped)
    surgeon = Surgeon(model)
    with pytest.raises(SurgeryError, match="or a data-parallel wrapper around the model"):
        surgeon.prune([(0, 0)])
    del wrapped
    surgeon.prune([(0, 0)])
    again = DistributedDataParallel(model)
    again(input_ids=ids(2, 5), labels=ids(2, 5)).loss.backward()


# --- whatever stops it ---------------------------------------------------------------------------------------------------------


def stop_at(monkeypatch, where: tuple[type, str], after: int, fault: type[BaseException] = KeyboardInterrupt) -> None:
    """Let a method of ours be interrupted once it has run this often, and have done its work."""
    owner, name = where
    countdown, whole = [after], getattr(owner, name)

    def interrupted(*arguments, **options):
        found = whole(*arguments, **options)
        countdown[0] -= 1
        if countdown[0] < 0:
            raise fault
        return found

    monkeypatch.setattr(owner, name, interrupted)


PLACES = {"proof": (Proof, "compare"), "cut": (Weights, "refit"), "put": (Weights, "put"), "taken": (Weights, "take")}


def as_it_stands(model: nn.Module) -> dict[str, object]:
    return seen(model) | {"logits": logits(model), "marked": hasattr(model, PAST)}


STOPS = [(mode, place) for mode in MODES for place in PLACES if mode in ("remove", "zero_weights") or place == "proof"]


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize(("mode", "place"), STOPS)
@pytest.mark.parametrize("heads", [[(0, 0), (1, 3), (1, 4), (1, 5)], WHOLE], ids=["some", "a whole site"])
def test_an_operation_that_is_interrupted_was_never_begun(heads, mode, place, after, monkeypatch):
    model = llama(num_hidden_layers=2)
    surgeon = Surgeon(model, anatomy=ANATOMY)
    before = as_it_stands(model)
    with monkeypatch.context() as patch:
        stop_at(patch, PLACES[place], after)
        try:
            surgeon.prune(heads, mode=mode)
        except KeyboardInterrupt:
            assert same(before, as_it_stands(model))
            assert surgeon.dormant == []
        else:
            surgeon_done = surgeon.dormant
            assert surgeon_done == sorted(heads)  # it did not come by that place as often
            return
    surgeon.prune(heads, mode=mode)
    surgeon.revive(heads)
    assert near(logits(model), before["logits"], share=0)


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize(("mode", "place"), STOPS)
def test_a_waking_that_is_interrupted_was_never_begun(mode, place, after, monkeypatch):
    model = llama(num_hidden_layers=2)
    surgeon = Surgeon(model, anatomy=ANATOMY)
    whole, heads = logits(model), [(0, 0), (1, 3), (1, 4), (1, 5)]
    surgeon.prune(heads, mode=mode)
    before = as_it_stands(model)
    with monkeypatch.context() as patch:
        stop_at(patch, PLACES[place], after)
        try:
            surgeon.revive(heads)
        except KeyboardInterrupt:
            assert same(before, as_it_stands(model))
            assert surgeon.dormant == heads
        else:
            return
    surgeon.revive(heads)
    assert torch.equal(logits(model), whole)


@pytest.mark.parametrize("mode", MODES)
def test_a_second_operation_that_fails_leaves_what_the_first_one_did(mode, monkeypatch):
    model = llama()
    surgeon = Surgeon(model)
    whole = logits(model)
    surgeon.prune([(0, 0)], mode=mode)
    before = as_it_stands(model)
    with monkeypatch.context() as patch, pytest.raises(ProofFailed):
        stop_at(patch, PLACES["proof"], 0, ProofFailed)
        surgeon.prune([(0, 1), (1, 1)], mode=mode)
    assert same(before, as_it_stands(model))
    surgeon.revive([(0, 0)])
    assert torch.equal(logits(model), whole)
