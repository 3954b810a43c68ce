"""Heat maps of heads: a labelled colour bar, numbers where they fit, hatched gaps, and the marks of states over them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import Colormap
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import Affine2D

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.canvas import Figure, Look, clothe, dressed, figure_of, letters, theme_at
from neural_plasticity.figures.coerce import Floats, Grid, heads_of
from neural_plasticity.figures.lettering import number, plain, width
from neural_plasticity.figures.scale import Colours, numbered, plain_formatter, plain_numbers
from neural_plasticity.figures.theme import BLACK, MARKS, WHITE, Theme
from neural_plasticity.heads import HeadId

_SMALLEST = 5.5  # points: smaller letters cannot be read
_MOST_NUMBERS = 1200  # cells: more numbers than that nobody reads
# In which corner of a cell with a number in it a mark stands: pruned and revived ones may share a cell.
_CORNERS = {"revived": (-1, -1), "grown": (-1, 1), "vulnerable": (1, 1)}


class Overlay(NamedTuple):
    """Heads that bear the mark of a state, or of one of the two words beside them."""

    state: str
    heads: list[HeadId]


def overlay(state: str, heads: Any, name: str, grid: Grid) -> list[Overlay]:
    """The mark over these heads; none where there are none."""
    chosen = heads_of(heads, name, grid)
    return [Overlay(state, chosen)] if chosen else []


class Shades(NamedTuple):
    """How numbers become colours: the limits, the map, and the words at the colour bar."""

    limits: Colours
    cmap: Colormap
    label: str


def heat_figure(grid: Grid, look: Look) -> tuple[Figure, Axes]:
    """A figure with one panel, of a size that suits the grid."""
    layers, heads = grid.values.shape
    default = (min(max(2.2 + 0.5 * heads, 4.8), 11.0), min(max(1.7 + 0.4 * layers, 2.8), 9.0))
    figure = figure_of(look, default)
    return figure, figure.add_subplot()


def heat_map(
    grid: Grid,
    shades: Shades,
    look: Look,
    overlays: Sequence[Overlay] = (),
    *,
    title: str,
    annotate: bool,
    write: Callable[[float], str] | None = None,
    note: str = "",
) -> Figure:
    """The whole figure of one grid, the `note` beneath its title."""
    figure, axes = heat_figure(grid, look)
    draw_grid(axes, grid, shades, overlays, annotate=annotate, write=write)
    key(figure, overlays, gaps=has_gaps(grid.values))
    figure.headline(title, note)
    return figure.finished(look)


def has_gaps(values: Floats) -> bool:
    """Whether cells will be hatched."""
    return not bool(np.isfinite(values).all())


def draw_grid(
    axes: Axes,
    grid: Grid,
    shades: Shades,
    overlays: Sequence[Overlay] = (),
    *,
    annotate: bool = True,
    title: str = "",
    write: Callable[[float], str] | None = None,
    bar: bool = True,
) -> AxesImage:
    """The grid as cells: layers downwards, heads to the right; every head in an overlay bears its mark.

    Panels that share one colour bar leave it to the last of them: `bar` is False.
    """
    image = cells(axes, grid.values, shades.cmap, shades.limits)
    dressed(axes, title=title, x="head", y="layer", grid="", frame=False)
    if bar:
        colour_bar(image, [axes], shades)
    marks = [(each, _marks(axes, grid, each)) for each in overlays]
    figure = _figure(axes)
    figure.once_laid_out(lambda: _fit(axes, grid, image, marks, (write or _writer(grid.values)) if annotate else None))
    return image


def cells(axes: Axes, values: Floats, cmap: Colormap, limits: Colours, *, square: bool = False) -> AxesImage:
    """An image with a cell for each value; what is not finite shows the hatched ground."""
    theme = theme_at(axes)
    axes.patch.set(facecolor=theme.absent, hatch="////", edgecolor=theme.muted, linewidth=0)
    return axes.imshow(
        np.ma.masked_invalid(values),
        cmap=cmap.with_extremes(bad=(0, 0, 0, 0)),
        vmin=limits.low,
        vmax=limits.high,
        aspect="equal" if square else "auto",
        interpolation="antialiased" if square else "nearest",
        origin="upper",
    )


def colour_bar(image: ScalarMappable, beside: Sequence[Axes], shades: Shades, *, whole: bool = False) -> None:
    """The labelled colour bar of an image, beside the axes that share it."""
    theme = theme_at(beside[0])
    figure = _figure(beside[0])
    spec = beside[0].get_subplotspec()
    share = len(spec.rowspan) / spec.get_gridspec().nrows if spec is not None and len(beside) == 1 else 1.0
    slim: dict[str, Any] = {
        "fraction": 0.05,
        "aspect": max(14.0, 5.5 * figure.get_size_inches()[1] * share),
        "pad": 0.02,
        "extendfrac": 0.03,
    }
    bar = figure.colorbar(image, ax=list(beside), extend=shades.limits.beyond, format=plain_formatter(), **slim)
    bar.set_label(plain(shades.label, theme), **letters(theme))
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(colors=theme.muted, labelcolor=theme.ink, labelsize=theme.size * 0.85, labelfontfamily=theme.font, length=3)
    clothe([bar.ax.yaxis.get_offset_text()], theme, 0.85)
    if whole:
        plain_numbers(bar.ax.yaxis, whole=True)


def handle(state: str, theme: Theme, size: float = 7.0) -> Line2D:
    """A state's mark for a legend."""
    mark = MARKS[state]
    edge = mark.edge if mark.edge == WHITE or theme.background == WHITE else WHITE
    drawn = Line2D([], [], linestyle="", linewidth=1.0, label=mark.word, marker=mark.marker, markersize=size)
    drawn.set(markerfacecolor=theme.fill(mark), markeredgecolor=edge, markeredgewidth=0.8)
    return drawn


