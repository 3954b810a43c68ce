"""Pictures of attention: which key each query looks at. The colours always go from 0 to 1, so that pictures can be compared."""

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from typing import Any, Unpack, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.canvas import Figure, Look, Style, dressed, figure_of
from neural_plasticity.figures.coerce import Floats, array_of
from neural_plasticity.figures.heat import Shades, cell_size, cells, colour_bar
from neural_plasticity.figures.lettering import cut, plain, width
from neural_plasticity.figures.scale import Colours, numbered

WEIGHTS = Colours(0.0, 1.0)
_SMALLEST = 5.5  # points that letters of tokens may have
_ROUNDING = 0.01  # how far above 1 weights of 8 bits of precision may lie


def visualize_attention_matrix(
    attn: Any,
    layer_idx: int = 0,
    head_idx: int = 0,
    title: str = "Attention",
    *,
    tokens: Sequence[str] | None = None,
    **style: Unpack[Style],
) -> Figure:
    """The attention weights of one head: queries downwards, keys to the right, `tokens` at both if they are given.

    `attn` is queries × keys, heads × queries × keys or samples × heads × queries × keys of one layer; or a list of such
    layers, or a dict by layer or by (layer, head), in which `layer_idx` is looked up. Of several samples the first is shown.
    """
    look = Look.of(**style)
    maps, samples = _maps(attn, layer_idx, "attn")
    chosen = _head(maps, head_idx)
    figure = figure_of(look, (5.8, 5.0))
    axes = figure.add_subplot()
    image = cells(axes, chosen, look.map(look.theme.amounts), WEIGHTS, square=True)
    dressed(axes, x="key", y="query", grid="", frame=False)
    colour_bar(image, [axes], Shades(WEIGHTS, image.cmap, "attention weight"))
    _name_tokens(axes, figure, chosen.shape, tokens)
    figure.headline(title, f"layer {layer_idx}, head {head_idx}" + (f", sample 1 of {samples}" if samples > 1 else ""))
    return figure.finished(look)


def visualize_attention_patterns(
    attention_maps: Any,
    layer_idx: int = 0,
    head_idx: int | Sequence[int] | None = None,
    title: str = "Attention patterns",
    *,
    tokens: Sequence[str] | None = None,
    **style: Unpack[Style],
) -> Figure:
    """The attention weights of one head, of some, or without `head_idx` of all heads of a layer side by side."""
    if isinstance(head_idx, int):
        return visualize_attention_matrix(attention_maps, layer_idx, head_idx, title, tokens=tokens, **style)
    look = Look.of(**style)
    maps, samples = _maps(attention_maps, layer_idx, "attention_maps")
    heads = sorted(maps) if head_idx is None else list(head_idx)
    chosen = [_head(maps, head) for head in heads]
    if not chosen:
        raise SettingNotUsable("head_idx names no head; name some, or leave it out for all heads of the layer.")
    columns = ceil(sqrt(len(chosen) * 1.3))
    rows = ceil(len(chosen) / columns)
    figure = figure_of(look, (min(max(1.9 * columns + 0.8, 4.0), 12.0), min(max(1.9 * rows + 0.7, 3.0), 12.0)))
    panels: list[Axes] = []
    images: list[AxesImage] = []
    cmap = look.map(look.theme.amounts)
    for place, (head, weights) in enumerate(zip(heads, chosen, strict=True)):
        axes = figure.add_subplot(rows, columns, place + 1)
        images.append(cells(axes, weights, cmap, WEIGHTS, square=True))
        dressed(axes, title=f"head {head}" if len(chosen) <= 40 else str(head), grid="", frame=False)
        axes.set(xticks=[], yticks=[])
        panels.append(axes)
    colour_bar(images[0], panels, Shades(WEIGHTS, cmap, "attention weight"))
    note = f"layer {layer_idx}; keys to the right, queries downwards" + (f"; sample 1 of {samples}" if samples > 1 else "")
    figure.headline(title, note)
    return figure.finished(look)


