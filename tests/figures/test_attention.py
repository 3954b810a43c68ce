"""Attention maps read back, whatever they come in."""

import numpy as np
import pytest
import torch

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.attention import visualize_attention_matrix, visualize_attention_patterns
from neural_plasticity.heads import HeadId
from tests.figures.reading import bar_label, limits_of, titled, values_of, words


def softmaxed(*shape: int) -> np.ndarray:
    weights = np.exp(np.random.default_rng(len(shape)).normal(size=shape))
    return weights / weights.sum(-1, keepdims=True)


LAYERS = [softmaxed(2, 3, 5, 5), softmaxed(2, 3, 5, 5)[::-1].copy()]


@pytest.mark.parametrize(
    ("attention", "layer", "head", "wanted"),
    [
        (LAYERS[0][0, 1], 0, 0, LAYERS[0][0, 1]),
        (LAYERS[0][0, 1].tolist(), 0, 0, LAYERS[0][0, 1]),
        (LAYERS[0][0], 7, 2, LAYERS[0][0, 2]),
        (LAYERS[0], 7, 2, LAYERS[0][0, 2]),
        (torch.tensor(LAYERS[0], requires_grad=True), 0, 2, LAYERS[0][0, 2]),
        (LAYERS, 1, 2, LAYERS[1][0, 2]),
        (tuple(map(torch.tensor, LAYERS)), 1, 0, LAYERS[1][0, 0]),
        (np.stack(LAYERS), 1, 0, LAYERS[1][0, 0]),
        ([layer[0] for layer in LAYERS], 1, 1, LAYERS[1][0, 1]),
        (dict(enumerate(LAYERS)), 1, 1, LAYERS[1][0, 1]),
        ({HeadId(4, 2): LAYERS[0][:, 2], HeadId(4, 0): LAYERS[0][:, 0]}, 4, 2, LAYERS[0][0, 2]),
        ({(4, 2): LAYERS[0][0, 2]}, 4, 2, LAYERS[0][0, 2]),
    ],
)
def test_the_map_of_the_chosen_head_is_drawn(attention, layer, head, wanted):
    figure = visualize_attention_matrix(attention, layer, head)
    np.testing.assert_array_equal(values_of(figure.axes[0]), wanted)
    assert f"layer {layer}, head {head}" in " ".join(words(figure))


@pytest.mark.parametrize(
    "weights", [np.eye(3), np.full((3, 3), 1 / 3), np.zeros((1, 1)), softmaxed(700, 700), np.full((2, 2), np.nan)]
)
def test_the_scale_is_always_0_to_1(weights):
    for figure in (visualize_attention_matrix(weights), visualize_attention_patterns(weights[None])):
        assert limits_of(figure.axes[0]) == (0.0, 1.0)
        assert bar_label(figure) == "attention weight"


def test_8_bits_of_precision_are_precise_enough():
    weights = torch.tensor(softmaxed(3, 4, 4)).bfloat16()
    np.testing.assert_array_equal(values_of(visualize_attention_matrix(weights, 0, 1).axes[0]), weights[1].double().numpy())


def test_of_several_samples_the_first_is_shown_and_that_is_said():
    assert any("sample 1 of 2" in text for text in words(visualize_attention_matrix(LAYERS[0])))
    assert any("sample 1 of 2" in text for text in words(visualize_attention_patterns(LAYERS[0])))


@pytest.mark.parametrize(
    "wrong", [np.full((3, 3), 2.0), -np.eye(3), np.zeros(3), np.zeros((0, 0)), np.zeros((1, 1, 1, 1, 1, 1)), "text", [], {}]
)
def test_what_is_no_attention_is_refused(wrong):
    with pytest.raises(SettingNotUsable):
        visualize_attention_matrix(wrong)


@pytest.mark.parametrize(("layer", "head"), [(2, 0), (-1, 0), (0, 3), (0, -1)])
def test_layers_and_heads_that_are_not_there_are_refused(layer, head):
    for attention in (LAYERS, dict(enumerate(LAYERS))):
        with pytest.raises(SettingNotUsable, match="idx is"):
            visualize_attention_matrix(attention, layer, head)


def test_all_heads_stand_side_by_side_under_one_scale():
    figure = visualize_attention_patterns(LAYERS, 1)
    for head in range(3):
        np.testing.assert_array_equal(values_of(titled(figure, f"head {head}")), LAYERS[1][0, head])
    some = visualize_attention_patterns(LAYERS, 1, [2, 0])
    assert [axes.get_title(loc="left") for axes in some.axes[:2]] == ["head 2", "head 0"]
    one = visualize_attention_patterns(LAYERS, 1, 2)
    np.testing.assert_array_equal(values_of(one.axes[0]), LAYERS[1][0, 2])
    with pytest.raises(SettingNotUsable):
        visualize_attention_patterns(LAYERS, 1, [])


def test_64_heads_have_64_panels():
    figure = visualize_attention_patterns(softmaxed(64, 3, 3))
    assert sum(bool(axes.images) for axes in figure.axes) == 64


def test_tokens_are_written_as_they_are_at_both_axes():
    tokens = ["a b", "$x$", "\n", "\\frac", "\x1b["]
    axes = visualize_attention_matrix(LAYERS[0], tokens=tokens).axes[0]
    said = [text.get_text() for text in axes.get_xticklabels()]
    assert said == ["a·b", "$x$", "\\n", "\\frac", "□["]
    assert said == [text.get_text() for text in axes.get_yticklabels()]
    assert not any(text.get_parse_math() for text in (*axes.get_xticklabels(), *axes.get_yticklabels()))
    with pytest.raises(SettingNotUsable, match="4 tokens and 5 keys"):
        visualize_attention_matrix(LAYERS[0], tokens=tokens[:4])


def test_the_newest_queries_bear_the_newest_tokens_where_there_are_fewer_queries_than_keys():
    axes = visualize_attention_matrix(softmaxed(2, 5), tokens=list("abcde")).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["d", "e"]
