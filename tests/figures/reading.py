"""Figures read back: what the artists hold, against which the input is compared."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text


def values_of(axes: Axes) -> np.ndarray:
    """The numbers behind the cells of a heat map, NaN where a cell is hatched."""
    (image,) = axes.images
    return np.ma.filled(np.ma.asarray(image.get_array()).astype(float), np.nan)


def limits_of(axes: Axes) -> tuple[float, float]:
    return axes.images[0].get_clim()


def line(axes: Axes, label: str) -> Line2D:
    (found,) = [each for each in axes.lines if each.get_label() == label]
    return found


def curve(axes: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    found = line(axes, label)
    return np.asarray(found.get_xdata(), float), np.asarray(found.get_ydata(), float)


def marks(axes: Axes, label: str) -> list[tuple[float, float]]:
    """Where the markers of a state stand, in the panel's numbers."""
    found = [each for each in axes.collections if each.get_label() == label]
    return [tuple(place) for each in found for place in np.asarray(each.get_offsets()).tolist()]


def colour_of(axes: Axes, label: str) -> str:
    (found,) = [each for each in axes.collections if each.get_label() == label]
    return to_hex(found.get_facecolor()[0])


def posts(axes: Axes) -> list[float]:
    """The steps at which upright lines stand, from the left."""
    return sorted(
        float(each.get_xdata()[0]) for each in axes.lines if len(set(each.get_xdata())) == 1 and len(each.get_xdata()) == 2
    )


def bars(axes: Axes, label: str) -> list[float]:
    """The upper or lower ends of the bars of a group, from left to right."""
    found = [patch for container in axes.containers if container.get_label() == label for patch in container.patches]
    return [patch.get_y() + patch.get_height() for patch in sorted(found, key=lambda patch: patch.get_x())]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in texts(figure) if text.get_text()]


def texts(figure: Figure) -> list[Text]:
    return figure.findobj(Text)


def shown(figure: Figure) -> list[Text]:
    """Every text that is drawn: ticks beyond an axis' ends are not."""
    hidden: set[Text] = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        slack = 1e-6 * (high - low)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not low - slack <= tick.get_loc() <= high + slack:
                hidden |= {tick.label1, tick.label2}
    return [text for text in dict.fromkeys(texts(figure)) if text.get_visible() and text.get_text().strip() and text not in hidden]


def titled(figure: Any, title: str) -> Axes:
    (found,) = [axes for axes in figure.axes if axes.get_title(loc="left") == title]
    return found


def bar_label(figure: Figure) -> str:
    """What the colour bar of a figure with one heat map says."""
    return figure.axes[-1].get_ylabel()
