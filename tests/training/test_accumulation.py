"""Accumulated batches, held to one batch of all of them, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

from neural_plasticity.errors import TrainingError
from neural_plasticity.inputs.batches import padded
from neural_plasticity.training.course import Course
from neural_plasticity.training.recipe import Recipe
from tests.anatomy.models import gpt2, llama
from tests.surgery.models import SIZES, seeded, t5
from tests.training.models import weights

LENGTHS = (9, 3, 2, 7, 5, 9, 2, 4)
ROWS = [torch.randint(1, 50, (length,), generator=torch.Generator().manual_seed(length)).tolist() for length in LENGTHS]


def classifier() -> nn.Module:
    sizes = SIZES | {"vocab_size": 50, "num_labels": 3, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return seeded(lambda: BertForSequenceClassification(BertConfig(**sizes)))


def masked() -> nn.Module:
    sizes = SIZES | {"vocab_size": 50, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return seeded(lambda: BertForMaskedLM(BertConfig(**sizes)))


def translator() -> nn.Module:
    model = t5()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    return model


MODELS: dict[str, Any] = {
    "llama": llama,
    "gpt2": lambda: gpt2(embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0),
    "masked": masked,
    "translator": translator,
    "classifier": classifier,
}


def cut(kind: str, size: int) -> list[dict[str, Tensor]]:
    """The same rows in batches of so many."""
    found = []
    for start in range(0, len(ROWS), size):
        batch = padded(ROWS[start : start + size], 0)
        if kind == "classifier":
            batch["labels"] = batch["input_ids"][:, 0] % 3
        found.append(batch)
    return found


def trained(kind: str, size: int, **options: Any) -> tuple[dict[str, Tensor], list[float]]:
    model = MODELS[kind]().double()
    batches = cut(kind, size)
    optimizer = SGD(model.parameters(), lr=0.1)  # which does not blow up what rounding leaves of a slope of 0
    with Course(model, Recipe(accumulation=len(batches)), 3, optimizer=optimizer, **options) as course:
        losses = [course.step(batches) for _ in range(3)]
    return weights(model), [each.loss for each in losses] + [each.gradient_norm for each in losses]


def exact(outputs: Any, batch: dict[str, Tensor]) -> Tensor:
    """In float64, where the models' own losses are of float32."""
    return cross_entropy(outputs.logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())


LOSSES: dict[str, Any] = {
    "own": None,
    "a mean": lambda outputs, batch: outputs.loss,
    "a mean and a number": lambda outputs, batch: (exact(outputs, batch), batch["labels"][:, 1:].ne(-100).sum()),
}


@pytest.mark.parametrize(
    ("kind", "loss"), [*[(kind, "own") for kind in MODELS], ("gpt2", "a mean"), ("gpt2", "a mean and a number")]
)
def test_four_batches_of_two_are_one_of_eight_though_they_are_padded_unevenly(kind, loss):
    (one, numbers), (other, others) = trained(kind, 8, loss=LOSSES[loss]), trained(kind, 2, loss=LOSSES[loss])
    close = 1e-12 if loss == "a mean and a number" else 1e-6
    assert others == pytest.approx(numbers, rel=close)
    for name, value in one.items():
        assert torch.allclose(value, other[name], rtol=close, atol=close), name
    _, by_one = trained(kind, 1, loss=LOSSES[loss])
    assert by_one == pytest.approx(numbers, rel=close)


def test_a_mean_of_means_would_have_been_another():
    model = gpt2().double()
    with torch.no_grad():
        means = [float(model(**batch).loss) for batch in cut("gpt2", 2)]
        whole = float(model(**cut("gpt2", 8)[0]).loss)
    assert abs(sum(means) / 4 - whole) > 1e-3


def test_a_batch_without_labels_adds_nothing_and_none_with_any_is_refused():
    empty = {name: value.clone() for name, value in cut("gpt2", 2)[0].items()}
    empty["labels"].fill_(-100)
    full = cut("gpt2", 2)[1]
    found = []
    for batches in ([full], [empty, full], [full, empty]):
        model = MODELS["gpt2"]().double()
        found.append(Course(model, Recipe(accumulation=len(batches)), 1).step(batches))
    assert found[1].loss == pytest.approx(found[0].loss, rel=1e-12)
    assert found[2].gradient_norm == pytest.approx(found[0].gradient_norm, rel=1e-12)
    with pytest.raises(TrainingError, match="no batch has a label"):
        Course(MODELS["gpt2"](), Recipe(accumulation=2), 1).step([empty, empty])