def key(figure: Figure, overlays: Sequence[Overlay], *, gaps: bool = False, others: Sequence[Any] = ()) -> None:
    """What marks and hatches mean, beneath the whole figure."""
    theme = figure.theme
    handles: list[Any] = [*others, *(handle(each.state, theme) for each in overlays)]
    if gaps:
        handles.append(Patch(facecolor=theme.absent, edgecolor=theme.muted, hatch="////", linewidth=0, label="no value"))
    if not handles:
        return
    size = theme.size * 0.9
    widest = max(width(str(each.get_label()), size, theme.font) for each in handles) + 4.2 * size
    columns = min(max(int((figure.get_size_inches()[0] * 72 - 20) / widest), 1), len(handles))
    tight: dict[str, Any] = {"fontsize": size, "handlelength": 1.4, "columnspacing": 1.4, "borderpad": 0.2, "borderaxespad": 0.4}
    made = figure.legend(handles=handles, loc="outside lower left", ncols=columns, frameon=False, **tight)
    clothe(made.get_texts(), theme)


def _marks(axes: Axes, grid: Grid, over: Overlay) -> PathCollection:
    """One marker for each head, at (head, row of its layer)."""
    mark = MARKS[over.state]
    places = [(head.head, grid.row(head)) for head in over.heads]
    drawn = axes.scatter(*zip(*places, strict=True), s=30, marker=mark.marker, c=mark.colour, edgecolors=mark.edge, linewidths=0.8)
    drawn.set(label=mark.word, zorder=3, clip_on=False)
    return drawn


def _fit(
    axes: Axes, grid: Grid, image: AxesImage, marks: list[tuple[Overlay, PathCollection]], write: Callable[[float], str] | None
) -> None:
    """Ticks, numbers and markers by the size that a cell has come to."""
    theme = theme_at(axes)
    wide, high = cell_size(axes, grid.values.shape)
    size = theme.size * 0.9
    numbered(axes.xaxis, [str(head) for head in range(grid.heads)], wide * grid.heads, size * (0.9 + 0.6 * len(str(grid.heads))))
    numbered(axes.yaxis, [str(layer) for layer in grid.layers], high * len(grid.layers), size * 1.3)
    written = write is not None and _annotate(axes, image, write, wide, high * (0.8 if marks else 1))
    for over, drawn in marks:
        size = min(max((0.25 if written else 0.62) * min(wide, high), 1.4), 9.0)
        sized(drawn, size)
        if written:
            right, down = _CORNERS.get(over.state, (1, -1))
            inset = size / 2 + 1.2
            corner = Affine2D().translate(right * (0.5 - inset / wide), down * (0.5 - inset / high))
            drawn.set_offset_transform(corner + axes.transData)


def sized(marks: PathCollection, size: float) -> None:
    """Markers of so many points across; the edge of small ones would hide their colour, unless it is what shows a dark one."""
    light = len(marks.get_edgecolor()) > 0 and float(np.asarray(marks.get_edgecolor())[0, :3].min()) > 0.9
    marks.set_sizes([size**2])
    marks.set_linewidth(0.8 if size > 5.5 else 0.4 if size > 3.5 or light else 0.0)


def cell_size(axes: Axes, shape: tuple[int, ...]) -> tuple[float, float]:
    """How wide and how high a cell is, in points."""
    box = axes.get_window_extent()
    points = 72 / _figure(axes).dpi
    return box.width * points / shape[1], box.height * points / shape[0]


def _annotate(axes: Axes, image: AxesImage, write: Callable[[float], str], wide: float, high: float) -> bool:
    """The numbers in their cells, black or white by contrast; False where they do not fit."""
    theme = theme_at(axes)
    values = np.ma.filled(np.ma.asarray(image.get_array()), np.nan)
    if values.size > _MOST_NUMBERS:
        return False
    texts = {(row, head): write(float(values[row, head])) for row, head in np.argwhere(np.isfinite(values)).tolist()}
    if not texts:
        return False
    widest = max(width(text, 1.0, theme.font) for text in set(texts.values()))
    size = min(theme.size, 0.84 * wide / widest, 0.62 * high)
    if size < _SMALLEST:
        return False
    colours: Any = image.cmap(image.norm(values))
    for (row, head), text in texts.items():
        style = letters(theme, size / theme.size, readable_on(colours[row, head]))
        drawn = axes.text(head, row, text, ha="center", va="center", clip_on=True, **style)
        drawn.set_in_layout(False)
    return True


def readable_on(colour: Sequence[float]) -> str:
    """Black or white: whichever stands out more from a colour."""
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3])
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return BLACK if (light + 0.05) / 0.05 > 1.05 / (light + 0.05) else WHITE


def _writer(values: Floats) -> Callable[[float], str]:
    """All numbers of a grid in the same way: with as many decimals as its largest ones need for three digits."""
    known = np.abs(values[np.isfinite(values)])
    largest = float(known.max()) if known.size else 0.0
    if largest and not 5e-3 <= largest < 1e5:
        return number
    decimals = 0 if largest >= 100 else 1 if largest >= 10 else 2 if largest >= 0.5 else 3 if largest >= 0.05 else 4
    return lambda value: f"{value:z.{decimals}f}"


def _figure(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    if not isinstance(figure, Figure):
        raise SettingNotUsable(f"These axes belong to a {type(figure).__name__}; make them with panel().")
    return figure
