"""What lies where in a run folder, and its description, `run.json`."""

import errno
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from neural_plasticity.errors import CorruptRecord, NewerSchema, NotARun, RecordNotWritable, said
from neural_plasticity.record.events import SCHEMA

DESCRIPTION = "run.json"
EVENTS = "events.jsonl"
TENSORS = "tensors"
LOCK = "run.lock"


def runs_in(folder: Path) -> list[Path]:
    """The folders of the runs here, by name: that of the one run that this is, or of those that lie in it, readable or not."""
    if os.path.lexists(folder / DESCRIPTION):
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{DESCRIPTION}"))


def read_description(folder: Path) -> dict[str, Any]:
    """The run's settings, environment, anatomy and versions; refuses what is not a run of ours."""
    path = folder / DESCRIPTION
    try:
        if not folder.is_dir():
            seen = "is a file" if folder.exists() else "does not exist"
            raise NotARun(f"{folder} {seen}, so there is no run to open; name a run folder, such as one of those in runs/.")
        if not path.exists() and not path.is_symlink():
            seen = ", ".join(sorted(entry.name for entry in folder.iterdir())[:5]) or "nothing"
            raise NotARun(f"{folder} is not a run: it holds no {DESCRIPTION} but {seen}; name a run folder.")
        content: Any = json.loads(read_plain(path))
    except OSError as fault:
        raise NotARun(f"{folder} cannot be opened ({said(fault)}); check the path and its permissions.") from fault
    except (ValueError, RecursionError) as fault:
        raise CorruptRecord(f"{path} cannot be read ({said(fault)}); restore it from a copy, or start the run anew.") from fault
    schema = cast("dict[str, Any]", content).get("schema") if isinstance(content, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise NotARun(f"{path} was not written by neural-plasticity: it names no schema; name another folder.")
    if schema > SCHEMA:
        raise NewerSchema(
            f"{folder} was written in schema {schema} and this version reads up to {SCHEMA}; "
            "run: pip install --upgrade neural-plasticity"
        )
    return cast("dict[str, Any]", content)


def read_plain(path: Path, offset: int = 0, most: int = -1) -> bytes:
    """The bytes of a plain file from an offset on, so many at most; a link could lead out of the run, and a pipe never ends."""
    require_plain(path)
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(most)


def require_plain(path: Path) -> None:
    """Refuse links, pipes, folders and devices; a file that is not there raises FileNotFoundError."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise CorruptRecord(f"{path} is no plain file, as everything in a run folder is; do not trust this run.")


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file in one step: a reader sees the old content or the new, also after a power cut."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)  # a link there must not lead the write elsewhere
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as fault:
        _discard(partial)
        raise not_writable(path, fault) from fault


def _discard(partial: Path) -> None:
    try:
        partial.unlink(missing_ok=True)
    except OSError:
        return  # a disk that just refused to write may refuse this too; the name is reused next time


def description_bytes(description: Mapping[str, Any]) -> bytes:
    """`run.json` as it stands on disk."""
    return (json.dumps(description, indent=2, allow_nan=False) + "\n").encode()


_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space"),
    errno.EROFS: ("the disk is read-only", "choose another folder or mount it writable"),
    errno.EACCES: ("permission is denied", "choose another folder or change its permissions"),
    errno.EPERM: ("permission is denied", "choose another folder or change its permissions"),
    errno.ENOENT: ("the run folder is gone", "start the run anew, in a folder that stays"),
    errno.ENOTDIR: ("a file stands where the run folder should be", "choose another folder"),
    errno.EEXIST: ("a file stands where the run folder should be", "choose another folder"),
}


def not_writable(path: Path, fault: OSError) -> RecordNotWritable:
    """The refusal for a write that the operating system did not take."""
    seen, remedy = _REASONS.get(fault.errno or 0, (fault.strerror or str(fault), "choose another folder"))
    return RecordNotWritable(f"The record cannot be written to {path}: {seen}; {remedy}. What was recorded before is kept.")
