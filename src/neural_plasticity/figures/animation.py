"""Figures over cycles as moving pictures: GIF by pillow, MP4 where ffmpeg is."""

import shutil
import subprocess
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neural_plasticity.errors import SettingNotUsable, said
from neural_plasticity.figures.canvas import Figure
from neural_plasticity.figures.catalogue import CATALOGUE, given, require

MOVING = tuple(name for name, picture in CATALOGUE.items() if picture.frames is not None)
SUFFIXES = ("gif", "mp4")
_FLAT = 128  # of the 256 colours: those that are kept as they are
_LONGEST_WAIT = 300  # seconds that ffmpeg may take

Frame = NDArray[np.uint8]


def animate(run: Any, name: str, path: str | PathLike[str], *, seconds: float = 0.9, **options: Any) -> Path:
    """A figure of a run moving over its cycles, as .gif or .mp4, so many seconds for each picture; returns where it lies."""
    target = Path(path)
    suffix = target.suffix.lower().removeprefix(".")
    require_writer(suffix)
    if not 0.02 <= seconds <= 60:
        raise SettingNotUsable(f"seconds is {seconds!r:.40}; each picture may stand for 0.02 to 60 seconds.")
    picture, told, _ = require(run, name)
    if picture.frames is None:
        raise SettingNotUsable(f"The figure {name} does not move; choose one of {', '.join(MOVING)}.")
    frames = [_frame(figure) for figure in picture.frames(told[0], **given(options))]
    write = {"gif": _write_gif, "mp4": _write_mp4}[suffix]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(_alike(frames), target, seconds)
    except OSError as fault:
        raise SettingNotUsable(f"The moving picture cannot be saved as {target} ({said(fault)}); choose another path.") from fault
    return target


def require_writer(suffix: str) -> None:
    """Refuse what is no kind of moving picture, and films where nothing is there to write them."""
    if suffix not in SUFFIXES:
        raise SettingNotUsable(f"A moving picture cannot be saved as {suffix!r:.40}; let its name end in .gif or .mp4.")
    if suffix == "mp4" and shutil.which("ffmpeg") is None:
        raise SettingNotUsable("An .mp4 needs ffmpeg, and there is none on this machine; install it, or take a .gif.")


def _frame(figure: Figure) -> Frame:
    """The figure's pixels, red, green and blue."""
    canvas: Any = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _alike(frames: Sequence[Frame]) -> list[Frame]:
    """All of the same even size, as films want it: the lower and right edges of larger ones are their own ground."""
    high = max(frame.shape[0] for frame in frames)
    wide = max(frame.shape[1] for frame in frames)
    found: list[Frame] = []
    for frame in frames:
        whole = np.empty((high + high % 2, wide + wide % 2, 3), np.uint8)
        whole[:] = frame[0, 0]
        whole[: frame.shape[0], : frame.shape[1]] = frame
        found.append(whole)
    return found


def _write_gif(frames: list[Frame], target: Path, seconds: float) -> None:
    """One palette for all frames, so that the same colour means the same number in each."""
    first, *rest = indexed(np.stack(frames))
    first.save(target, save_all=True, append_images=rest, duration=round(1000 * seconds), loop=0, optimize=False)


def indexed(frames: Frame) -> list[Image.Image]:
    """The frames in 256 colours: those of the largest areas as they are, since colours have meanings, then always the one
    that is farthest from all before it, so that no colour bar shows a colour which is not its own.
    """
    packed = frames.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    colours, places, counts = np.unique(packed, return_inverse=True, return_counts=True)
    parts = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], 1).astype(np.int32)
    flat = np.argsort(-counts, kind="stable")[:_FLAT]
    nearest, far = np.zeros(len(parts), np.uint8), np.full(len(parts), np.iinfo(np.int32).max)
    palette: list[int] = []
    while len(palette) < min(256, len(parts)):
        chosen = int(flat[len(palette)]) if len(palette) < len(flat) else int(far.argmax())
        away = ((parts - parts[chosen]) ** 2).sum(1)
        nearest[away < far] = len(palette)
        far = np.minimum(far, away)
        palette.append(chosen)
    found = [Image.fromarray(each, "P") for each in nearest[places].reshape(packed.shape)]
    for each in found:
        each.putpalette(parts[palette].astype(np.uint8).tobytes())
    return found


def _write_mp4(frames: list[Frame], target: Path, seconds: float) -> None:
    high, wide = frames[0].shape[:2]
    given_as = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{wide}x{high}", "-framerate", f"{1 / seconds:.6f}", "-i", "-"]
    made_as = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-r", "25", "-crf", "18", "-movflags", "+faststart"]
    command = [str(shutil.which("ffmpeg")), "-y", "-loglevel", "error", *given_as, *made_as, str(target.resolve())]
    # The last picture once more: a film ends with the beginning of its last one.
    content = b"".join(frame.tobytes() for frame in [*frames, frames[-1]])
    try:
        subprocess.run(command, input=content, check=True, capture_output=True, timeout=_LONGEST_WAIT)
    except subprocess.CalledProcessError as fault:
        seen = fault.stderr.decode(errors="replace").strip().splitlines()
        raise SettingNotUsable(
            f"ffmpeg could not write {target.name} ({seen[-1] if seen else 'no word why'!s:.160}); take a .gif."
        ) from fault
    except subprocess.TimeoutExpired as fault:
        raise SettingNotUsable(f"ffmpeg took longer than {_LONGEST_WAIT} seconds over {target.name}; take a .gif.") from fault
