"""Chance that belongs to a step: what dropout draws depends on the seed and the step's number, and on nothing before."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def drawn_for(model: nn.Module, seed: int, step: int) -> Iterator[None]:
    """All global generators that the model may draw from, seeded for this step until the block ends, then as they were."""
    own = int(np.random.SeedSequence((seed, step)).generate_state(1)[0])
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type not in ("cpu", "meta")}
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
    elsewhere = [(device, _module(device).get_rng_state(*_which(device))) for device in devices]
    try:
        torch.default_generator.manual_seed(own)
        np.random.seed(own)
        random.seed(own)
        for device in devices:
            _seed(device, own)
        yield
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])
        for device, state in elsewhere:
            _module(device).set_rng_state(state, *_which(device))


def _seed(device: torch.device, seed: int) -> None:
    module = _module(device)
    if device.type == "cuda":
        with module.device(device):  # `manual_seed` is of the current device only
            module.manual_seed(seed)
    else:
        module.manual_seed(seed)


def _module(device: torch.device) -> Any:
    return torch.get_device_module(device)


def _which(device: torch.device) -> tuple[torch.device, ...]:
    return (device,) if device.type == "cuda" else ()
