"""Pictures of several panels: how they are arranged, and panels that hold words."""

from collections.abc import Sequence
from math import ceil

from matplotlib.axes import Axes

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.canvas import Figure, Look, dressed, figure_of, letters, theme_at
from neural_plasticity.figures.lettering import cut, plain, width, wrapped

_WIDE, _HIGH = 2.8, 1.55  # inches that a panel needs to be read

_SMALLEST = 6.0  # points
_LINES = 12  # that a sentence may be broken into


def panels(look: Look, count: int, default: tuple[float, float], *, leading: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, as many side by side as its width allows; a `leading` one takes the first row."""
    figure = figure_of(look, default)
    wide, high = figure.get_size_inches()
    following = count - 1 if leading else count
    fit = max(int(wide / _WIDE), 1)
    columns = _even(following, min(fit, max(following, 1), 3))
    rows = ceil(following / columns) + (1 if leading else 0)
    if count > 1 and high < rows * _HIGH:
        raise SettingNotUsable(
            f"figsize is ({wide:g}, {high:g}), and {count} panels so wide need a height of {ceil(rows * _HIGH)} inches; give more."
        )
    places = figure.add_gridspec(rows, columns)
    made = [figure.add_subplot(places[0, :])] if leading else []
    first = 1 if leading else 0
    for place in range(following):
        row, column = divmod(place, columns)
        last = place == following - 1
        made.append(figure.add_subplot(places[row + first, column:] if last else places[row + first, column]))
    return figure, made


def _even(count: int, most: int) -> int:
    """How many columns leave the fewest places empty, of those that need no more rows."""
    rows = ceil(count / most) if count else 1
    return max(ceil(count / rows), 1)


def facts(axes: Axes, title: str, pairs: Sequence[tuple[str, str]]) -> None:
    """A panel of words: what is known, line by line, its value to the right; sentences are broken into several lines."""
    theme = theme_at(axes)
    dressed(axes, title=title, grid="", frame=False)
    axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    known = [(plain(name, theme), plain(value, theme)) for name, value in pairs]

    def fit() -> None:
        box = axes.get_window_extent()
        wide, high = box.width * 72 / figure.dpi, box.height * 72 / figure.dpi
        names, values = (max((width(pair[side], theme.size, theme.font) for pair in known), default=0.0) for side in (0, 1))
        if names + values + 3 * theme.size <= wide:
            _beside(axes, known, wide, high)
        else:
            _broken(axes, known, wide, high)

    figure.once_laid_out(fit)


def _beside(axes: Axes, pairs: Sequence[tuple[str, str]], wide: float, high: float) -> None:
    """A line for each, the values in a column that ends at one place."""
    theme = theme_at(axes)
    line = min(theme.size * 1.75, high / max(len(pairs), 1))
    size = min(theme.size, line / 1.2)
    both = max((width(name, size, theme.font) for name, _ in pairs), default=0.0)
    both += max((width(value, size, theme.font) for _, value in pairs), default=0.0)
    right = min(max(both + 3 * size, 150.0), wide)
    for place, (name, value) in enumerate(pairs):
        y, scale = 1 - (place + 0.5) * line / high, size / theme.size
        axes.text(0, y, name, va="center", **letters(theme, scale, theme.muted)).set_in_layout(False)
        axes.text(right / wide, y, value, va="center", ha="right", **letters(theme, scale)).set_in_layout(False)


def _broken(axes: Axes, pairs: Sequence[tuple[str, str]], wide: float, high: float) -> None:
    """The values as blocks of lines beside the names, in the largest letters in which all of them have room."""
    theme = theme_at(axes)
    sizes = [theme.size - 0.25 * step for step in range(max(int((theme.size - _SMALLEST) / 0.25), 0) + 1)]
    tries = [*((size, _LINES) for size in sizes), *((sizes[-1], lines) for lines in range(_LINES - 1, 0, -1))]
    blocks, size = [("", "")], sizes[-1]
    for size, lines in tries:
        blocks = _blocks(pairs, size, theme.font, wide, lines)
        if sum(_height(block, size) for block in blocks) <= high:
            break
    left = _left(pairs, size, theme.font, wide)
    tight = min(1.0, high / sum(_height(block, size) for block in blocks))  # where the smallest letters have no room either
    y = 0.0
    for name, value in blocks:
        style = {"va": "top", "linespacing": 1.05}
        axes.text(0, 1 - y / high, name, **style, **letters(theme, size / theme.size, theme.muted)).set_in_layout(False)
        axes.text(left / wide, 1 - y / high, value, **style, **letters(theme, size / theme.size)).set_in_layout(False)
        y += tight * _height((name, value), size)


def _blocks(pairs: Sequence[tuple[str, str]], size: float, font: str, wide: float, lines: int) -> list[tuple[str, str]]:
    left = _left(pairs, size, font, wide)
    room = 0.94 * (wide - left)  # letters on a grid of pixels are a little wider than they are drawn to be
    return [
        (cut(name, size, font, left - size if value else wide), wrapped(value, size, font, room, lines)) for name, value in pairs
    ]


def _left(pairs: Sequence[tuple[str, str]], size: float, font: str, wide: float) -> float:
    """Where the values begin: behind the longest name, unless that leaves them less than half of the panel."""
    return min(max((width(name, size, font) for name, value in pairs if value), default=0.0) + 1.5 * size, 0.5 * wide)


def _height(block: tuple[str, str], size: float) -> float:
    return size * (1.25 * (1 + block[1].count("\n")) + 0.45)
