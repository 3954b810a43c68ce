"""Cutting weights to what stays, and growing them back: the same parameters, other data."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers.pytorch_utils import Conv1D

from neural_plasticity.anatomy.bank import Part
from neural_plasticity.anatomy.past import Axis, Piece

Places = tuple[int, ...]

GATE = "plasticity_gate"  # the one sort of parameter that an operation brings: learnable factors of heads


class Weights:
    """A model's parameters and what optimizers hold for them, cut and grown along one axis at a time.

    A parameter stays the object that it is, so optimizers, ties and whoever else holds it still hold it. The old
    data is dropped, not written into, so that an operation can be taken back by putting it in place again.
    """

    def __init__(self, model: nn.Module, optimizers: Sequence[Optimizer] = ()) -> None:
        self._model, self._optimizers = model, optimizers
        self._written: set[str] = set()  # ever, by name: only these can need to be put back

    def attach(self, optimizers: Sequence[Optimizer]) -> None:
        """Cut and grow these optimizers' moments from now on, and no others."""
        self._optimizers = optimizers

    def size(self, axis: Axis) -> int:
        """How long an axis is now."""
        return self._model.get_parameter(axis[0]).shape[axis[1]]

    def take(self, part: Part, kept: Places | None) -> Piece:
        """A copy of a piece, of the weight and of all its moments; `kept` are the original places still there."""
        places = located(part.indices, kept)
        return {name: _select(tensor, axis, places).clone() for name, tensor, axis in self._alike(part.parameter, part.axis)}

    def put(self, part: Part, piece: Piece, kept: Places | None) -> None:
        """Write a piece where it was; moments that no optimizer holds any more are let go."""
        places = located(part.indices, kept)
        for name, tensor, axis in list(self._alike(part.parameter, part.axis)):
            if name in piece:
                index = torch.tensor(places, device=tensor.device)
                self._replace(
                    part.parameter, name, tensor.detach().index_copy(axis, index, piece[name].to(tensor.device, tensor.dtype))
                )

    def refit(self, axis: Axis, before: Places | None, after: Places) -> None:
        """Let an axis hold these original places; those that come anew are 0 until they are put back."""
        before = before if before is not None else tuple(range(self.size(axis)))
        known = {place: index for index, place in enumerate(before)}
        source = [(index, known[place]) for index, place in enumerate(after) if place in known]
        for name, tensor, along in list(self._alike(*axis)):
            shape = list(tensor.shape)
            shape[along] = len(after)
            fresh = tensor.new_zeros(shape)
            if source:
                to, where = (torch.tensor(column, device=tensor.device) for column in zip(*source, strict=True))
                fresh.index_copy_(along, to, tensor.detach().index_select(along, where))
            self._replace(axis[0], name, fresh)
        self._tell_module(axis, len(after))

    def state(self) -> dict[str, Any]:
        """Everything that an operation may change, to be put back by `restore`; nothing is copied."""
        tensors = {name: parameter.data for name, parameter in self._model.named_parameters()}
        grads = {name: parameter.grad for name, parameter in self._model.named_parameters()}
        moments = [{key: dict(value) for key, value in each.state.items()} for each in self._optimizers]
        return {"data": tensors, "grads": grads, "moments": moments}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put everything back as it was."""
        for name, data in state["data"].items():
            parameter = self._model.get_parameter(name)
            if name in self._written or name.endswith(GATE):
                swap(parameter, data)
                for axis in range(data.dim()):
                    self._tell_module((name, axis), data.shape[axis])
            parameter.grad = state["grads"][name]
        for optimizer, moments in zip(self._optimizers, state["moments"], strict=True):
            for key, value in moments.items():
                optimizer.state[key].clear()
                optimizer.state[key].update(value)

    def _alike(self, name: str, axis: int) -> Iterator[tuple[str, Tensor, int]]:
        """The weight, as "", and every moment that has a matching axis, with the axis it has there."""
        parameter = self._model.get_parameter(name)
        yield "", parameter.data, axis
        for number, optimizer in enumerate(self._optimizers):
            for key, moment in optimizer.state.get(parameter, {}).items():
                along = _matching(parameter, key, moment, axis)
                if along is not None:
                    yield f"{number}.{key}", moment, along

    def _replace(self, name: str, which: str, fresh: Tensor) -> None:
        parameter = self._model.get_parameter(name)
        if not which:
            self._written.add(name)
            swap(parameter, fresh)
            return
        number, _, key = which.partition(".")
        self._optimizers[int(number)].state[parameter][key] = fresh

    def _tell_module(self, axis: Axis, size: int) -> None:
        """Let a projection's own account of its widths be true."""
        name, _, leaf = axis[0].rpartition(".")
        module = self._model.get_submodule(name)
        if leaf != "weight":
            return
        names: tuple[str, str] | None = None
        if isinstance(module, Conv1D):
            names = ("nx", "nf")
        elif hasattr(module, "in_features") and hasattr(module, "out_features"):
            names = ("out_features", "in_features")
        if names is not None and axis[1] < len(names):
            setattr(module, names[axis[1]], size)


def swap(parameter: nn.Parameter, data: Tensor) -> None:
    """Give a parameter other data; its gradient, of another shape perhaps, is let go.

    It changes its dtype on the way: only that makes autograd forget the shape that gradients had so far.
    """
    parameter.grad = None
    parameter.data = data.new_empty(0, dtype=torch.float32 if data.dtype == torch.float64 else torch.float64)
    parameter.data = data


def located(indices: Places, kept: Places | None) -> list[int]:
    """Where original places lie now."""
    if kept is None:
        return list(indices)
    known = {place: index for index, place in enumerate(kept)}
    return [known[place] for place in indices]


def _select(tensor: Tensor, axis: int, places: list[int]) -> Tensor:
    return tensor.detach().index_select(axis, torch.tensor(places, dtype=torch.long, device=tensor.device))


def _matching(parameter: Tensor, key: str, moment: Any, axis: int) -> int | None:
    """The axis of a moment that goes along with a parameter's: the same one, or what a factored moment has left of it."""
    if not isinstance(moment, Tensor) or not moment.dim():
        return None
    if moment.dim() == parameter.dim():
        return axis if moment.shape[axis] == parameter.shape[axis] else None
    if moment.dim() != parameter.dim() - 1:
        return None
    dropped = parameter.dim() - (2 if "col" in key else 1)  # of a factored moment: columns keep the last axis, rows do not
    return None if axis == dropped else axis - (axis > dropped)
