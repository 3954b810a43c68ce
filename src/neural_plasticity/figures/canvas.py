"""The `Figure` that every function here returns: made without pyplot, it shows and saves itself."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict, Unpack

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap, is_color_like, to_hex
from matplotlib.figure import Figure as PlainFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

from neural_plasticity.errors import SettingNotUsable, said
from neural_plasticity.figures.coerce import array_of
from neural_plasticity.figures.lettering import cut, plain, width, wrapped
from neural_plasticity.figures.theme import Theme, theme_of

DPI = 110
_LEAST, _MOST = (2.4, 2.0), 100.0  # inches: smaller pictures have no room for their words
_SUFFIXES = ("png", "svg", "pdf")
# Files are the same whenever they are drawn: no date goes into them.
_UNDATED: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


class Style(TypedDict, total=False):
    """What every figure function takes beside its own arguments."""

    figsize: tuple[float, float] | None
    cmap: str | Colormap | tuple[str, ...] | None
    save_path: str | PathLike[str] | None
    theme: str | Theme


@dataclass(frozen=True, slots=True)
class Look:
    """A style that was checked."""

    theme: Theme
    figsize: tuple[float, float] | None
    cmap: Colormap | None
    save_path: str | PathLike[str] | None

    @classmethod
    def of(cls, **style: Unpack[Style]) -> "Look":
        """The look that these words ask for; anything that is no style is refused."""
        for name in style:
            if name not in Style.__annotations__:
                near = get_close_matches(name, Style.__annotations__, 1)
                hint = f"did you mean {near[0]}?" if near else "leave it out."
                raise SettingNotUsable(f"A figure takes no {name!r}; its style is {', '.join(Style.__annotations__)}: {hint}")
        path = style.get("save_path")
        if path is not None:
            suffix_of(path)
        cmap = style.get("cmap")
        return cls(theme_of(style.get("theme", "light")), _size(style.get("figsize")), None if cmap is None else map_of(cmap), path)

    def map(self, name: str | tuple[str, ...]) -> Colormap:
        """The colour map that was asked for, else the one of this name or through these colours."""
        return self.cmap or map_of(name)

    def colours(self, count: int) -> list[str]:
        """Colours to tell so many things apart."""
        if self.cmap is not None:
            return [to_hex(self.cmap(place)) for place in np.linspace(0.1, 0.85, max(count, 1))]
        return [self.theme.colours[place % len(self.theme.colours)] for place in range(count)]


class Figure(PlainFigure):
    """A picture on a canvas of its own; as the last value of a notebook's cell it shows itself, once."""

    def __init__(self, figsize: tuple[float, float], theme: Theme) -> None:
        self._engine = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, hspace=0.03, wspace=0.03)
        super().__init__(figsize=figsize, dpi=DPI, facecolor=theme.background, edgecolor="none", layout=self._engine)
        FigureCanvasAgg(self)
        self.theme = theme
        self.shows_itself = True
        self._fits: list[Callable[[], None]] = []

    def _repr_png_(self) -> bytes | None:
        return self.drawn("png") if self.shows_itself else None

    def drawn(self, suffix: str) -> bytes:
        """The picture as a file's content: png, svg or pdf."""
        content = io.BytesIO()
        self.savefig(content, format=suffix, dpi="figure", facecolor=self.theme.background, metadata=_UNDATED[suffix])
        return content.getvalue()

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the picture as png, svg or pdf, by the path's suffix; folders on the way are made."""
        suffix, place = suffix_of(path), Path(path)
        content = self.drawn(suffix)  # before anything is touched, so that no half picture is left behind
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        except OSError as fault:
            raise SettingNotUsable(f"The picture cannot be saved as {place} ({said(fault)}); choose another save_path.") from fault
        return place

    def once_laid_out(self, fit: Callable[[], None]) -> None:
        """Do this when every place is known: what depends on how much room there is."""
        self._fits.append(fit)

    def finished(self, look: Look) -> "Figure":
        """The figure laid out, with all that depends on it, and saved where that was asked for."""
        self._engine.execute(self)
        for fit in self._fits:
            fit()
        self._fits.clear()
        if look.save_path is not None:
            self.save(look.save_path)
        return self

    def headline(self, title: str, note: str = "") -> None:
        """The title over everything, from the left, with a smaller line beneath it; the panels keep clear of both."""
        theme, (wide, high) = self.theme, self.get_size_inches() * 72
        down = 8.0
        for words, scale, colour, write in ((title, 1.3, theme.ink, self.suptitle), (note, 0.95, theme.muted, self._line)):
            if words:
                size = theme.size * scale
                text = wrapped(plain(words, theme), size, theme.font, wide - 16, 3 if high >= 180 else 1)
                drawn = write(text, x=8 / wide, y=1 - down / high, ha="left", va="top", **letters(theme, scale, colour))
                drawn.set_in_layout(False)
                down += size * 1.3 * (text.count("\n") + 1)
        self._engine.set(rect=(0, 0, 1, max(1 - down / high, 0.2)))

    def _line(self, text: str, *, x: float, y: float, **style: Any) -> Text:
        return self.text(x, y, text, **style)


def figure_of(look: Look, default: tuple[float, float]) -> Figure:
    """An empty figure of the size asked for, else of the default one."""
    return Figure(look.figsize or default, look.theme)


