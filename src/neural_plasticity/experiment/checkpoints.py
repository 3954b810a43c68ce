"""Checkpoints: the model, its past, the optimizer's moments and the story so far, whole or not there."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from neural_plasticity.errors import CorruptRecord, said
from neural_plasticity.experiment.story import Story
from neural_plasticity.record import Checkpoint, Run
from neural_plasticity.record.folder import not_writable
from neural_plasticity.surgery.surgeon import Surgeon

FOLDER, MODEL = "checkpoints", "model"
_PARTIAL = ".partial"
_STORY, _ARRAYS, _MOMENTS, _SUMS = "story.json", "story.safetensors", "moments.safetensors", "checksums.json"
_SUMMED = (_STORY, _ARRAYS, _MOMENTS)  # the model has checksums of its own


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds besides the model, and how many events the record had behind it."""

    folder: Path
    story: Story
    plain: dict[str, Any]
    tensors: dict[str, Tensor]
    events: int


def write_checkpoint(run: Path, story: Story, surgeon: Surgeon, plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Save everything under a name of its own; it is there under that name when it is whole, and not before."""
    name = f"{FOLDER}/{story.chapter:04d}-{story.step:08d}"
    folder, partial = run / name, run / f"{name}{_PARTIAL}"
    try:
        (run / FOLDER).mkdir(exist_ok=True)  # not its parents: a run that was deleted does not come back as a ruin
        for leftover in (folder, partial):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir()
        surgeon.save(partial / MODEL)
        save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, partial / _MOMENTS)
        save_arrays(story.arrays(), partial / _ARRAYS)
        (partial / _STORY).write_text(json.dumps({"story": story.plain(), "course": plain}), encoding="utf-8")
        (partial / _SUMS).write_text(json.dumps({each: _sum(partial / each) for each in _SUMMED}), encoding="utf-8")
        for each in (*_SUMMED, _SUMS):
            _force(partial / each)
        _force(partial)
        partial.rename(folder)
        _force(folder.parent)
    except (OSError, SafetensorError) as fault:
        raise not_writable(folder, _of_system(fault)) from fault
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # of a full disk it would keep what the next try needs
    return name


def drop_others(run: Path, name: str) -> None:
    """Let go of every checkpoint but this one."""
    for path in (run / FOLDER).iterdir():
        if path != run / name and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def last_checkpoint(run: Run) -> Saved | None:
    """The newest checkpoint that the record tells of; None where a run stopped before its first."""
    found = [entry for entry in run.entries() if isinstance(entry.event, Checkpoint)]
    if not found:
        return None
    entry = found[-1]
    assert isinstance(entry.event, Checkpoint)
    folder = (run.folder / entry.event.folder).resolve()
    if not folder.is_relative_to(run.folder / FOLDER):
        raise CorruptRecord(f"{run.folder} names a checkpoint outside of it ({entry.event.folder[:80]}); do not trust this run.")
    try:
        _require_as_written(folder)
        told = json.loads((folder / _STORY).read_text(encoding="utf-8"))
        story = Story.of(told["story"], load_arrays(folder / _ARRAYS))
        return Saved(folder, story, told["course"], load_file(folder / _MOMENTS), entry.seq + 1)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as fault:
        raise CorruptRecord(
            f"The checkpoint {folder} cannot be read ({said(fault)}); restore it from a copy, or start the run anew."
        ) from fault


def _require_as_written(folder: Path) -> None:
    sums = json.loads((folder / _SUMS).read_text(encoding="utf-8"))
    for name in _SUMMED:
        if _sum(folder / name) != sums[name]:
            raise ValueError(f"{name} is not as it was written: its checksum differs")


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_system(fault: OSError | SafetensorError) -> OSError:
    """What the system said, where safetensors has put it into words of its own."""
    if isinstance(fault, OSError):
        return fault
    return OSError(errno.ENOSPC if "No space left" in str(fault) else errno.EIO, said(fault))


def _force(path: Path) -> None:
    if os.name != "posix" and path.is_dir():
        return  # elsewhere a folder cannot be opened
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
