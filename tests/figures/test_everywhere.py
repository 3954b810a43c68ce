"""What holds for every figure: style, size, saving, showing, words, and that nothing else changes."""

import gc
import inspect
import io
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.transforms import Bbox
from PIL import Image

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.canvas import Figure, map_of
from neural_plasticity.figures.theme import MARKS, THEMES
from tests.figures.examples import FIGURES, HEAT_MAPS, drawn
from tests.figures.reading import colour_of, shown, texts

EVERY = pytest.mark.parametrize("name", FIGURES)


@EVERY
@pytest.mark.parametrize("size", ["default", "column"])
def test_no_word_leaves_the_picture_or_lies_on_another(name, size):
    figure = drawn(name, figsize=FIGURES[name][2] if size == "column" else None)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    paper = Bbox([[-1, -1], [figure.bbox.width + 1, figure.bbox.height + 1]])
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in shown(figure)]
    assert not [text for text, box in boxes if paper.count_contains([box.min, box.max]) < 2]
    cores = [(text, box.shrunk(0.9, 0.8)) for text, box in boxes if box.width > 1 and box.height > 1]
    pairs = ((a, b) for place, (a, one) in enumerate(cores) for b, other in cores[place + 1 :] if one.overlaps(other))
    assert not [(a, b) for a, b in pairs if a != b]


@EVERY
def test_in_the_dark_a_picture_stands_on_its_ground_with_its_inks(name):
    figure = drawn(name, theme="dark")
    assert isinstance(figure, Figure)
    assert to_hex(figure.get_facecolor()) == THEMES["dark"].background
    for axes in figure.axes:
        assert to_hex(axes.patch.get_facecolor()) in {THEMES["dark"].background, THEMES["dark"].absent, "#ffffff"}
    inks = {THEMES["dark"].ink, THEMES["dark"].muted, "#000000", "#ffffff"}
    assert {to_hex(text.get_color()) for text in shown(figure)} <= inks


def light(colour):
    """The relative luminance of a colour, by its definition in WCAG 2."""
    parts = np.array(to_rgb(colour))
    return float(np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("state", MARKS)
def test_every_mark_stands_out_from_the_ground(theme, state):
    mark, ground = MARKS[state], THEMES[theme].background
    fill = THEMES[theme].fill(mark)
    assert max(contrast(fill, ground), contrast(mark.edge, ground)) >= 3
    if state in ("active", "vulnerable"):
        assert contrast(fill, ground) >= 4.5
    ordered = drawn("visualize_pruning_decisions", theme=theme).axes[1]
    assert contrast(colour_of(ordered, "active"), ground) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
def test_differences_grow_away_from_the_ground_orange_downwards_and_violet_upwards(theme):
    cmap, ground = map_of(THEMES[theme].differences), THEMES[theme].background
    for side in (np.linspace(0.5, 0, 9), np.linspace(0.5, 1, 9)):
        steps = [contrast(cmap(place), ground) for place in side]
        assert steps == sorted(steps)
        assert steps[0] < 1.5
        assert steps[-1] > 5
    (low_red, _, low_blue, _), (high_red, _, high_blue, _) = cmap(0.1), cmap(0.9)
    assert low_red > low_blue + 0.2
    assert high_blue > high_red


def test_a_theme_colours_every_pixel_that_nothing_else_does():
    for theme in THEMES:
        picture = np.asarray(Image.open(io.BytesIO(drawn("visualize_gradient_norms", theme=theme).drawn("png"))).convert("RGB"))
        assert "#" + "".join(f"{part:02x}" for part in picture[0, 0]) == THEMES[theme].background


@EVERY
def test_style_is_taken_and_words_of_models_are_no_formulas_nor_unseen(name):
    figure = drawn(name, title="cost $x_1$ and $\\frac{1} \U0001f9e0 \x1b[2J \u202e", cmap="magma", figsize=(9, 9))
    assert tuple(figure.get_size_inches()) == (9, 9)
    (title,) = [text for text in texts(figure) if "cost" in text.get_text()]
    assert "$x_1$" in title.get_text()
    assert not {"\U0001f9e0", "\x1b", "\u202e"} & set(title.get_text())
    words = [text for text in texts(figure) if "$" in text.get_text()]
    assert not any(text.get_parse_math() for text in words)


@EVERY
@pytest.mark.parametrize(
    "style", [{"them": "dark"}, {"theme": "drak"}, {"cmap": "no such map"}, {"figsize": (0, 3)}, {"save_path": "picture.bmp"}]
)
def test_what_is_no_style_is_refused(name, style):
    with pytest.raises(SettingNotUsable):
        drawn(name, **style)


LIGHT = THEMES["light"]


@pytest.mark.parametrize(
    ("style", "said"),
    [
        ({"cmap": ["#000000"]}, "There is no colour map"),
        ({"cmap": 7}, "There is no colour map 7"),
        ({"cmap": {}}, "There is no colour map"),
        ({"cmap": ("#000000", "no colour")}, "There is no colour map"),
        ({"theme": ["dark"]}, "There is no theme"),
        ({"theme": None}, "There is no theme None"),
        ({"theme": replace(LIGHT, background="no colour")}, "The theme's background is 'no colour'"),
        ({"theme": replace(LIGHT, colours=("red", 5))}, r"The theme's colours\[1\] is 5"),
        ({"theme": replace(LIGHT, colours=())}, "The theme's colours are none"),
        ({"theme": replace(LIGHT, amounts="virids")}, "There is no colour map 'virids'; take viridis"),
        ({"theme": replace(LIGHT, size="big")}, "The theme's size is 'big'"),
        ({"theme": replace(LIGHT, font="No Such Font")}, "The theme's font 'No Such Font' is not on this machine"),
        ({"save_path": 7}, "A picture cannot be saved as '7'"),
    ],
)
def test_what_no_picture_can_be_drawn_with_is_refused_in_one_sentence(style, said):
    with pytest.raises(SettingNotUsable, match=said) as refusal:
        drawn("visualize_entropy_heatmap", **style)
    assert "\n" not in str(refusal.value)


def test_a_colour_map_may_be_the_colours_that_it_goes_through():
    image = drawn("visualize_entropy_heatmap", cmap=("#000000", "#ff0000")).axes[0].images[0]
    assert to_hex(image.cmap(0.0)) == "#000000"
    assert to_hex(image.cmap(1.0)) == "#ff0000"


@EVERY
def test_heat_maps_and_only_they_take_annotate(name):
    assert ("annotate" in inspect.signature(FIGURES[name][0]).parameters) == (name in HEAT_MAPS)


@pytest.mark.parametrize("name", ["visualize_gradient_norms", "plot_recovery_comparison"])
def test_saving_follows_the_suffix_and_makes_folders(name, tmp_path):
    for suffix, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("PDF", b"%PDF")):
        path = tmp_path / "a" / suffix / f"picture.{suffix}"
        drawn(name, save_path=path)
        assert path.read_bytes().startswith(start)


