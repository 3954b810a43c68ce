"""Words in pictures: only what the font can draw, never formulas, and never wider than their place."""

import unicodedata
from functools import cache

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from neural_plasticity.figures.theme import Theme

_MISSING = "\N{WHITE SQUARE}"
_LONGEST = 400


@cache
def _letters_of(font: str) -> frozenset[int]:
    """The letters that a font can draw."""
    return frozenset(FT2Font(_path(font)).get_charmap())


@cache
def _path(font: str) -> str:
    return str(font_manager.findfont(font))


def plain(text: object, theme: Theme) -> str:
    """The text on one line, with a square for each letter that the font lacks or that cannot be seen."""
    known = _letters_of(theme.font)
    found: list[str] = []
    for letter in unicodedata.normalize("NFC", str(text)[:_LONGEST]):
        seen = " " if letter.isspace() else letter
        found.append(seen if ord(seen) in known and unicodedata.category(seen) not in ("Cc", "Cf", "Cs") else _MISSING)
    return "".join(found)


def width(text: str, size: float, font: str) -> float:
    """How wide a line of letters of this size stands, in points."""
    return size * sum(_widths(font, ord(letter) >> 8).get(ord(letter), 0.6) for letter in text)


@cache
def _widths(font: str, block: int) -> dict[int, float]:
    """The widths of 256 neighbouring letters at size 1; from a font opened for it, as a shared one is not safe in threads."""
    drawn = FT2Font(_path(font))
    drawn.set_size(100, 72)
    known = range(block << 8, (block + 1) << 8)
    return {letter: drawn.load_char(letter).linearHoriAdvance / 65536 / 100 for letter in known if letter in _letters_of(font)}


def wrapped(text: str, size: float, font: str, room: float, lines: int = 3) -> str:
    """The text broken at its spaces into lines no wider than the room; what is too long ends in dots."""
    found = [""]
    for word in text.split(" "):
        longer = f"{found[-1]} {word}" if found[-1] else word
        if not found[-1] or width(longer, size, font) <= room:
            found[-1] = longer
        else:
            found.append(word)
    kept = found[:lines]
    if len(found) > lines:
        kept[-1] += " …"
    return "\n".join(cut(line, size, font, room) for line in kept)


def cut(text: str, size: float, font: str, room: float) -> str:
    """The beginning of the text that fits the room, with dots where something is missing."""
    if width(text, size, font) <= room:
        return text
    short = text.removesuffix(" …")
    while short and width(short + "…", size, font) > room:
        short = short[:-1]
    return short.rstrip() + "…"


def number(value: float) -> str:
    """A number in few letters: 0.042, 12.3, 1,234, 3e-5."""
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    size = abs(value)
    if size and not 1e-3 <= size < 1e6:
        mantissa, _, exponent = f"{value:.2g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
