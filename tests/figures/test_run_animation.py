"""Moving figures: a picture for each cycle, with the colours that mean something kept as they are."""

import os
import shutil
import stat
import sys

import numpy as np
import pytest
from PIL import Image

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures import animation
from neural_plasticity.figures.animation import MOVING, animate
from neural_plasticity.figures.catalogue import CATALOGUE
from neural_plasticity.figures.theme import MARKS, THEMES
from tests.figures import runs
from tests.figures.reading import limits_of, values_of


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return runs.recorded(tmp_path_factory.mktemp("runs") / "told")


def frames(path):
    with Image.open(path) as picture:
        for place in range(picture.n_frames):
            picture.seek(place)
            yield np.asarray(picture.convert("RGB")), picture.info["duration"]


@pytest.mark.parametrize(("name", "count"), [("maps", 2), ("entropy", 2), ("gradient", 2), ("attention", 3)])
def test_a_gif_has_a_picture_for_each_cycle(run, tmp_path, name, count):
    found = list(frames(animate(run, name, tmp_path / "deep" / "x.gif", seconds=0.5)))
    assert [duration for _, duration in found] == [500] * count
    assert len({picture.shape for picture, _ in found}) == 1
    assert not np.array_equal(found[0][0], found[-1][0])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_ground_and_the_marks_keep_their_colours(run, tmp_path, theme):
    for picture, _ in frames(animate(run, "maps", tmp_path / "x.gif", theme=theme)):
        there = {"#" + "".join(f"{part:02x}" for part in colour) for colour in np.unique(picture.reshape(-1, 3), axis=0)}
        assert {THEMES[theme].background, MARKS["pruned"].colour.lower()} <= there


def test_all_pictures_share_their_colours(run):
    first, second = CATALOGUE["maps"].frames(animation.require(run, "maps")[1][0])
    assert limits_of(first.axes[0]) == limits_of(second.axes[0])
    np.testing.assert_allclose(values_of(second.axes[0]), runs.TAYLOR[2], rtol=1e-6)


def test_frames_of_different_sizes_become_alike_and_even():
    small, large = np.full((3, 5, 3), 7, np.uint8), np.full((4, 3, 3), 9, np.uint8)
    alike = animation._alike([small, large])
    assert [each.shape for each in alike] == [(4, 6, 3)] * 2
    assert alike[0][:3, :5].min() == alike[0].max() == 7


@pytest.mark.parametrize(
    ("name", "path", "options", "said"),
    [
        ("life", "x.gif", {}, "does not move; choose one of"),
        ("maps", "x.avi", {}, "gif or .mp4"),
        ("maps", "x.gif", {"seconds": 0}, "seconds"),
        ("maps", "x.gif", {"seconds": float("nan")}, "seconds"),
    ],
)
def test_what_does_not_move_is_refused(run, tmp_path, name, path, options, said):
    with pytest.raises(SettingNotUsable, match=said):
        animate(run, name, tmp_path / path, **options)


def test_without_ffmpeg_a_film_is_refused_with_a_way_out(run, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SettingNotUsable, match=r"needs ffmpeg, and there is none on this machine; install it, or take a \.gif"):
        animate(run, "maps", tmp_path / "x.mp4")


FFMPEG = """#!{python}
import sys
from pathlib import Path
given = sys.stdin.buffer.read()
wide, high = map(int, sys.argv[sys.argv.index("-s") + 1].split("x"))
if {fails}:
    sys.exit("no such codec")
Path(sys.argv[-1]).write_text(f"{{len(given) / (wide * high * 3)}} {{sys.argv[sys.argv.index('-framerate') + 1]}}")
"""


@pytest.mark.parametrize("fails", [False, True])
def test_a_film_is_what_ffmpeg_makes_of_the_pictures_the_last_one_twice(run, tmp_path, monkeypatch, fails):
    program = tmp_path / "ffmpeg"
    program.write_text(FFMPEG.format(python=sys.executable, fails=fails))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    if fails:
        with pytest.raises(SettingNotUsable, match="no such codec"):
            animate(run, "maps", tmp_path / "x.mp4")
    else:
        assert animate(run, "maps", tmp_path / "x.mp4", seconds=0.5).read_text() == "3.0 2.000000"


def test_those_that_move_are_those_that_show_one_cycle_after_the_other():
    assert set(MOVING) == {"entropy", "gradient", "maps", "attention"}
