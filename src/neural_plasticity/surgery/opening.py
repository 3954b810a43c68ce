"""A saved model opened again: its weights read and checked, and put where a manifest says."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from torch import Tensor, nn
from transformers import GenerationConfig

from neural_plasticity.anatomy.past import Past, remember
from neural_plasticity.errors import ModelNotUsable, said
from neural_plasticity.surgery.body import Body
from neural_plasticity.surgery.cut import Weights
from neural_plasticity.surgery.gating import GATE
from neural_plasticity.surgery.manifest import MISREAD, OURS, misread, past_from, read_manifest
from neural_plasticity.surgery.skeleton import UNBUILT, built, shapes_of

Tensors = dict[str, Tensor]


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensors]]:
    """A manifest and the tensors that it names; again from the start where another save came in between."""
    while True:
        manifest = read_manifest(folder)
        try:
            return manifest, {role: _read_tensors(folder, entry) for role, entry in manifest["files"].items()}
        except FileNotFoundError as fault:
            if read_manifest(folder) == manifest:
                raise ModelNotUsable(
                    f"{folder} lacks {Path(str(fault.filename)).name}, which holds weights; restore it from a copy."
                ) from fault
        except MISREAD as fault:
            raise misread(folder, fault) from fault
        except OSError as fault:
            raise ModelNotUsable(f"The weights in {folder} cannot be read ({said(fault)}); check the permissions.") from fault


def _read_tensors(folder: Path, entry: Mapping[str, Any]) -> Tensors:
    if not OURS.fullmatch(entry["name"]):
        raise ValueError(f"a file named {entry['name']!r:.80}")
    path = folder / entry["name"]
    content = path.read_bytes()  # once: by its name it may be gone the next moment
    if len(content) != entry["bytes"]:
        raise ModelNotUsable(f"{path} is {len(content)} bytes long and was {entry['bytes']} when saved; restore it from a copy.")
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ModelNotUsable(f"{path} is not as it was saved: its checksum differs; restore it from a copy.")
    try:
        return parse(content)
    except SafetensorError as fault:
        raise ModelNotUsable(f"{path} cannot be read ({said(fault)}); restore it from a copy.") from fault


def opened(
    folder: Path, manifest: Mapping[str, Any], tensors: Mapping[str, Tensors], dtype: torch.dtype | None = None
) -> nn.Module:
    """The model of a manifest."""
    try:
        model = built(manifest)
    except UNBUILT as fault:
        raise misread(folder, fault) from fault
    fill(folder, model, manifest, tensors, dtype)
    return model


def fill(
    folder: Path,
    model: Any,
    manifest: Mapping[str, Any],
    tensors: Mapping[str, Tensors],
    dtype: torch.dtype | None = None,
) -> None:
    """Let an untouched model be cut as the past of a manifest says, its weights in their places."""
    try:
        past = past_from(manifest)
        _fill_bank(past, tensors.get("bank", {}))
        weights = {name: _in_dtype(tensor, dtype) for name, tensor in tensors.get("weights", {}).items()}
        entries, buffers = _entries(weights, manifest["tied"]), tensors.get("buffers", {})
        _require_fitting(folder, model, past, entries, buffers)
        for axis, places in past.kept.items():
            Weights(model).refit(axis, None, places)
        made = {id(tensor): nn.Parameter(tensor, requires_grad=tensor.is_floating_point()) for tensor in weights.values()}
        _put(model, {name: tensor for name, tensor in entries.items() if not name.endswith(GATE)}, made)
        Body(model, past).settle()
        _put(model, {name: tensor for name, tensor in entries.items() if name.endswith(GATE)}, made)
        for name in manifest.get("frozen", ()):
            model.get_parameter(name).requires_grad_(False)
        for name, tensor in buffers.items():
            _holder(model, name)[name.rpartition(".")[2]] = tensor
        if dtype is not None:
            model.config.dtype = dtype
        if manifest["generation"] is not None:
            model.generation_config = GenerationConfig.from_dict(manifest["generation"])
    except MISREAD as fault:
        raise misread(folder, fault) from fault
    remember(model, past if past.modes or past.woken else None)


def _entries(weights: Tensors, tied: Mapping[str, str]) -> Tensors:
    """Each weight under each of its names."""
    return weights | {name: weights[first] for name, first in tied.items()}


def _fill_bank(past: Past, tensors: Tensors) -> None:
    pieces = list(past.bank.values())
    for key, tensor in tensors.items():
        number, _, name = key.partition(":")
        pieces[int(number)][name] = tensor
    if not all("" in piece for piece in pieces):
        raise ValueError("pieces that the bank lacks")


def _require_fitting(folder: Path, model: nn.Module, past: Past, entries: Tensors, buffers: Tensors) -> None:
    """A refusal of weights that are not each of the model's and no others, in their shapes, before anything is touched."""
    state = shapes_of(model, past)
    other = {name for name in state.keys() & entries.keys() if state[name] != entries[name].shape}
    other |= {
        name
        for name, tensor in buffers.items()
        if (own := _holder(model, name).get(name.rpartition(".")[2])) is None or own.shape != tensor.shape
    }
    for names, fault in (
        (state.keys() - entries.keys(), "lack"),
        (entries.keys() - state.keys(), "have, and the model does not,"),
        (other, "hold in another shape"),
    ):
        if names:
            shown = ", ".join(sorted(names)[:3])
            raise ModelNotUsable(
                f"The weights in {folder} {fault} {shown}"
                + (f" and {len(names) - 3} more" if len(names) > 3 else "")
                + "; save the model anew, or open it with the version of transformers that it was saved with."
            )


def _holder(model: nn.Module, name: str) -> dict[str, Tensor | None]:
    """The buffers of the module that holds the one of this name."""
    return model.get_submodule(name.rpartition(".")[0])._buffers


def _put(model: nn.Module, entries: Tensors, made: Mapping[int, nn.Parameter]) -> None:
    """Weights in their places."""
    for name, tensor in entries.items():
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        if leaf in module._parameters:
            module._parameters[leaf] = made[id(tensor)]
        else:
            module._buffers[leaf] = tensor


def _in_dtype(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)
