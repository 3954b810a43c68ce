"""Pictures of several panels: how they are arranged, and panels that hold words."""

from collections.abc import Sequence
from math import ceil

from matplotlib.axes import Axes

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.canvas import Figure, Look, dressed, figure_of, letters, theme_at
from neural_plasticity.figures.lettering import cut, plain, width

_WIDE, _HIGH = 2.8, 1.55  # inches that a panel needs to be read

_SMALLEST = 6.0  # points


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
    """A panel of words: what is known, line by line, its value to the right."""
    theme = theme_at(axes)
    dressed(axes, title=title, grid="", frame=False)
    axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)

    def fit() -> None:
        box = axes.get_window_extent()
        wide, high = box.width * 72 / figure.dpi, box.height * 72 / figure.dpi
        line = min(theme.size * 1.75, high / max(len(pairs), 1))
        size = min(theme.size, line / 1.2)
        names = max((width(plain(name, theme), size, theme.font) for name, _ in pairs), default=0.0)
        values = max((width(plain(value, theme), size, theme.font) for _, value in pairs), default=0.0)
        smaller = min(1.0, max((wide - 10) / (names + values + 1), _SMALLEST / size))  # rather than to cut a sentence
        size, names, values = size * smaller, names * smaller, values * smaller
        right = min(max(names + values + 3 * size, 150.0), wide)
        for place, (name, value) in enumerate(pairs):
            y, scale = 1 - (place + 0.5) * line / high, size / theme.size
            called = cut(plain(name, theme), size, theme.font, wide if not value else 0.6 * wide)
            known = cut(plain(value, theme), size, theme.font, right - width(called, size, theme.font) - 3 * size)
            axes.text(0, y, called, va="center", **letters(theme, scale, theme.muted)).set_in_layout(False)
            axes.text(right / wide, y, known, va="center", ha="right", **letters(theme, scale)).set_in_layout(False)

    figure.once_laid_out(fit)
