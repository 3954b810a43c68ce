"""Files that take their places in one step, on the disk for good."""

import hashlib
import os
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """A file in its place: a reader sees the old content or the new, also after a power cut."""
    move(written(path, content), path)


def written(path: Path, content: bytes) -> Path:
    """What is to take a file's place, on the disk beside it."""
    partial = partial_of(path)
    partial.unlink(missing_ok=True)  # a link there must not lead the write elsewhere
    partial.write_bytes(content)
    force(partial)
    return partial


def partial_of(path: Path) -> Path:
    """The name of what is to take a file's place."""
    return path.with_name(f"{path.name}.partial")


def move(partial: Path, path: Path) -> None:
    """What was written beside a file, in its place."""
    partial.replace(path)
    force(path.parent)


def force(path: Path) -> None:
    """A file, or which files a folder holds, out of all memories on the way to the disk."""
    is_folder = path.is_dir()
    if is_folder and os.name != "posix":  # where a folder cannot be opened
        return
    opened = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def says(path: Path, content: bytes) -> bool:
    """Whether a file holds just this."""
    return path.exists() and path.read_bytes() == content


def digest(path: Path) -> str:
    """The checksum by which a manifest knows a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
