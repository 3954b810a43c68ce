"""The model as it was built, before any operation: what an operated one is measured against."""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from neural_plasticity.anatomy.past import past_of
from neural_plasticity.anatomy.taps import OPERATED, original
from neural_plasticity.errors import SurgeryError, said
from neural_plasticity.surgery.counts import underlying
from neural_plasticity.surgery.manifest import ATTENTION, towers
from neural_plasticity.surgery.skeleton import UNBUILT, constructed, switches_for


def untouched(model: nn.Module) -> nn.Module:
    """A fresh model with all the heads that this one was built with, in evaluation mode, its weights random.

    It has the dtype, the device and the attention implementation of the model. The generators of the caller stay as
    they are. It takes as much memory again as the model did before it lost heads.
    """
    root = original(model)
    device = _device(root)
    twin = _built(root).to(device)
    dtypes = {name: tensor.dtype for name, tensor in _tensors(root)}
    for name, tensor in _tensors(twin):
        tensor.data = tensor.data.to(dtypes.get(name, tensor.dtype))
    return twin.eval()


def _built(model: nn.Module) -> nn.Module:
    config: Any = getattr(model, "config", None)
    if not isinstance(model, PreTrainedModel) or not isinstance(config, PreTrainedConfig):
        raise _refused(model, "is no model of transformers, which one config would describe")
    if getattr(model, "hf_quantizer", None) is not None:
        raise _refused(model, "holds quantised weights, which no config alone makes again")
    own = copy.deepcopy(underlying(config))
    for _, each in towers(own):
        setattr(each, ATTENTION, (getattr(each, ATTENTION, None) or "").removeprefix(OPERATED) or None)
    switches = switches_for(model, own, past_of(model), partial(_refused, model))
    with torch.random.fork_rng(devices=[]):  # only the CPU's: a model is made there, and moved
        torch.default_generator.manual_seed(0)
        try:
            return constructed(type(model), own, switches)
        except UNBUILT as fault:
            raise _refused(model, f"cannot be built again from its config, where it raises {said(fault)}") from fault


def _device(model: nn.Module) -> torch.device:
    found = {tensor.device for _, tensor in _tensors(model)}
    if len(found) != 1 or torch.device("meta") in found:
        seen = ", ".join(sorted(map(str, found))) or "no device"
        raise _refused(model, f"lies on {seen} and not on one device that computes")
    return found.pop()


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and buffer by its name, each once."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def _refused(model: nn.Module, why: str) -> SurgeryError:
    return SurgeryError(f"{type(model).__name__} {why}, so there is no untouched model to compare with; load one and pass it on.")
