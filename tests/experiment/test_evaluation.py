"""Evaluation against the model's own loss and a plain loop."""

import copy
import math

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from neural_plasticity.errors import ModelNotUsable
from neural_plasticity.experiment.evaluation import Evaluator, Quality
from neural_plasticity.inputs.batches import batches, windows
from neural_plasticity.inputs.documents import Document


def places(windows):
    """The documents that windows are of."""
    return [window.document for window in windows]


TEXTS = ["def f(x):\n    return x\n", "import os\n\nclass A:\n    pass\n" * 3, "x"]


def by_hand(tiny, text: str, length: int) -> tuple[float, int]:
    """Summed loss and number of predicted tokens, window by window, through the model's own loss."""
    ids = tiny.tokenizer(text)["input_ids"]
    total, count = 0.0, 0
    for start in range(0, len(ids), length):
        window = torch.tensor([ids[start : start + length]])
        if window.shape[1] < 2:
            continue
        total += tiny.model(input_ids=window, labels=window).loss.item() * (window.shape[1] - 1)
        count += window.shape[1] - 1
    return total, count


@pytest.mark.parametrize(("length", "batch_size"), [(5, 1), (5, 4), (64, 2)])
def test_loss_per_document_is_the_models_own_whatever_the_batches(tiny, length, batch_size):
    documents = [Document(str(number), text) for number, text in enumerate(TEXTS)]
    evaluator = Evaluator(tiny.model, len(documents))
    for chosen, batch in batches(windows(tiny.tokenizer, documents, length), batch_size, pad=0):
        evaluator.add(places(chosen), batch)
    quality = evaluator.quality()
    expected = [by_hand(tiny, text, length) for text in TEXTS]
    assert quality.tokens == sum(count for _, count in expected)
    assert quality.loss_nats == pytest.approx(sum(total for total, _ in expected) / quality.tokens, rel=1e-5)
    for loss, (total, count) in zip(quality.document_losses, expected, strict=True):
        assert loss == pytest.approx(total / count, rel=1e-5) if count else math.isnan(loss)


def test_dropout_plays_no_part_and_the_mode_is_kept(tiny):
    model = copy.deepcopy(tiny.model)
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    documents = [Document("a", TEXTS[1])]
    losses = []
    for training in (True, False):
        model.train(training)
        evaluator = Evaluator(model, 1)
        found = batches(windows(tiny.tokenizer, documents, 16), 2, pad=0)
        losses += [evaluator.add(places(chosen), batch) for chosen, batch in found]
        assert model.training == training
    assert losses[: len(losses) // 2] == losses[len(losses) // 2 :]


def test_the_loss_of_a_batch_is_its_own(tiny):
    documents = [Document("a", TEXTS[0]), Document("b", TEXTS[1])]
    found = windows(tiny.tokenizer, documents, 64)
    evaluator = Evaluator(tiny.model, 2)
    losses = [evaluator.add(places(chosen), batch) for chosen, batch in batches(found, 1, pad=0)]
    np.testing.assert_allclose(losses, evaluator.quality().document_losses, rtol=1e-6)


def test_perplexity_is_the_exponential_and_infinite_where_that_overflows():
    assert Quality(1, math.log(20), np.zeros(1)).perplexity == pytest.approx(20)
    assert Quality(1, 1e4, np.zeros(1)).perplexity == math.inf


def test_a_model_that_predicts_no_tokens_is_refused():
    model = BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16))
    batch = {name: torch.ones(1, 4, dtype=torch.long) for name in ("input_ids", "attention_mask", "labels")}
    with pytest.raises(ModelNotUsable, match="BertModel gives no logits"):
        Evaluator(model, 1).add([], batch)


def test_the_embedded_model_knows_python(tiny):
    """Far better than chance on text it was not trained on: its vocabulary has 2048 tokens, so chance is 7.6 nats."""
    from neural_plasticity.inputs.texts import load_text

    documents = load_text("stdlib", "held_out")[:12]
    evaluator = Evaluator(tiny.model, len(documents))
    for chosen, batch in batches(windows(tiny.tokenizer, documents, 256)[:16], 8, pad=0):
        evaluator.add(places(chosen), batch)
    assert evaluator.quality().loss_nats < 3.2
