"""Half precision: numbers close to those of float32 on the same weights, all finite."""

import numpy as np
import pytest
import torch

from neural_plasticity.signals.base import signals
from neural_plasticity.signals.measure import Measurement, measure
from tests.anatomy.models import gpt2, ids, llama

HALVES = [torch.bfloat16, torch.float16]
EVERY = [name for name in signals() if name != "wake"]
BATCHES = [{"input_ids": ids(6, 16), "labels": ids(6, 16)}]


def sharp(build, dtype: torch.dtype) -> torch.nn.Module:
    """Weights as large as trained ones, rounded to this precision."""
    model = build()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(6)
    return model.to(dtype)


@pytest.fixture(
    scope="module",
    params=[(build, dtype) for build in (llama, gpt2) for dtype in HALVES],
    ids=lambda pair: f"{pair[0].__name__}-{pair[1]}",
)
def pair(request) -> tuple[Measurement, Measurement]:
    build, dtype = request.param
    return measure(sharp(build, dtype), BATCHES, EVERY), measure(sharp(build, dtype).float(), BATCHES, EVERY)


def test_every_number_is_finite(pair):
    assert all(np.isfinite(grid.values).all() for grid in pair[0].values())


def test_entropy_is_that_of_float32(pair):
    half, single = pair
    assert np.abs(half["entropy"].values - single["entropy"].values).max() < 2e-2
    assert single["entropy"].values.std() > 0.01


@pytest.mark.parametrize("name", ["taylor", "fisher", "gradient", "output_norm"])
def test_heads_are_ranked_as_in_float32(pair, name):
    half, single = (measured[name].values.ravel().argsort().argsort() for measured in pair)
    assert np.corrcoef(half, single)[0, 1] > 0.9


@pytest.mark.parametrize(
    "name", ["taylor", "gradient", "sink", "self_token", "previous_token", "distance", "magnitude", "output_norm"]
)
def test_numbers_are_those_of_float32_within_a_few_percent(pair, name):
    half, single = pair
    np.testing.assert_allclose(half[name].values, single[name].values, rtol=0.1, atol=0.03 * np.abs(single[name].values).max())


def test_a_loss_scaled_by_many_predictions_does_not_overflow_in_half_precision():
    """The slopes are those of the sum over predictions; a batch of thousands must fit in float16 all the same."""
    batch = {"input_ids": ids(64, 32), "labels": ids(64, 32)}
    found, expected = (measure(sharp(gpt2, torch.float16).to(dtype), batch, ["taylor"]) for dtype in (torch.float16, torch.float32))
    np.testing.assert_allclose(found["taylor"].values, expected["taylor"].values, rtol=0.1, atol=1e-3)
