"""The seed documents' names, and the maps behind the pictures."""

import math

import numpy as np
import pytest
import torch

import neural_plasticity as plasticity
from neural_plasticity import NeuralPlasticity
from neural_plasticity.anatomy.bank import parts_of
from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.errors import NotDissectable, NotMeasurable, SettingNotUsable
from tests.anatomy.models import gpt2, ids, llama
from tests.conformance.families import FAMILIES


def maps(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).softmax(-1)


def entropy_by_hand(weights: torch.Tensor) -> np.ndarray:
    batch, heads, queries, _ = weights.shape
    found = np.zeros(heads)
    for head in range(heads):
        rows = [row for sample in range(batch) for row in weights[sample, head].double().tolist()]
        found[head] = sum(-sum(p * math.log(p) for p in row if p > 0) for row in rows) / (batch * queries)
    return found


def test_entropy_of_one_layer_has_a_value_a_head():
    found = plasticity.calculate_head_entropy(maps(2, 3, 5, 5))
    np.testing.assert_allclose(found, entropy_by_hand(maps(2, 3, 5, 5)), rtol=1e-5)


@pytest.mark.parametrize("shape", [tuple, list, lambda layers: dict(enumerate(layers))])
def test_entropy_of_several_layers_is_layers_by_heads_and_ragged_ones_hold_nan(shape):
    layers = [maps(1, 3, 4, 4), maps(1, 2, 4, 4)]
    found = plasticity.calculate_entropy(shape(layers))
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found[0], entropy_by_hand(layers[0]), rtol=1e-5)
    np.testing.assert_allclose(found[1, :2], entropy_by_hand(layers[1]), rtol=1e-5)
    assert math.isnan(found[1, 2])


def test_entropy_takes_numpy_and_one_sample_and_leaves_out_rows_without_weight():
    weights = maps(3, 4, 4)
    padded = torch.cat([weights, torch.zeros(3, 1, 4)], 1)
    np.testing.assert_allclose(plasticity.calculate_head_entropy(padded.numpy()), entropy_by_hand(weights[None]), rtol=1e-5)


def test_a_head_without_any_row_of_weight_has_no_entropy():
    weights = maps(2, 3, 4, 4)
    weights[:, 1] = 0
    found = plasticity.calculate_head_entropy(weights)
    np.testing.assert_allclose(found[[0, 2]], entropy_by_hand(weights)[[0, 2]], rtol=1e-5)
    assert math.isnan(found[1])
    assert plasticity.calculate_head_entropy(torch.zeros(1, 3, 0, 0)).isnan().tolist() == [True] * 3


def test_layers_of_a_dict_stand_at_their_numbers():
    layers = {2: maps(1, 3, 4, 4), 0: maps(1, 2, 5, 5)}
    found = plasticity.calculate_head_entropy(layers)
    np.testing.assert_allclose(found[2], entropy_by_hand(layers[2]), rtol=1e-5)
    np.testing.assert_allclose(found[0, :2], entropy_by_hand(layers[0]), rtol=1e-5)
    assert found.isnan().nonzero().tolist() == [[0, 2], [1, 0], [1, 1], [1, 2]]


def test_maps_that_cannot_be_written_or_are_of_half_numbers_are_read():
    weights = maps(1, 3, 4, 4)
    array = weights.numpy().copy()
    array.flags.writeable = False
    np.testing.assert_allclose(plasticity.calculate_head_entropy(array), entropy_by_hand(weights), rtol=1e-5)
    np.testing.assert_allclose(plasticity.calculate_head_entropy(weights.bfloat16()), entropy_by_hand(weights), atol=0.02)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            torch.ones(2, 3, 4, 4),
            "attention_maps holds no attention weights but numbers from 1 to 1, in rows that add up to 4 to 4; pass",
        ),
        (torch.randn(2, 3, 4, 4), "holds no attention weights but numbers from -"),
        (maps(1, 3, 4, 4) * float("nan"), "numbers from nan to nan"),
        (torch.ones(4, 4), r"is of shape \(4, 4\) and type torch.float32; pass floats, \(batch, heads, queries, keys\)"),
        (torch.ones(1, 1, 2, 2).long(), "type torch.int64; pass floats"),
        ([], r"attention_maps=\[\] holds no layers; pass a tensor"),
        (None, "attention_maps=None holds no layers; pass a tensor"),
        (3, "attention_maps=3 holds no layers"),
        ("maps", "attention_maps='maps' holds no layers"),
        (
            {"first": maps(1, 3, 4, 4)},
            "attention_maps={'first': .* holds no layers; pass a tensor, or one for each layer in a list or by",
        ),
        ((None, None), "The map of layer 0 is a NoneType; pass floats, .* attends by attn_implementation='eager'"),
        ([maps(1, 3, 4, 4), [[1.0], [0.5, 0.5]]], "The map of layer 1 is a list; pass floats"),
    ],
)
def test_what_is_no_attention_map_is_refused(wrong, said):
    with pytest.raises(SettingNotUsable, match=said) as refusal:
        plasticity.calculate_head_entropy(wrong)
    assert str(refusal.value).count(". ") == 0


