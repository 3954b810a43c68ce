"""A run folder that was packed into a zip, opened safely: only what a run is made of, to where we say, and not too much of it."""

import contextlib
import lzma
import re
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Generator
from pathlib import Path, PurePosixPath

from neural_plasticity.errors import NotARun, said
from neural_plasticity.record.folder import DESCRIPTION, EVENTS, TENSORS

MOST_BYTES = 2 * 2**30  # unpacked
_TENSORS = re.compile(r"[\w.-]+\.safetensors")
_CHUNK = 2**20
# What a zip raises that is cut short, damaged in any of its ways of packing, locked by a password, or none at all.
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, RuntimeError, NotImplementedError, EOFError, ValueError)


@contextlib.contextmanager
def unpacked(archive: str | Path, *, most: int = MOST_BYTES) -> Generator[Path]:
    """The run in a zip as a folder, for as long as the block lasts.

    Only its description, events and tensors are taken out, under their own names: nothing in the archive says where a file goes.
    """
    path = Path(archive)
    with tempfile.TemporaryDirectory(prefix="plasticity-") as place:
        folder = Path(place) / (re.sub(r"[^\w.-]+", "_", path.stem).strip(".") or "run")
        try:
            with zipfile.ZipFile(path) as packed:
                _take_out(packed, path, folder, most)
        except _BROKEN as fault:
            raise NotARun(f"{path} cannot be read as a zip of a run ({said(fault)}); pack the run folder anew.") from fault
        yield folder


def _take_out(packed: zipfile.ZipFile, path: Path, folder: Path, most: int) -> None:
    root = _root(packed, path)
    chosen = [(entry, name) for entry in packed.infolist() if (name := _name(entry, root)) is not None]
    declared = sum(entry.file_size for entry, _ in chosen)
    if declared > most:
        raise NotARun(f"{path} would unpack to {declared:,} bytes, more than the {most:,} that are allowed; unpack it yourself.")
    (folder / TENSORS).mkdir(parents=True)
    left = most
    for entry, name in chosen:
        left = _copy(packed, entry, folder / name, left)
        if left < 0:
            raise NotARun(f"{path} unpacks to more than it says; do not trust it.")


def _root(packed: zipfile.ZipFile, path: Path) -> PurePosixPath:
    """The folder in the archive that the run lies in."""
    found = [PurePosixPath(entry.filename).parent for entry in packed.infolist() if _plain(entry).name == DESCRIPTION]
    if not found:
        seen = ", ".join(sorted(packed.namelist())[:5]) or "nothing"
        raise NotARun(f"{path} is not a run: it holds no {DESCRIPTION} but {seen:.200}; pack a run folder.")
    highest = min(len(root.parts) for root in found)
    roots = sorted(str(root) for root in found if len(root.parts) == highest)
    if len(roots) > 1:
        raise NotARun(f"{path} holds {len(roots)} runs ({', '.join(roots)[:200]}); pack one of them alone.")
    return PurePosixPath(roots[0])


def _plain(entry: zipfile.ZipInfo) -> PurePosixPath:
    """The path of a plain file; nothing for folders and links."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return PurePosixPath() if entry.is_dir() or kind not in (0, stat.S_IFREG) else PurePosixPath(entry.filename)


def _name(entry: zipfile.ZipInfo, root: PurePosixPath) -> str | None:
    """What a file of the run is called in its folder; None for all else."""
    path = _plain(entry)
    if path.parent == root and path.name in (DESCRIPTION, EVENTS):
        return path.name
    if path.parent == root / TENSORS and _TENSORS.fullmatch(path.name):
        return f"{TENSORS}/{path.name}"
    return None


def _copy(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Write one file; how many bytes may still come, below 0 if it was more."""
    with packed.open(entry) as source, target.open("wb") as file:
        while left >= 0 and (chunk := source.read(_CHUNK)):
            left -= len(chunk)
            if left >= 0:
                file.write(chunk)
    return left
