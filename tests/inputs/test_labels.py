"""Which label a model asks each position for, seen from its loss."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from neural_plasticity.inputs.labels import asks_for_next

LABELS = torch.tensor([[3, 1, 2, 0], [1, 1, 3, 2]])
LOGITS = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
OWN = cross_entropy(LOGITS.flatten(0, 1), LABELS.flatten())
NEXT = cross_entropy(LOGITS[:, :-1].flatten(0, 1), LABELS[:, 1:].flatten())
OUTPUTS = SimpleNamespace(logits=LOGITS)


@pytest.mark.parametrize(("loss", "is_next"), [(OWN, False), (NEXT, True), (1.01 * NEXT, True)])
def test_the_nearer_loss_is_the_models_and_it_does_not_change_its_mind(loss, is_next):
    model = nn.Linear(1, 1)
    assert asks_for_next(model, loss, OUTPUTS, LABELS) is is_next
    assert asks_for_next(model, OWN if is_next else NEXT, OUTPUTS, LABELS) is is_next


@pytest.mark.parametrize("nothing", [torch.tensor(float("nan")), torch.tensor(float("inf"))])
def test_a_loss_that_is_no_number_decides_nothing_for_later(nothing):
    model = nn.Linear(1, 1)
    asks_for_next(model, nothing, OUTPUTS, LABELS)
    assert asks_for_next(model, NEXT, OUTPUTS, LABELS) is True


def test_without_logits_by_position_the_declared_loss_decides():
    model = nn.Linear(1, 1)
    flat = SimpleNamespace(logits=LOGITS[..., 0])  # as many numbers as labels, and no classes
    assert asks_for_next(model, NEXT, flat, LABELS) is False
    assert asks_for_next(model, NEXT, SimpleNamespace(), LABELS) is False
