"""What cannot be measured is refused in one sentence that says what, where and what to do."""

import pytest
import torch

from neural_plasticity.errors import InputError, NotMeasurable, PlasticityError, SettingNotUsable
from neural_plasticity.signals.measure import measure
from tests.anatomy.models import ids, llama
from tests.anatomy.test_dissect import same, state
from tests.conformance.families import FAMILIES

BATCH = {"input_ids": ids(2, 6), "labels": ids(2, 6)}


def refusal(kind: type[PlasticityError], batches: object = BATCH, model: torch.nn.Module | None = None, **how: object) -> str:
    """The sentence; the model stays as it was."""
    model = llama() if model is None else model
    before = state(model)
    with pytest.raises(kind) as raised:
        measure(model, batches, **{"signals": ["taylor", "entropy"]} | how)
    if all(bool(each.isfinite().all()) for each in model.parameters()):
        assert same(before, state(model))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_labels_that_are_missing():
    said = refusal(NotMeasurable, {"input_ids": ids(2, 6)})
    assert "LlamaForCausalLM" in said
    assert "input_ids" in said
    assert "next_token" in said
    assert "self_distillation" in said
    assert "own" not in said.replace("own ", "").split()
    refusal(NotMeasurable, {"input_ids": ids(2, 6)}, signals=["ablation"])
    refusal(NotMeasurable, {"input_ids": ids(2, 6)}, signals=["gradient"])


def test_without_a_loss_to_take_slopes_of_no_labels_are_needed():
    assert measure(llama(), {"input_ids": ids(2, 6)}, ["entropy", "output_norm", "magnitude", "distance"]).samples == 2


@pytest.mark.parametrize(("wrong", "right"), [("entropie", "entropy"), ("tailor", "taylor"), ("Fisher", "fisher")])
def test_a_signal_that_nobody_knows(wrong, right):
    said = refusal(SettingNotUsable, signals=["entropy", wrong])
    assert f"'{wrong}'" in said
    assert f"did you mean {right}" in said


def test_a_signal_that_is_like_no_other():
    assert "magnitude" in refusal(SettingNotUsable, signals=["qqqqq"])


def test_an_objective_that_nobody_knows():
    said = refusal(SettingNotUsable, loss="nonsense")
    assert "'nonsense'" in said
    assert "next_token" in said


@pytest.mark.parametrize("wrong", [ids(2, 6), [1, 2, 3], "text", None, 7])
def test_a_batch_that_is_no_mapping(wrong):
    said = refusal(InputError, [BATCH, wrong])
    assert "Batch 2" in said
    assert type(wrong).__name__ in said
    assert "Batch 1" in refusal(InputError, [wrong])


@pytest.mark.parametrize("signals", [["entropy"], ["taylor"], ["gradient"], ["ablation"], ["redundancy"], ["output_norm"], None])
@pytest.mark.parametrize("batches", [(), iter(())], ids=["tuple", "iterator"])
def test_no_batches_at_all(batches, signals):
    assert "batch" in refusal(PlasticityError, batches, signals=signals)


def test_weights_alone_need_no_batches():
    assert (measure(llama(), [], ["magnitude"])["magnitude"].values > 0).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("signals", [["entropy"], ["taylor"], ["gradient"], ["output_norm"], ["redundancy"], ["ablation"]])
def test_weights_that_are_not_finite(value, signals):
    model = llama()
    with torch.no_grad():
        model.model.layers[1].self_attn.v_proj.weight[3, 3] = value
    said = refusal(NotMeasurable, [BATCH, BATCH], model, signals=signals)
    if signals != ["ablation"]:
        assert "Layer 1 (model.layers.1.self_attn), batch 1" in said


@pytest.mark.parametrize("signals", [["entropy"], ["sink"], ["distance"]])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_queries_that_are_not_finite(signals, attention):
    model = llama(attn_implementation=attention)
    with torch.no_grad():
        model.model.layers[2].self_attn.q_proj.weight[3, 3] = float("nan")
    assert "Layer 2" in refusal(NotMeasurable, BATCH, model, signals=signals)


def test_the_batch_that_is_not_finite_is_named():
    embedded = llama().model.embed_tokens(ids(2, 6)).detach()
    poisoned = embedded.clone()
    poisoned[1, 2, 0] = float("nan")
    said = refusal(NotMeasurable, [{"inputs_embeds": embedded}, {"inputs_embeds": poisoned}], signals=["entropy"])
    assert "Layer 0" in said
    assert "batch 2" in said


@pytest.mark.parametrize("signals", [["taylor"], ["gradient"], ["ablation"]])
def test_a_loss_that_is_no_single_finite_number(signals):
    def each(outputs, batch):
        return outputs.logits.mean(-1)

    def nan(outputs, batch):
        return outputs.loss * float("nan")

    said = refusal(NotMeasurable, loss=each, signals=signals)
    assert "(2, 6)" in said
    assert "Batch 1" in said
    said = refusal(NotMeasurable, loss=nan, signals=signals)
    assert "nan" in said
    assert "Batch 1" in said


@pytest.mark.parametrize("wrong", [None, 0.5, "loss"])
def test_a_loss_function_that_gives_no_tensor(wrong):
    assert "loss" in refusal(PlasticityError, loss=lambda outputs, batch: wrong)


def test_a_loss_that_no_gate_reaches():
    """A constant has no slopes; zero would be a guess."""
    assert "loss" in refusal(PlasticityError, loss=lambda outputs, batch: torch.tensor(1.0))


def test_next_token_of_a_model_that_predicts_none():
    model = FAMILIES["vit"].build(5)
    said = refusal(NotMeasurable, FAMILIES["vit"].example(model, 5), model, loss="next_token")
    assert "next_token needs logits" in said


def test_a_model_with_nothing_to_take_apart():
    with pytest.raises(PlasticityError):
        measure(torch.nn.Linear(3, 3), {"input": torch.zeros(1, 3)}, ["entropy"])