def test_entropy_of_maps_is_the_entropy_that_is_measured():
    model = llama()
    batch = {"input_ids": ids(2, 9)}
    weights = plasticity.attention(model, batch)
    stacked = [torch.stack([weights[layer, head] for head in range(6)], 1) for layer in range(3)]
    measured = plasticity.measure(model, batch, ["entropy"])["entropy"].values
    np.testing.assert_allclose(plasticity.calculate_head_entropy(stacked), measured, atol=1e-5)


def test_gradients_of_heads_are_those_of_their_slices():
    model = gpt2()
    batch = {"input_ids": ids(2, 9), "labels": ids(2, 9)}
    found = plasticity.calculate_head_gradients(model, [batch, {"nothing": 0}], num_batches=1, device="cpu")
    assert all(parameter.grad is None for parameter in model.parameters())
    model(**batch).loss.backward()
    for site in dissect(model):
        for head in range(site.heads):
            pieces = [part.within(model.get_parameter(part.parameter).grad) for part in parts_of(model, site, head)]
            expected = math.sqrt(sum(float(piece.double().square().sum()) for piece in pieces))
            assert float(found[site.layer, head]) == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(plasticity.get_gradient_norms(model), found, rtol=1e-4, atol=0)


def test_a_model_without_gradients_has_no_norms_of_them():
    with pytest.raises(NotMeasurable, match="backward"):
        plasticity.get_gradient_norms(gpt2())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"device": "cuda"}, "The model lies on cpu and device says cuda; move the model"),
        ({"device": "cpu:3"}, "The model lies on cpu and device says cpu:3; move the model"),
        ({"device": "nowhere"}, "device='nowhere' is not the name of a device; leave it out"),
        ({"num_batches": 0}, "num_batches=0 is no number of batches; pass a whole number from 1"),
        ({"num_batches": -1}, "num_batches=-1 is no number"),
        ({"num_batches": 1.5}, r"num_batches=1\.5 is no number"),
        ({"num_batches": True}, "num_batches=True is no number"),
    ],
)
def test_another_device_than_the_models_and_what_is_no_number_of_batches_is_refused(arguments, said):
    with pytest.raises(SettingNotUsable, match=said):
        plasticity.calculate_head_gradients(gpt2(), [], **arguments)


def test_what_is_no_model_has_no_gradient_norms():
    with pytest.raises(NotDissectable, match="A str is no model"):
        plasticity.get_gradient_norms("gpt2")


def test_the_class_of_the_seeds_analyses_a_model():
    model = llama()
    words = ids(2, 9)
    mask = torch.ones_like(words)
    mask[0, :3] = 0
    found = NeuralPlasticity.analyze_attention_patterns(model, words, mask)
    assert [tuple(layer.shape) for layer in found["attention_tensors"]] == [(2, 6, 9, 9)] * 3
    sums = found["attention_tensors"][0].sum(-1)
    torch.testing.assert_close(sums, mask.bool()[:, None].expand(-1, 6, -1).float())
    assert found["entropy_values"].shape == (3, 6)
    assert NeuralPlasticity.detect_attention_heads(model)[7] == (1, 1)
    importance = NeuralPlasticity.calculate_head_importance(model, [{"input_ids": words, "labels": words}])
    assert importance.shape == (3, 6)
    assert (importance > 0).all()


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5", "bloom", "gemma2", "vit", "swin"])
def test_maps_are_those_of_eager_attention(family):
    row = FAMILIES[family]
    model, eager = row.build(3), row.build(3, "eager")
    example = row.example(model, 3)
    anatomy = dissect(model, example)
    site = anatomy[len(anatomy.sites) - 1]
    seen = []

    def hook(module, arguments, result):
        seen.extend(each for each in result if isinstance(each, torch.Tensor) and each.dim() == 4 and each.shape[1] == site.heads)

    handle = eager.get_submodule(site.name).register_forward_hook(hook)
    with torch.no_grad():
        eager(**example, output_attentions=True)
    handle.remove()
    found = plasticity.attention(model, example, layers=[site.layer], heads=[1, 0], anatomy=anatomy)
    assert list(found) == [(site.layer, 0), (site.layer, 1)]
    expected = next(each for each in seen if torch.allclose(each.sum(-1), torch.ones(()), atol=1e-3))
    for head in (0, 1):
        torch.testing.assert_close(found[site.layer, head], expected[:, head].float(), atol=2e-5, rtol=1e-4)


def test_maps_of_heads_that_are_not_there_are_refused():
    with pytest.raises(SettingNotUsable, match="0:6, not \\[9\\]"):
        plasticity.attention(llama(), {"input_ids": ids(1, 4)}, layers=[0], heads=[9])
    with pytest.raises(SettingNotUsable, match="0:3"):
        plasticity.attention(llama(), {"input_ids": ids(1, 4)}, layers=[3])


def test_what_is_no_model_is_refused_in_words():
    with pytest.raises(SettingNotUsable, match=r"A str was given where a model goes \('gpt2'\); pass the loaded torch module"):
        plasticity.calculate_head_gradients("gpt2", [{"input_ids": torch.ones(1, 3, dtype=torch.long)}])
    with pytest.raises(NotDissectable, match="Identity has no parameters, so it has no heads either"):
        plasticity.measure(torch.nn.Identity(), {"input": torch.ones(1, 3)})
