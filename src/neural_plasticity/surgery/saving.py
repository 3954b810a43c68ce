"""Saving an operated model and opening it again: safetensors and a manifest, replaced in one step.

Weights go under fresh names, then the manifest that names them takes the place of the old one, then the old weights
go: whoever opens the folder, at any moment and after any crash, finds the old model or the new one. The manifest
alone decides. What plain transformers would read stands beside it only while the model is one that it can read.
"""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from neural_plasticity.anatomy.past import Past, past_of
from neural_plasticity.environment.devices import choose_device, choose_dtype
from neural_plasticity.errors import PlasticityError, SettingNotUsable, SurgeryError, said
from neural_plasticity.surgery.disk import digest, force, move, partial_of, replace, says, written
from neural_plasticity.surgery.manifest import MANIFEST, OURS, config_from, described
from neural_plasticity.surgery.modes import PruningMode
from neural_plasticity.surgery.opening import Tensors, fill, opened, read
from neural_plasticity.surgery.skeleton import switches_for

CONFIG, PLAIN_WEIGHTS, GENERATION = "config.json", "model.safetensors", "generation_config.json"
LOCK = ".saving.lock"
MODEL_TYPE = "neural_plasticity"  # which transformers does not know, and says so


def _bytes(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


_REFUSAL = _bytes({"model_type": MODEL_TYPE, "open_with": "neural_plasticity.load"})  # the config of what only `load` can open


def save(model: nn.Module, past: Past, folder: str | Path, *, bank: bool = True) -> None:
    """A folder that `load` opens as this model; without the bank, heads whose weights are away have gone for good."""
    manifest, weights = _told(model, past, bank)
    tied = manifest["tied"]
    groups = {"weights": weights, "buffers": _buffers(model), "bank": _pieces(past) if bank else {}}
    plain = not _is_structured(past) and set(tied) <= set(getattr(model, "all_tied_weights_keys", {}))
    beside = _beside(manifest) if plain else {CONFIG: _REFUSAL}
    place = _place(folder)
    with _held(place):
        _put_down(place, manifest, groups, beside)
        try:
            force(place)  # both models lie there in whole until the disk has confirmed which one it is
            _tidy(place, manifest, beside, plain)
        except OSError as fault:
            raise SurgeryError(
                f"The model is saved to {place}, but the disk did not confirm it, or what lies beside it is not ({said(fault)}); "
                "save again."
            ) from fault


def refusal(model: nn.Module, past: Past) -> str:
    """Why `save` would refuse this model wherever it is to go, in its own words; empty where it would not."""
    try:
        _told(model, past, bank=True)
    except PlasticityError as fault:
        return str(fault)
    return ""


def is_saved(folder: str | Path) -> bool:
    """Whether a surgeon saved a model there."""
    return (_place(folder) / MANIFEST).is_file()


def load(folder: str | Path, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None) -> nn.Module:
    """The model that was saved there, in evaluation mode, with its past on it; on the best device, in the dtype it had."""
    place = _place(folder)
    chosen = choose_device(device)
    wanted = None if dtype is None else choose_dtype(chosen, str(dtype))
    manifest, tensors = read(place)
    return opened(place, manifest, tensors, wanted).to(chosen).eval()


def load_into(model: nn.Module, folder: str | Path) -> None:
    """Let an untouched model become what was saved there, of the same architecture; whatever holds its modules still does.

    What is refused leaves the model as it was.
    """
    place = _place(folder)
    if past_of(model) is not None:
        raise SurgeryError(f"{type(model).__name__} has been operated on, so nothing can be loaded into it; make it anew.")
    manifest, tensors = read(place)
    opened(place, manifest, tensors)  # beside it first, where nothing is lost by a manifest that says nonsense
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    training = {module: module.training for module in model.modules()}
    fill(place, model, manifest, tensors)
    model.to(device)
    for module, mode in training.items():
        module.training = mode


def _place(folder: str | Path) -> Path:
    try:
        if not folder:
            raise ValueError("an empty name")  # which would be the folder that the program runs in
        return Path(folder).expanduser()
    except (TypeError, ValueError, RuntimeError) as fault:  # the last of these for somebody who has no home
        raise SettingNotUsable(f"folder={folder!r:.80} names no folder ({said(fault)}); pass a path.") from fault


# --- what is written -----------------------------------------------------------------------------------------------


def _told(model: nn.Module, past: Past, bank: bool) -> tuple[dict[str, Any], Tensors]:
    """The manifest but for the files that it will name, and the weights; a model that nobody could open again is refused."""
    _require_of_transformers(model)
    weights, tied = _weights(model)
    manifest = described(model, past, bank) | {"tied": tied}
    config = config_from(manifest, cast("Any", type(model)).config_class)
    return manifest | {"switches": switches_for(model, config, past, partial(_not_openable, model))}, weights


def _weights(model: nn.Module) -> tuple[Tensors, dict[str, str]]:
    """The state dict with each weight once, and for every other name of a weight the one it is stored under."""
    state = cast("Tensors", model.state_dict(keep_vars=True))
    later = getattr(model, "all_tied_weights_keys", {})
    names: dict[int, str] = {}
    for name in sorted(state, key=lambda each: each in later):  # transformers looks for a tied weight under its first name
        names.setdefault(id(state[name]), name)
    tied = {name: names[id(tensor)] for name, tensor in state.items() if names[id(tensor)] != name}
    return _apart({name: tensor for name, tensor in state.items() if name not in tied}), tied


def _buffers(model: nn.Module) -> Tensors:
    """Floating buffers that no state dict holds, as frequencies of positions: a model moved to another dtype has its own."""
    found: Tensors = {}
    for path, module in model.named_modules():
        for leaf in module._non_persistent_buffers_set:
            tensor = module._buffers.get(leaf)
            if tensor is not None and tensor.is_floating_point() and not leaf.startswith("plasticity_"):
                found[f"{path}.{leaf}" if path else leaf] = tensor
    return _apart(found)


def _pieces(past: Past) -> Tensors:
    pieces = enumerate(past.bank.values())
    return _apart({f"{number}:{name}": tensor for number, piece in pieces for name, tensor in piece.items()})


def _apart(tensors: Tensors) -> Tensors:
    """Contiguous tensors on the CPU, none of which lies in the memory of another."""
    seen: set[int] = set()
    found: Tensors = {}
    for name, tensor in tensors.items():
        whole = tensor.detach().cpu().contiguous()
        where = whole.untyped_storage().data_ptr()
        found[name] = whole.clone() if where in seen or whole.untyped_storage().nbytes() != whole.nbytes else whole
        seen.add(where)
    return found


def _is_structured(past: Past) -> bool:
    """Whether the model is more than weights in the shapes that its config says."""
    return any(mode != PruningMode.ZERO_WEIGHTS for mode in past.modes.values())


def _beside(manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """What plain transformers reads beside the weights."""
    files = {CONFIG: _bytes(manifest["config"] | {"architectures": [manifest["class"]]})}
    return files | ({GENERATION: _bytes(manifest["generation"])} if manifest["generation"] is not None else {})


def _not_openable(model: nn.Module, why: str) -> SurgeryError:
    return SurgeryError(f"{type(model).__name__} {why}, so nobody could open what is saved; save model.state_dict() yourself.")


def _require_of_transformers(model: nn.Module) -> None:
    if not isinstance(model, PreTrainedModel) or getattr(transformers, type(model).__name__, None) is not type(model):
        raise SurgeryError(
            f"{type(model).__name__} is not a class of transformers, so nobody could open what is saved without running its code; "
            "save model.state_dict() yourself, or operate on the transformers model within."
        )


# --- how it is written ---------------------------------------------------------------------------------------------


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder, there and nobody else's to write until the block ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise SurgeryError(f"Another process is saving to {folder} now; wait until it is done, or name another folder.") from None
    except (OSError, ValueError) as fault:  # a name with a zero byte is a wrong value
        raise _not_saved(folder, fault) from fault
    try:
        yield
    finally:
        lock.release()


def _not_saved(folder: Path, fault: Exception) -> SurgeryError:
    full = isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space" if full else "name a folder that can be written"
    return SurgeryError(f"The model cannot be saved to {folder} ({said(fault)}); {remedy}. What was saved there before is kept.")


def _require_free(folder: Path) -> None:
    """A checkpoint of somebody else's is not written over, nor is a folder where a file is to be."""
    for name in (MANIFEST, CONFIG, PLAIN_WEIGHTS, GENERATION):
        if (folder / name).is_dir():
            raise SurgeryError(f"{folder} holds a folder named {name}, where a file of the model goes; name another folder.")
    if (folder / MANIFEST).exists() or not (folder / CONFIG).exists():
        return
    if f'"{MODEL_TYPE}"'.encode() not in (folder / CONFIG).read_bytes():
        raise SurgeryError(f"{folder} holds a checkpoint that no surgeon saved; name another folder, so that it is not lost.")


def _put_down(folder: Path, manifest: dict[str, Any], groups: Mapping[str, Tensors], beside: Mapping[str, bytes]) -> None:
    """All weights under fresh names, then the manifest that names them in the place of the old one, or nothing of it all."""
    fresh: list[Path] = []
    try:
        _require_free(folder)
        manifest["files"] = {role: _write_tensors(folder, role, tensors, fresh) for role, tensors in groups.items() if tensors}
        beside_it = written(folder / MANIFEST, _bytes(manifest))
        if not says(folder / CONFIG, beside[CONFIG]):  # plain transformers is refused until its weights are there
            replace(folder / CONFIG, _REFUSAL)
    except (OSError, SafetensorError) as fault:
        _discard(folder, fresh)
        raise _not_saved(folder, fault) from fault
    try:
        beside_it.replace(folder / MANIFEST)
    except OSError as fault:
        if not _has_taken_its_place(folder, _bytes(manifest)):
            _discard(folder, fresh)
            raise _not_saved(folder, fault) from fault


def _has_taken_its_place(folder: Path, manifest: bytes) -> bool:
    """Whether a manifest is that of the folder: a disk may do what it reports as failed."""
    try:
        return says(folder / MANIFEST, manifest)
    except OSError as fault:
        raise SurgeryError(
            f"The disk of {folder} failed as the new model took the place of the old one, and cannot be read now ({said(fault)}); "
            "both are kept, so open the folder to see which one it holds, or save to another disk."
        ) from fault


def _discard(folder: Path, fresh: list[Path]) -> None:
    for path in (*fresh, partial_of(folder / MANIFEST), partial_of(folder / CONFIG)):
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return  # a disk that just refused to write may refuse this too; the next save clears what is left


def _write_tensors(folder: Path, role: str, tensors: Tensors, fresh: list[Path]) -> dict[str, Any]:
    """Tensors under a fresh name, on the disk for good; what a manifest says of them."""
    path = folder / f"{role}-{uuid.uuid4().hex}.safetensors"
    fresh.append(path)
    save_file(tensors, path, metadata={"format": "pt"})
    force(path)
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest(path)}


def _tidy(folder: Path, manifest: Mapping[str, Any], beside: Mapping[str, bytes], plain: bool) -> None:
    """What plain transformers reads, of the new model or not at all; leftovers of this and earlier saves gone."""
    partial = partial_of(folder / PLAIN_WEIGHTS)
    partial.unlink(missing_ok=True)
    if plain:
        weights = folder / manifest["files"]["weights"]["name"]
        try:
            os.link(weights, partial)
        except OSError:  # a file system without links
            shutil.copyfile(weights, partial)
            force(partial)
        move(partial, folder / PLAIN_WEIGHTS)
    else:
        (folder / PLAIN_WEIGHTS).unlink(missing_ok=True)
    if GENERATION not in beside:
        (folder / GENERATION).unlink(missing_ok=True)
    for name in sorted(beside, key=lambda each: each == CONFIG):  # the config last, since it lets readers in
        if not says(folder / name, beside[name]):
            replace(folder / name, beside[name])
    named = {each["name"] for each in manifest["files"].values()}
    for path in list(folder.iterdir()):
        if OURS.fullmatch(path.name) and path.name not in named:
            path.unlink(missing_ok=True)
