"""What the tests of this room train, and on what."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from neural_plasticity.anatomy.dissect import dissect
from tests.anatomy.models import gpt2, llama

MODELS = {"llama": llama(), "gpt2": gpt2()}
ANATOMIES = {kind: dissect(model) for kind, model in MODELS.items()}
DROPOUT = {"embd_pdrop": 0.1, "attn_pdrop": 0.1, "resid_pdrop": 0.1}


def fresh(kind: str) -> Any:
    return deepcopy(MODELS[kind])


def batch(seed: int, samples: int = 2, length: int = 6) -> dict[str, Tensor]:
    ids = torch.randint(1, 50, (samples, length), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids, "labels": ids}


def learn(model: nn.Module, optimizer: Any, steps: int = 1, seed: int = 0) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        model(**batch(100 * seed + step)).loss.backward()
        optimizer.step()


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Alike bit for bit, the signs of zeros too."""
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) and torch.equal(value.signbit(), other[name].signbit()) for name, value in one.items()
    )