def panel(figsize: tuple[float, float] = (6.4, 4.4), theme: str | Theme = "light") -> tuple[Figure, Axes]:
    """A figure with one dressed panel."""
    figure = Figure(figsize, theme_of(theme))
    return figure, dressed(figure.add_subplot())


def letters(theme: Theme, scale: float = 1.0, colour: str | None = None) -> dict[str, Any]:
    """How words are written: never read as formulas, in the theme's letters."""
    return {"fontsize": theme.size * scale, "fontfamily": theme.font, "color": colour or theme.ink, "parse_math": False}


def theme_at(axes: Axes) -> Theme:
    """The theme of the figure that these axes stand in."""
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure.theme


def dressed(axes: Axes, *, title: str = "", x: str = "", y: str = "", grid: str = "y", frame: bool = True) -> Axes:
    """The axes in the theme's clothes, with their words."""
    theme = theme_at(axes)
    axes.set_facecolor(theme.background)
    axes.tick_params(colors=theme.muted, labelcolor=theme.ink, labelsize=theme.size * 0.9, labelfontfamily=theme.font)
    axes.tick_params(which="both", length=3, width=0.6)
    for side, spine in axes.spines.items():
        spine.set(color=theme.muted, linewidth=0.7, visible=frame and side in ("left", "bottom"))
    axes.grid(visible=False)
    if grid:
        axes.grid(visible=True, axis=grid, color=theme.grid, linewidth=0.7)  # type: ignore[arg-type]
        axes.set_axisbelow(True)
    axes.set_xlabel(plain(x, theme), **letters(theme))
    axes.set_ylabel(plain(y, theme), **letters(theme))
    fitting = cut(plain(title, theme), theme.size * 1.05, theme.font, max(panel_width(axes), 40.0))
    axes.set_title(fitting, loc="left", pad=5, **letters(theme, 1.05))
    return axes


def legend(axes: Axes, handles: Sequence[Any]) -> None:
    """A legend over the panel: on the line of its title where both fit, else on lines of its own beneath the title."""
    theme, room = theme_at(axes), panel_width(axes)
    size = theme.size * 0.9
    widths = [width(str(handle.get_label()), size, theme.font) + 3.8 * size for handle in handles]
    beside = width(axes.get_title(loc="left"), theme.size * 1.05, theme.font) + sum(widths) <= room
    columns = len(handles) if beside else min(max(int(room / max(widths, default=1.0)), 1), len(handles))
    tight: dict[str, Any] = {
        "fontsize": size,
        "handlelength": 1.6,
        "borderpad": 0.2,
        "columnspacing": 1.2,
        "labelspacing": 0.3,
        "borderaxespad": 0.15,
    }
    corner: dict[str, Any] = (
        {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0)} if beside else {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0)}
    )
    clothe(axes.legend(handles=list(handles), frameon=False, ncols=columns, **corner, **tight).get_texts(), theme)
    if not beside:
        axes.set_title(
            axes.get_title(loc="left"), loc="left", pad=6 + 1.5 * size * -(-len(handles) // columns), **letters(theme, 1.05)
        )


def panel_width(axes: Axes) -> float:
    """About how wide a panel will be, in points, before it is laid out."""
    spec = axes.get_subplotspec()
    share = 1.0 if spec is None else len(spec.colspan) / spec.get_gridspec().ncols
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    return float(figure.get_size_inches()[0]) * 72 * share - 56


def clothe(texts: Sequence[Text], theme: Theme, scale: float = 0.9) -> None:
    """Texts that matplotlib made, in the theme's letters."""
    for text in texts:
        text.set(**letters(theme, scale))


def map_of(cmap: str | Colormap | tuple[str, ...]) -> Colormap:
    """The colour map of this name, or through these colours; a map as it is."""
    if isinstance(cmap, Colormap):
        return cmap
    if isinstance(cmap, tuple) and len(cmap) > 1 and all(map(is_color_like, cmap)):
        return LinearSegmentedColormap.from_list("colours", cmap)
    if not isinstance(cmap, str) or cmap not in mpl.colormaps:
        near = get_close_matches(str(cmap), list(mpl.colormaps), 1)
        raise SettingNotUsable(
            f"There is no colour map {cmap!r:.60}; take {near[0] if near else 'viridis'} or another of matplotlib."
        )
    return mpl.colormaps[cmap]


def suffix_of(path: Any) -> str:
    """The kind of file that a path asks for."""
    suffix = Path(path).suffix.lower().removeprefix(".") if isinstance(path, (str, PathLike)) else ""
    if suffix not in _SUFFIXES:
        raise SettingNotUsable(f"A picture cannot be saved as {str(path)!r:.200}; let the name end in .png, .svg or .pdf.")
    return suffix


def _size(figsize: tuple[float, float] | None) -> tuple[float, float] | None:
    if figsize is None:
        return None
    sides = array_of(figsize, "figsize").ravel().tolist()
    if len(sides) != 2 or not all(least <= side <= _MOST for side, least in zip(sides, _LEAST, strict=True)):
        raise SettingNotUsable(f"figsize is {figsize!r:.60}; it is (width, height) in inches, from {_LEAST} to {_MOST:g} each.")
    return sides[0], sides[1]