def _maps(attention: Any, layer: int, name: str) -> tuple[dict[int, Floats], int]:
    """The maps of a layer by head, of the first of how many samples."""
    if isinstance(attention, Mapping):
        return _looked_up(cast("Mapping[Any, Any]", attention), layer, name)
    if _is_layers(attention):
        layers = cast("Sequence[Any]", attention)
        if not 0 <= layer < len(layers):
            raise SettingNotUsable(f"layer_idx is {layer}, and {name} has layers 0 to {len(layers) - 1}; choose one of them.")
        attention = layers[layer]
    found = array_of(attention, name)
    if found.ndim not in (2, 3, 4) or not found.size:
        seen = " × ".join(map(str, found.shape)) or "()"
        raise SettingNotUsable(f"{name} has shape {seen}; one layer is queries × keys, heads or samples × heads before it.")
    samples = len(found) if found.ndim == 4 else 1
    found = found[0] if found.ndim == 4 else found
    found = found[None] if found.ndim == 2 else found
    _require_weights(found, name)
    return dict(enumerate(found)), samples


def _looked_up(attention: Mapping[Any, Any], layer: int, name: str) -> tuple[dict[int, Floats], int]:
    by_head = {key[1]: value for key, value in attention.items() if isinstance(key, tuple) and key[0] == layer}
    if by_head:
        found = {head: array_of(weights, name) for head, weights in by_head.items()}
        samples = max(len(weights) if weights.ndim == 3 else 1 for weights in found.values())
        maps = {int(head): weights[0] if weights.ndim == 3 else weights for head, weights in found.items()}
        for weights in maps.values():
            if weights.ndim != 2 or not weights.size:
                raise SettingNotUsable(f"{name} has a map of shape {weights.shape}; the map of a head is queries × keys.")
            _require_weights(weights, name)
        return maps, samples
    if layer not in attention:
        there = ", ".join(str(key) for key in list(attention)[:8]) or "none"
        raise SettingNotUsable(f"layer_idx is {layer}, and {name} holds {there}; choose one of them.")
    return _maps(attention[layer], layer, name)


def _is_layers(attention: Any) -> bool:
    """Whether this is a list of layers: its items are arrays with two axes or more, not plain lists."""
    if not isinstance(attention, (list, tuple)):
        return getattr(attention, "ndim", 0) == 5
    items = cast("Sequence[Any]", attention)
    return bool(items) and all(getattr(item, "ndim", 0) >= 2 for item in items)


def _require_weights(maps: Floats, name: str) -> None:
    known = maps[~np.isnan(maps)]
    if known.size and (known.min() < 0 or known.max() > 1 + _ROUNDING):
        raise SettingNotUsable(
            f"{name} goes from {known.min():.3g} to {known.max():.3g}; attention weights lie between 0 and 1, "
            "so pass them as they are after softmax."
        )


def _head(maps: dict[int, Floats], head: int) -> Floats:
    if head not in maps:
        raise SettingNotUsable(f"head_idx is {head!r:.40}, and the layer has heads {min(maps)} to {max(maps)}; choose one of them.")
    return maps[head]


def _name_tokens(axes: Axes, figure: Figure, shape: tuple[int, ...], tokens: Sequence[str] | None) -> None:
    """The axes' ticks: the tokens where they are given and fit, else positions."""
    theme = figure.theme
    size = theme.size * 0.8
    names = None if tokens is None else [cut(_visible(token, figure), size, theme.font, 60.0) for token in tokens]
    if names is not None and len(names) != shape[1]:
        raise SettingNotUsable(f"There are {len(names)} tokens and {shape[1]} keys; pass one token for each key.")
    if names is not None:
        axes.tick_params(axis="x", labelrotation=90)

    def fit() -> None:
        wide, high = cell_size(axes, shape)
        for axis, count, each in ((axes.xaxis, shape[1], wide), (axes.yaxis, shape[0], high)):
            labels = names[-count:] if names is not None else [str(place) for place in range(count)]
            upwards = axis is axes.xaxis and names is None
            small = min(max(each / 1.2, _SMALLEST), size)
            axis.set_tick_params(labelsize=theme.size * 0.9 if names is None else small)
            numbered(axis, labels, each * count, theme.size * (0.9 + 0.6 * len(str(count))) if upwards else small * 1.2)

    if names is not None:  # so that the layout leaves room for the longest
        longest = [max(names, key=lambda name: width(name, size, theme.font))]
        axes.set_xticks([0], longest, parse_math=False)
        axes.set_yticks([0], longest, parse_math=False)
    figure.once_laid_out(fit)


def _visible(token: str, figure: Figure) -> str:
    """A token with its spaces and line ends to be seen."""
    return plain(token.replace("\n", "\\n").replace("\t", "\\t").replace(" ", "·"), figure.theme)