def test_a_path_that_cannot_be_written_is_an_error_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingNotUsable, match="save_path"):
        drawn("visualize_entropy_heatmap", save_path=tmp_path / "file" / "picture.png")


def test_files_of_the_same_picture_are_the_same():
    assert drawn("visualize_gradient_norms").drawn("png") == drawn("visualize_gradient_norms").drawn("png")
    assert b"CreationDate" not in drawn("visualize_gradient_norms").drawn("pdf")


def test_a_figure_shows_itself_as_png_and_as_nothing_else():
    figure = drawn("visualize_entropy_heatmap")
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert figure._repr_html_() is None


@pytest.mark.parametrize("name", ["visualize_gradient_norms", "visualize_training_progress", "plot_experiment_summary"])
def test_the_settings_of_matplotlib_neither_change_nor_matter(name):
    before = dict(mpl.rcParams)
    first = drawn(name).drawn("png")
    assert dict(mpl.rcParams) == before
    theirs = {"axes.facecolor": "red", "font.size": 30, "text.color": "lime", "axes.grid": True, "lines.linewidth": 9}
    with mpl.rc_context(
        theirs | {"figure.dpi": 30, "xtick.color": "lime", "axes.labelsize": 30, "axes.prop_cycle": "cycler('color', ['r'])"}
    ):
        assert drawn(name).drawn("png") == first


ALONE = """
import sys
import numpy as np
from tests.figures.examples import FIGURES, drawn
for name in ("visualize_gradient_norms", "plot_experiment_summary", "visualize_complete_training_process"):
    drawn(name)._repr_png_()
print([module for module in ("matplotlib.pyplot", "torch", "pandas", "IPython") if module in sys.modules])
"""


def test_drawing_loads_neither_pyplot_nor_torch_nor_pandas():
    found = subprocess.run([sys.executable, "-W", "error", "-c", ALONE], capture_output=True, text=True, check=False)
    assert found.stdout == "[]\n", found.stderr


def left_behind(pictures: int) -> tuple[int, int]:
    """How many of so many figures still live, and how many objects more there are than before."""

    def draw() -> weakref.ref:
        figure = drawn("visualize_gradient_norms")
        figure.drawn("png")
        return weakref.ref(figure)

    draw()
    gc.collect()
    before = len(gc.get_objects())
    left = [draw() for _ in range(pictures)]
    gc.collect()
    return sum(each() is not None for each in left), len(gc.get_objects()) - before


def test_pictures_leave_nothing_behind():
    living, objects = left_behind(6)
    assert living == 0
    assert objects < 40


@pytest.mark.soak
def test_two_hundred_pictures_leave_nothing_behind():
    living, objects = left_behind(200)
    assert living == 0
    assert objects < 300


def test_pictures_drawn_in_threads_are_those_drawn_alone():
    names = ["visualize_gradient_norms", "plot_recovery_comparison", "visualize_attention_matrix"] * 3
    alone = {name: drawn(name).drawn("png") for name in set(names)}
    with ThreadPoolExecutor(4) as pool:
        for name, picture in zip(names, pool.map(lambda name: drawn(name).drawn("png"), names), strict=True):
            assert picture == alone[name]
