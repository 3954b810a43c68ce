"""The picture of what pruning costs against what it wins: quality and measured speed of one run or several."""

from collections.abc import Sequence
from typing import NamedTuple, Unpack

import numpy as np
from matplotlib.axes import Axes

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.canvas import Figure, Look, Style, dressed, legend, letters
from neural_plasticity.figures.chronicle import Chronicle
from neural_plasticity.figures.lettering import cut, number, plain, width
from neural_plasticity.figures.panels import panels
from neural_plasticity.figures.scale import plain_numbers, upright
from neural_plasticity.record.events import Compared

PASSES = {"prefill": "reading", "decode": "writing"}
_MARKERS = "osD^vP*X"


class Bound(NamedTuple):
    """A number and the ends of its interval."""

    value: float
    low: float
    high: float


class Point(NamedTuple):
    """What a run cost and what it won."""

    name: str
    group: str
    loss: Bound
    speeds: dict[str, Bound]


def quality_speed(
    many: list[Chronicle],
    *,
    title: str = "Quality against measured speed",
    left_out: Sequence[str] = (),
    **style: Unpack[Style],
) -> Figure:
    """A point for each run: how much faster it became, measured, and how much its loss changed, each with its interval of 95 %.

    Both are against the baseline, the model as it was given. A panel each for reading a text and for writing. Runs without a
    measured speed have no place; they, and those that were `left_out` before, are named beneath the title.
    """
    look = Look.of(**style)
    found = [(told, point_of(told)) for told in many]
    points = [point for _, point in found if point is not None]
    if not points:
        raise SettingNotUsable(
            f"None of {len(many)} runs holds both a comparison of quality and a measured speed; take runs whose heads were removed "
            "and whose speed_tokens is not 0."
        )
    measured = [name for name in PASSES if any(name in point.speeds for point in points)]
    figure, drawn = panels(look, len(measured), (5.6 * len(measured), 4.4) if len(measured) > 1 else (6.4, 4.6))
    for axes, name in zip(drawn, measured, strict=True):
        dressed(
            axes,
            title=f"{PASSES[name]} a text",
            x="times as fast as with all heads",
            y="rise of the loss over the baseline (nats)",
            grid="both",
        )
        _draw(axes, [point for point in points if name in point.speeds], name, look)
    left = [*left_out, *(f"{told.run.name} (no measured speed)" for told, point in found if point is None)]
    said = ["bars are intervals of 95 %", "the dotted lines are the model as it was given", without(left)]
    figure.headline(title, "; ".join(part for part in said[0 if _has_intervals(points) else 1 :] if part))
    return figure.finished(look)


def without(left_out: Sequence[str]) -> str:
    """Words that name the runs that have no place; none where all have one."""
    count = f"{len(left_out)} runs are " if len(left_out) > 1 else ""
    return f"{count}left out: {', '.join(left_out)}" if left_out else ""


def _has_intervals(points: list[Point]) -> bool:
    return any(bound.high > bound.low for point in points for bound in (point.loss, *point.speeds.values()))


def point_of(told: Chronicle) -> Point | None:
    """The point of a run, if it measured both."""
    speeds: dict[str, Bound] = {}
    loss: Bound | None = None
    for event in told.events(Compared):
        values = event.values
        for name in PASSES:
            if f"{name}_ratio" in values:
                ends = [values.get(f"{name}_{end}", values[f"{name}_ratio"]) for end in ("low", "high")]
                speeds[name] = Bound(values[f"{name}_ratio"], *ends)
        if event.before == "baseline" and "mean_difference" in values:
            value = values["mean_difference"]
            loss = Bound(value, values.get("low", value), values.get("high", value))
    if loss is None or not speeds:
        return None
    level = told.settings.get("level")
    share = f" {number(100 * float(level))} %" if isinstance(level, (int, float)) else ""
    return Point(told.run.name, f"{told.settings.get('strategy') or told.model}{share}", loss, speeds)


def _draw(axes: Axes, points: list[Point], name: str, look: Look) -> None:
    groups = list(dict.fromkeys(point.group for point in points))
    colours = look.colours(len(groups))
    drawn: dict[str, object] = {}
    for point in points:
        place = groups.index(point.group)
        speed, colour = point.speeds[name], colours[place]
        if speed.high > speed.low:
            axes.hlines(point.loss.value, speed.low, speed.high, color=colour, linewidth=1.2)
        if point.loss.high > point.loss.low:
            axes.vlines(speed.value, point.loss.low, point.loss.high, color=colour, linewidth=1.2)
        (dot,) = axes.plot([speed.value], [point.loss.value], marker=_MARKERS[place % len(_MARKERS)], color=colour, linestyle="")
        dot.set(label=plain(point.group, look.theme), markersize=7, markeredgecolor=look.theme.background, zorder=4)
        drawn[point.group] = dot
    axes.axhline(0, color=look.theme.muted, linewidth=0.9, linestyle=(0, (1.5, 1.5)))
    axes.axvline(1, color=look.theme.muted, linewidth=0.9, linestyle=(0, (1.5, 1.5)))
    upright(axes, [np.array([0.0, *(number for point in points for number in point.loss)])], log=False)
    reach = np.array([1.0, *(number for point in points for number in point.speeds[name])])
    reach = reach[np.isfinite(reach)]
    room = 0.06 * float(np.ptp(reach)) or 0.1
    axes.set_xlim(float(reach.min()) - room, float(reach.max()) + room)
    plain_numbers(axes.xaxis)
    if len(groups) > 1:
        legend(axes, list(drawn.values()))
    else:
        _named(axes, points[0], name)


def _named(axes: Axes, point: Point, name: str) -> None:
    """The one group's name beside its point."""
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    theme = figure.theme
    size = theme.size * 0.9
    text = cut(plain(point.group, theme), size, theme.font, 160.0)
    low, high = axes.get_xlim()
    left = (point.speeds[name].value - low) / (high - low) > 0.5
    place = {"xytext": (-8 if left else 8, 6), "textcoords": "offset points", "ha": "right" if left else "left"}
    if width(text, size, theme.font) < 160:
        axes.annotate(text, (point.speeds[name].value, point.loss.value), **place, **letters(theme, 0.9)).set_in_layout(False)
