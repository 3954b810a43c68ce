"""Saving an operated model and opening it again: safetensors and a manifest, replaced in one step.

Weights go under fresh names, then the manifest that names them takes the place of the old one, then the old weights
go: whoever opens the folder, at any moment and after any crash, finds the old model or the new one. The manifest
alone decides. What plain transformers would read stands beside it only while the model is one that it can read.
"""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from neural_plasticity.anatomy.past import Past, past_of, remember
from neural_plasticity.environment.devices import choose_device, choose_dtype
from neural_plasticity.errors import ModelNotUsable, SurgeryError, said
from neural_plasticity.surgery.body import Body
from neural_plasticity.surgery.cut import Weights
from neural_plasticity.surgery.gating import GATE
from neural_plasticity.surgery.manifest import MANIFEST, MISREAD, OURS, described, misread, past_from, read_manifest
from neural_plasticity.surgery.modes import PruningMode
from neural_plasticity.surgery.skeleton import UNBUILT, built, switches_for

CONFIG, PLAIN_WEIGHTS, GENERATION = "config.json", "model.safetensors", "generation_config.json"
LOCK = ".saving.lock"
MODEL_TYPE = "neural_plasticity"  # which transformers does not know, and says so

Tensors = dict[str, Tensor]


def _bytes(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


_REFUSAL = _bytes({"model_type": MODEL_TYPE, "open_with": "neural_plasticity.load"})  # the config of what only `load` can open


def save(model: nn.Module, past: Past, folder: str | Path, *, bank: bool = True) -> None:
    """A folder that `load` opens as this model; without the bank, heads whose weights are away have gone for good."""
    _require_of_transformers(model)
    weights, tied = _weights(model)
    manifest = described(model, past, bank) | {"tied": tied}
    manifest["switches"] = switches_for(manifest, _entries(weights, tied))
    groups = {"weights": weights, "buffers": _buffers(model), "bank": _pieces(past) if bank else {}}
    plain = not _is_structured(past) and set(tied) <= set(getattr(model, "all_tied_weights_keys", {}))
    beside = _beside(manifest) if plain else {CONFIG: _REFUSAL}
    place = Path(folder).expanduser()
    with _held(place):
        fresh: list[Path] = []
        try:
            _require_free(place)
            manifest["files"] = {role: _write_tensors(place, role, tensors, fresh) for role, tensors in groups.items() if tensors}
            partial = _written(place / MANIFEST, _bytes(manifest))
            if not _says(place / CONFIG, beside[CONFIG]):  # plain transformers is refused until its weights are there
                _replace(place / CONFIG, _REFUSAL)
            _move(partial, place / MANIFEST)
        except (OSError, SafetensorError) as fault:
            for path in fresh:
                path.unlink(missing_ok=True)
            raise _not_saved(place, fault) from fault
        try:
            _tidy(place, manifest, beside, plain)
        except OSError as fault:
            raise SurgeryError(
                f"The model is saved to {place}, but what lies beside it is not ({said(fault)}); save again."
            ) from fault


def is_saved(folder: str | Path) -> bool:
    """Whether a surgeon saved a model there."""
    return (Path(folder).expanduser() / MANIFEST).is_file()


def load(folder: str | Path, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None) -> nn.Module:
    """The model that was saved there, in evaluation mode, with its past on it; on the best device, in the dtype it had."""
    place = Path(folder).expanduser()
    chosen = choose_device(device)
    wanted = None if dtype is None else choose_dtype(chosen, str(dtype))
    manifest, tensors = _read(place)
    try:
        model = _rebuilt(place, manifest, tensors, wanted)
    except (*UNBUILT, OSError) as fault:
        raise misread(place, fault) from fault
    return model.to(chosen).eval()


def load_into(model: nn.Module, folder: str | Path) -> None:
    """Let an untouched model become what was saved there, of the same architecture; whatever holds its modules still does."""
    place = Path(folder)
    manifest, tensors = _read(place)
    device, training = next(model.parameters()).device, {module: module.training for module in model.modules()}
    if past_of(model) is not None:
        raise SurgeryError(f"{type(model).__name__} has been operated on, so nothing can be loaded into it; make it anew.")
    try:
        _rebuilt(place, manifest, tensors, whole=model)
    except (*MISREAD, RuntimeError) as fault:
        raise misread(place, fault) from fault
    model.to(device)
    for module, mode in training.items():
        module.training = mode


# --- what is written -----------------------------------------------------------------------------------------------


def _weights(model: nn.Module) -> tuple[Tensors, dict[str, str]]:
    """The state dict with each weight once, and for every other name of a weight the one it is stored under."""
    state = cast("Tensors", model.state_dict(keep_vars=True))
    later = getattr(model, "all_tied_weights_keys", {})
    names: dict[int, str] = {}
    for name in sorted(state, key=lambda each: each in later):  # transformers looks for a tied weight under its first name
        names.setdefault(id(state[name]), name)
    tied = {name: names[id(tensor)] for name, tensor in state.items() if names[id(tensor)] != name}
    return _apart({name: tensor for name, tensor in state.items() if name not in tied}), tied


def _entries(weights: Tensors, tied: Mapping[str, str]) -> Tensors:
    """Each weight under each of its names."""
    return weights | {name: weights[first] for name, first in tied.items()}


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
    """A checkpoint of somebody else's is not written over."""
    if (folder / MANIFEST).exists() or not (folder / CONFIG).exists():
        return
    if f'"{MODEL_TYPE}"'.encode() not in (folder / CONFIG).read_bytes():
        raise SurgeryError(f"{folder} holds a checkpoint that no surgeon saved; name another folder, so that it is not lost.")


def _write_tensors(folder: Path, role: str, tensors: Tensors, fresh: list[Path]) -> dict[str, Any]:
    """Tensors under a fresh name, on the disk for good; what a manifest says of them."""
    path = folder / f"{role}-{uuid.uuid4().hex}.safetensors"
    fresh.append(path)
    save_file(tensors, path, metadata={"format": "pt"})
    _force(path)
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": _digest(path)}


def _tidy(folder: Path, manifest: Mapping[str, Any], beside: Mapping[str, bytes], plain: bool) -> None:
    """What plain transformers reads, of the new model or not at all; leftovers of this and earlier saves gone."""
    partial = folder / f"{PLAIN_WEIGHTS}.partial"
    partial.unlink(missing_ok=True)
    if plain:
        weights = folder / manifest["files"]["weights"]["name"]
        try:
            os.link(weights, partial)
        except OSError:  # a file system without links
            shutil.copyfile(weights, partial)
            _force(partial)
        _move(partial, folder / PLAIN_WEIGHTS)
    else:
        (folder / PLAIN_WEIGHTS).unlink(missing_ok=True)
    if GENERATION not in beside:
        (folder / GENERATION).unlink(missing_ok=True)
    for name in sorted(beside, key=lambda each: each == CONFIG):  # the config last, since it lets readers in
        if not _says(folder / name, beside[name]):
            _replace(folder / name, beside[name])
    named = {each["name"] for each in manifest["files"].values()}
    for path in list(folder.iterdir()):
        if OURS.fullmatch(path.name) and path.name not in named:
            path.unlink(missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    """A file in its place in one step, on the disk for good."""
    _move(_written(path, content), path)


def _written(path: Path, content: bytes) -> Path:
    """What is to take a file's place, on the disk beside it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)  # a link there must not lead the write elsewhere
    partial.write_bytes(content)
    _force(partial)
    return partial


def _move(partial: Path, path: Path) -> None:
    partial.replace(path)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _force(path.parent)


def _force(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _says(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- what is read --------------------------------------------------------------------------------------------------


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensors]]:
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


def _rebuilt(
    folder: Path,
    manifest: Mapping[str, Any],
    tensors: Mapping[str, Tensors],
    dtype: torch.dtype | None = None,
    whole: nn.Module | None = None,
) -> nn.Module:
    """The model of a manifest: whole as its config says, or as it is given, cut as its past says, its weights in their places."""
    past = past_from(manifest)
    _fill_bank(past, tensors.get("bank", {}))
    model: Any = built(manifest) if whole is None else whole
    weights = {name: _in_dtype(tensor, dtype) for name, tensor in tensors.get("weights", {}).items()}
    for axis, places in past.kept.items():
        Weights(model).refit(axis, None, places)
    entries = _entries(weights, manifest["tied"])
    made = {id(tensor): nn.Parameter(tensor, requires_grad=tensor.is_floating_point()) for tensor in weights.values()}
    _put(folder, model, entries, made, lambda name: not name.endswith(GATE))
    Body(model, past).settle()
    _put(folder, model, entries, made, lambda name: name.endswith(GATE))
    for name in manifest.get("frozen", ()):
        model.get_parameter(name).requires_grad_(False)
    for name, tensor in tensors.get("buffers", {}).items():
        module, _, leaf = name.rpartition(".")
        model.get_submodule(module)._buffers[leaf] = tensor
    if dtype is not None:
        model.config.dtype = dtype
    if manifest["generation"] is not None:
        model.generation_config = GenerationConfig.from_dict(manifest["generation"])
    remember(model, past if past.modes or past.woken else None)
    return model


def _fill_bank(past: Past, tensors: Tensors) -> None:
    pieces = list(past.bank.values())
    for key, tensor in tensors.items():
        number, _, name = key.partition(":")
        pieces[int(number)][name] = tensor
    if not all("" in piece for piece in pieces):
        raise ValueError("pieces that the bank lacks")


def _put(folder: Path, model: nn.Module, entries: Tensors, made: Mapping[int, nn.Parameter], which: Callable[[str], bool]) -> None:
    """Every weight of this sort in its place, each of them and no others."""
    state = cast("Tensors", model.state_dict(keep_vars=True))
    wanted, found = {name for name in state if which(name)}, {name for name in entries if which(name)}
    other = [name for name in wanted & found if state[name].shape != entries[name].shape]
    for names, fault in (
        (wanted - found, "lack"),
        (found - wanted, "have, and the model does not,"),
        (other, "hold in another shape"),
    ):
        if names:
            shown = ", ".join(sorted(names)[:3])
            raise ModelNotUsable(
                f"The weights in {folder} {fault} {shown}"
                + (f" and {len(names) - 3} more" if len(names) > 3 else "")
                + "; save the model anew, or open it with the version of transformers that it was saved with."
            )
    for name in found:
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        if leaf in module._parameters:
            module._parameters[leaf] = made[id(entries[name])]
        else:
            module._buffers[leaf] = entries[name]


def _in_dtype(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)
