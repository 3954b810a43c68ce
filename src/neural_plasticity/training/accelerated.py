"""Accelerate, without the state that it shares by all of a process: each course has its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import GradientAccumulationPlugin
from torch.optim import Optimizer

from neural_plasticity.errors import SettingNotUsable, TrainingError, said

# The classes whose objects are all one: what each has is set aside while another's is in place.
_SHARED: tuple[Any, ...] = (PartialState, AcceleratorState, GradientState)
_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


class Accelerated:
    """An accelerator and an optimizer prepared by it, to be used within `here()` and nowhere else."""

    def __init__(self, optimizer: Optimizer, device: torch.device, precision: str | None, accumulation: int) -> None:
        _require_alone()
        self._own: list[dict[str, Any]] = [{} for _ in _SHARED]
        self._bare = optimizer
        self._step = optimizer.__dict__.get("step")
        with self.here():
            try:
                self.accelerator = Accelerator(
                    mixed_precision=precision or "no",
                    cpu=device.type == "cpu",
                    # As a plugin, since a bare number yields to the environment.
                    gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=accumulation, sync_with_dataloader=False),
                )
            except ValueError as fault:
                raise SettingNotUsable(
                    f"{precision} does not work on this {device.type} ({said(fault)}); use another precision."
                ) from fault
            self._require_apt(device, precision)
            self.optimizer = self.accelerator.prepare_optimizer(optimizer, device_placement=False)

    @contextmanager
    def here(self) -> Iterator[Accelerator | None]:
        """Our state in place of whatever else the process trains with, until the block ends."""
        theirs = _laid(self._own)
        try:
            yield getattr(self, "accelerator", None)
        finally:
            self._own = _laid(theirs)

    def _require_apt(self, device: torch.device, precision: str | None) -> None:
        accelerator = self.accelerator
        if precision == "fp16" and accelerator.scaler is None:
            raise SettingNotUsable(f"fp16 needs a GPU, and the model lies on {device}; use bf16, or none.")
        if accelerator.device.type != device.type or accelerator.num_processes != 1:
            raise TrainingError(
                f"Accelerate is set up for {accelerator.num_processes} processes on {accelerator.device}, and the model lies on "
                f"{device}; a course is of one process: clear the ACCELERATE_ variables of the environment."
            )

    def close(self) -> None:
        """No trace on the optimizer."""
        self._bare.__dict__.pop("step", None)  # where a scaler has been at work
        if self._step is not None:
            self._bare.__dict__["step"] = self._step


def _laid(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put these states in place; those that were there."""
    before = [dict(each._shared_state) for each in _SHARED]
    for each, state in zip(_SHARED, states, strict=True):
        each._shared_state.clear()
        each._shared_state.update(state)
    return before


def _require_alone() -> None:
    """A refusal among several processes: nobody would share gradients between them."""
    launched = os.environ.get("LOCAL_RANK", "-1") != "-1" or any(os.environ.get(name, "1") != "1" for name in _SIZES)
    grouped = torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    if launched or grouped:
        raise TrainingError(
            "This process is one of several that train together, and a course does not share gradients between them; "
            "start it without a launcher, or train with the callback for your own trainer."
        )
