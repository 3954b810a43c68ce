"""Pictures of one head's attention over a run: at one moment, and before, after and across the cycles."""

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
from matplotlib.axes import Axes

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.attention import WEIGHTS, visualize_attention_matrix
from neural_plasticity.figures.canvas import Figure, Look, Style, dressed, figure_of
from neural_plasticity.figures.chronicle import Chronicle, Seen
from neural_plasticity.figures.coerce import Floats
from neural_plasticity.figures.heat import Shades, cells, colour_bar
from neural_plasticity.figures.lettering import number
from neural_plasticity.figures.scale import colours_of
from neural_plasticity.heads import HeadId

_LEGIBLE = 64  # tokens: more of them cannot be written at the edges
_BESIDE = 6.0  # inches from which the difference stands to the right


def attention(told: Chronicle, *, head: Sequence[int] | None = None, moment: int = -1, **options: Any) -> Figure:
    """What one head attends to, at the last moment that was recorded or at another; without a name the head that changed most."""
    chosen, seen = _seen(told, head)
    if not -len(seen) <= moment < len(seen):
        raise SettingNotUsable(
            f"moment is {moment}, and head {chosen} was looked at {len(seen)} times; choose one of 0 to {len(seen) - 1}."
        )
    return _at(chosen, seen[moment], **options)


def attention_frames(told: Chronicle, *, head: Sequence[int] | None = None, **options: Any) -> list[Figure]:
    """The attention of one head at every moment, a picture each."""
    chosen, seen = _seen(told, head)
    return [_at(chosen, each, **options) for each in seen]


def _at(head: HeadId, seen: Seen, **options: Any) -> Figure:
    tokens = seen.tokens if len(seen.tokens) <= _LEGIBLE else None
    side = min(max(1.9 + 0.128 * len(seen.tokens), 4.6), 9.6)  # so that every token can be written
    named: dict[str, Any] = {"title": f"Attention, {seen.when}", "tokens": tokens, "figsize": (side + 0.8, side), **options}
    return visualize_attention_matrix({tuple(head): seen.maps[head]}, head.layer, head.head, **named)


def attention_change(told: Chronicle, *, head: Sequence[int] | None = None, title: str = "", **style: Unpack[Style]) -> Figure:
    """One head's attention before, after and across the cycles, and the last less the first; colours from 0 to 1 in all."""
    look = Look.of(**style)
    chosen, seen = _seen(told, head)
    figure, drawn = _squares(look, len(seen))
    cmap = look.map(look.theme.amounts)
    for axes, each in zip(drawn, seen, strict=False):
        image = cells(axes, each.maps[chosen], cmap, WEIGHTS, square=True)
        _bare(axes, each.when)
    colour_bar(image, drawn[:-1], Shades(WEIGHTS, cmap, "attention weight"))  # pyright: ignore[reportPossiblyUnboundVariable]
    _difference(drawn[-1], seen[0].maps[chosen], seen[-1].maps[chosen], look)
    figure.headline(title or f"Attention of head {chosen} over the run", _said(told, chosen, seen))
    return figure.finished(look)


def _difference(axes: Axes, first: Floats, last: Floats, look: Look) -> None:
    change = last - first if first.shape == last.shape else np.full(first.shape, np.nan)
    size = np.abs(change[np.isfinite(change) & (change != 0)])
    reach = float(np.quantile(size, 0.995)) if size.size else 1.0  # most keys are hidden from most queries, and change by 0
    limits = colours_of(change, -reach, reach)
    cmap = look.map(look.theme.differences)
    image = cells(axes, change, cmap, limits, square=True)
    _bare(axes, "last less first")
    colour_bar(image, [axes], Shades(limits, cmap, "change"))


def _bare(axes: Axes, title: str) -> None:
    dressed(axes, title=title, grid="", frame=False)
    axes.set(xticks=[], yticks=[])


def _squares(look: Look, count: int) -> tuple[Figure, list[Axes]]:
    """So many square panels, as many side by side as fit, and one more apart from them: to the right, or beneath on a column."""
    wide = (look.figsize or (11.0, 0.0))[0]
    beside = wide >= _BESIDE
    room = int((wide - (3.6 if beside else 0.8)) / (2.3 if look.figsize is None else 1.25))
    columns = max(min(count, room), 1)
    columns = -(-count // -(-count // columns))
    rows = -(-count // columns)
    figure = figure_of(look, (2.2 * columns + 4.6, max(2.3 * rows, 2.6) + 0.7))
    if beside:
        places = figure.add_gridspec(rows, columns + 1, width_ratios=[*[1.0] * columns, 1.35])
        apart = places[:, columns]
    else:
        places = figure.add_gridspec(rows + 1, columns, height_ratios=[*[1.0] * rows, 1.6])
        apart = places[rows, :]
    squares = [places[place // columns, place % columns] for place in range(count)]
    return figure, [figure.add_subplot(place) for place in [*squares, apart]]


def _seen(told: Chronicle, head: Sequence[int] | None) -> tuple[HeadId, list[Seen]]:
    """A head, and the moments at which its attention was recorded."""
    there = list(dict.fromkeys(each for seen in told.gazes for each in seen.maps))
    chosen = HeadId(*head) if head is not None else max(there, key=lambda each: _moved(told, each), default=HeadId(0, 0))
    if chosen not in there:
        listed = ", ".join(map(str, there)) or "none"
        raise SettingNotUsable(
            f"{told.run.name} holds no attention of head {chosen}; it holds that of {listed}, so choose one of these."
        )
    return chosen, [seen for seen in told.gazes if chosen in seen.maps]


def _moved(told: Chronicle, head: HeadId) -> tuple[int, float]:
    """How often a head was looked at, and how much its attention changed."""
    maps = [seen.maps[head] for seen in told.gazes if head in seen.maps]
    alike = maps[0].shape == maps[-1].shape
    return len(maps), float(np.nansum(np.abs(maps[-1] - maps[0]))) if alike else 0.0


def _said(told: Chronicle, head: HeadId, seen: Sequence[Seen]) -> str:
    """How much of its attention the head has turned elsewhere."""
    first, last = seen[0].maps[head], seen[-1].maps[head]
    turns = told.lives.get(head, [])
    fate = f"; {turns[-1].became} in cycle {turns[-1].cycle}" if turns else ""
    if len(seen) < 2 or first.shape != last.shape:
        return f"looked at {len(seen)} time{'s' if len(seen) > 1 else ''}{fate}; keys to the right, queries downwards"
    share = float(np.nanmean(np.abs(last - first).sum(-1)) / 2)
    return f"{number(100 * share)} % of the weight of a query has moved on average{fate}; keys to the right, queries downwards"
