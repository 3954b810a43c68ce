"""The picture of every head's life: when it was pruned and why, and who came back."""

from typing import Any, Unpack

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from neural_plasticity.figures.canvas import Figure, Look, Style, dressed, figure_of, letters
from neural_plasticity.figures.chronicle import Chronicle, Turn
from neural_plasticity.figures.heat import Overlay, key, sized
from neural_plasticity.figures.lettering import plain, width, wrapped
from neural_plasticity.figures.scale import numbered, whole_positive
from neural_plasticity.figures.theme import MARKS, Theme
from neural_plasticity.heads import HeadId

_MOST = 64  # heads whose names can be read
_REASONS = 6.5  # inches from which there is room for words beside the lines
_SMALLEST, _MARGIN = 6.0, 12.0  # points: of letters, and kept free to the right, as the last layout may move the panel
_LINE = {"active": 1.6, "dormant": 0.8, "removed": 0.8, "revived": 2.2, "grown": 2.2}


def life(told: Chronicle, *, most: int = _MOST, title: str = "Lives of the heads", **style: Unpack[Style]) -> Figure:
    """A line for each head over the cycles: thick while it works, thin while it sleeps, with a mark wherever that changed and
    the reason of the last change beside it. Of more than `most` heads, those that changed are shown, the most often changed
    first chosen.
    """
    look = Look.of(**style)
    shown = _chosen(told, whole_positive(most, "most"))
    figure = figure_of(look, (11.0, min(max(2.0 + 0.155 * len(shown), 3.2), 14.0)))
    across, high = figure.get_size_inches()
    wide = across >= _REASONS and (high - 1.3) * 72 >= _SMALLEST * len(shown)
    places = figure.add_gridspec(1, 2, width_ratios=[1.0, 1.15]) if wide else figure.add_gridspec(1, 1)
    axes = figure.add_subplot(places[0, 0])
    _draw(axes, told, shown, look.theme)
    if wide:
        _reasons(figure.add_subplot(places[0, 1], sharey=axes), told, shown, figure)
    there = {turn.became for head in shown for turn in told.lives[head]}
    key(figure, [Overlay(state, []) for state in ("pruned", "removed", "revived", "grown") if state in there])
    figure.headline(title, _said(told, len(shown)))
    return figure.finished(look)


def _chosen(told: Chronicle, most: int) -> list[HeadId]:
    """The heads to show, in their order."""
    heads = list(told.heads)
    if len(heads) > most:
        changed = sorted((head for head in heads if told.lives[head]), key=lambda head: (-len(told.lives[head]), head))
        heads = sorted(changed[:most])
    return heads


def _draw(axes: Axes, told: Chronicle, shown: list[HeadId], theme: Theme) -> None:
    dressed(axes, x="cycle", y="head", grid="x")
    last = max(told.cycles, 1)
    stretches: dict[str, list[list[tuple[float, float]]]] = {}
    marks: dict[str, list[tuple[float, float]]] = {}
    for row, head in enumerate(shown):
        for state, begin, end in _stretches(told.lives[head], last):
            stretches.setdefault(state, []).append([(begin, row), (end, row)])
        for turn in told.lives[head]:
            marks.setdefault(turn.became, []).append((turn.cycle, row))
    for state, lines in stretches.items():
        axes.add_collection(
            LineCollection(lines, colors=_ink(state, theme), linewidths=_LINE.get(state, 1.6), label=f"_{state}", zorder=2)
        )
    for became, at in marks.items():
        mark = MARKS[became]
        scattered = axes.scatter(*zip(*at, strict=True), marker=mark.marker, c=mark.colour, edgecolors=mark.edge)
        scattered.set(label=mark.word, zorder=4, clip_on=False)
        sized(scattered, 6.0 if len(shown) <= _MOST else 3.5)
    axes.set(xlim=(-0.1, last + 0.6), ylim=(len(shown) - 0.4, -0.6))
    _scale(axes, shown, last, theme)


def _scale(axes: Axes, shown: list[HeadId], last: int, theme: Theme) -> None:
    """The heads' names downwards, cycles to the right, and a faint line between layers."""
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    for row in range(1, len(shown)):
        if shown[row].layer != shown[row - 1].layer:
            axes.axhline(row - 0.5, color=theme.grid, linewidth=0.7, zorder=0)
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)

    def fit() -> None:
        box = axes.get_window_extent()
        numbered(axes.yaxis, [str(head) for head in shown], box.height * 72 / figure.dpi, theme.size * 1.2)
        numbered(axes.xaxis, [str(cycle) for cycle in range(last + 1)], box.width * 72 / figure.dpi, theme.size * 2.0)

    axes.set_yticks(range(len(shown)), [str(head) for head in shown], parse_math=False)
    figure.once_laid_out(fit)


def _ink(state: str, theme: Theme) -> str:
    """The colour of a state; active heads in the theme's ink, as navy is lost on a dark ground."""
    return theme.muted if state in ("dormant", "removed") else theme.ink if state == "active" else MARKS[state].colour


def _stretches(turns: list[Turn], last: int) -> list[tuple[str, float, float]]:
    """From when to when a head was in which state."""
    states = ["active", *({"pruned": "dormant"}.get(turn.became, turn.became) for turn in turns)]
    bounds = [0.0, *(float(turn.cycle) for turn in turns), last + 0.5]
    return [(state, begin, end) for state, begin, end in zip(states, bounds, bounds[1:], strict=False) if end > begin]


def _reasons(axes: Axes, told: Chronicle, shown: list[HeadId], figure: Figure) -> None:
    """Beside each line, why its last change came."""
    dressed(axes, title="why, the last time", grid="", frame=False)
    axes.tick_params(axis="both", length=0, labelleft=False, labelbottom=False)
    axes.set_xlim(0, 1)

    said = {row: plain(_because(told.lives[head][-1]), figure.theme) for row, head in enumerate(shown) if told.lives[head]}
    longest = max((width(text, 1.0, figure.theme.font) for text in said.values()), default=1.0)

    def fit() -> None:
        box = axes.get_window_extent()
        room, high = box.width * 72 / figure.dpi - _MARGIN, box.height * 72 / figure.dpi / max(len(shown), 1)
        size = min(figure.theme.size * 0.85, high * 0.8)
        lines = int(high / (1.25 * size)) if size > 0 else 0
        if lines < 2:  # else a sentence is broken before its letters become small
            size = min(size, max(room / longest, _SMALLEST))
        if size < 4.5:
            return
        for row, text in said.items():
            awake = told.lives[shown[row]][-1].became in ("revived", "grown")
            style: dict[str, Any] = letters(
                figure.theme, size / figure.theme.size, figure.theme.ink if awake else figure.theme.muted
            )
            shown_as = wrapped(text, size, figure.theme.font, room, max(lines, 1))
            style |= {"linespacing": 1.05} if "\n" in shown_as else {}
            axes.text(0, row, shown_as, va="center", **style).set_in_layout(False)

    figure.once_laid_out(fit)


def _because(turn: Turn) -> str:
    return f"{turn.became} in {turn.cycle}" + (f": {turn.reason}" if turn.reason else "")


def _said(told: Chronicle, shown: int) -> str:
    """How many went, how many came back, how many are not shown."""
    asleep = len(told.heads) - told.awake(told.cycles)
    back = sum(1 for turns in told.lives.values() if any(turn.became == "revived" for turn in turns))
    said = f"{asleep} of {len(told.heads)} heads sleep at the end; {back} came back on the way"
    return said if shown == len(told.heads) else f"{said}; {shown} of those that changed are shown"
