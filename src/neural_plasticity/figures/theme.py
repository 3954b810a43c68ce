"""What every picture looks like: three themes, and the one colour and marker of each state of a head.

Nothing here touches matplotlib's settings: colours and fonts go to each artist by name, so a picture looks the same
whatever its user has set, and drawing one changes nothing for anybody else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from matplotlib.colors import is_color_like
from matplotlib.font_manager import findfont

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.heads import HeadState


@dataclass(frozen=True, slots=True)
class Mark:
    """How a state of a head is drawn, everywhere: its colour, its marker, and an edge that stands out on any ground."""

    word: str
    colour: str
    marker: str
    edge: str


VERMILLION, SKY, YELLOW, GREY, NAVY = "#D55E00", "#56B4E9", "#F0E442", "#8a8a8a", "#332288"
BLACK, WHITE = "#000000", "#ffffff"

_STATES = (
    Mark("active", NAVY, "o", WHITE),
    Mark("dormant", GREY, "s", BLACK),
    Mark("removed", VERMILLION, "X", BLACK),
    Mark("revived", SKY, "^", BLACK),
    Mark("grown", YELLOW, "P", BLACK),
)
assert [mark.word for mark in _STATES] == list(HeadState)

# Two words that the seeds' functions know and that are no state of their own: a head in a list of pruned ones may be dormant
# or removed, and bears the stronger mark; a vulnerable one is active still, and bears that colour with a marker of its own.
MARKS: Mapping[str, Mark] = MappingProxyType(
    {mark.word: mark for mark in _STATES}
    | {"pruned": Mark("pruned", VERMILLION, "X", BLACK), "vulnerable": Mark("vulnerable", NAVY, "D", WHITE)}
)


@dataclass(frozen=True, slots=True)
class Theme:
    """The grounds, inks, letters and colour maps of a picture."""

    name: str
    background: str
    ink: str
    muted: str
    grid: str
    absent: str  # the ground of cells without a value
    font: str
    size: float  # of ordinary letters, in points
    colours: tuple[str, ...]  # for things without a meaning of their own, in this order
    amounts: str = "viridis"
    strengths: str = "cividis"
    differences: str | tuple[str, ...] = "PuOr"  # a map's name, or its colours from the lowest number to the highest
    active: str = NAVY  # what stands for active heads where a mark stands on the ground, and not on a cell

    def fill(self, mark: Mark) -> str:
        """The colour of a mark that stands on the ground, where navy may not be seen."""
        return self.active if mark.colour == NAVY else mark.colour


# Orange to violet as in PuOr, with its middle near the ground: what did not change is not the brightest part of a dark picture.
_DARK_DIFFERENCES = ("#ffc978", "#c4761f", "#2b2e38", "#7561c9", "#cfc2ff")
_ON_LIGHT = ("#4477AA", "#CC6677", "#228833", "#AA3377", "#999933", "#44AAAA", "#882255", "#777777")
_ON_DARK = ("#77AADD", "#EE8899", "#66CC77", "#CC88CC", "#DDCC77", "#66CCCC", "#EE88AA", "#BBBBBB")

THEMES: Mapping[str, Theme] = MappingProxyType(
    {
        "light": Theme("light", "#ffffff", "#1c1d22", "#62646e", "#e3e4e9", "#ececf0", "DejaVu Sans", 9.0, _ON_LIGHT),
        "dark": Theme(
            "dark",
            "#15171c",
            "#e9eaf0",
            "#a2a5b1",
            "#2f323b",
            "#262932",
            "DejaVu Sans",
            9.0,
            _ON_DARK,
            differences=_DARK_DIFFERENCES,
            active="#a99dff",
        ),
        "paper": Theme("paper", "#ffffff", "#000000", "#444444", "#d9d9d9", "#eeeeee", "DejaVu Serif", 8.0, _ON_LIGHT),
    }
)


def theme_of(theme: str | Theme) -> Theme:
    """The theme of this name; a theme of one's own, checked."""
    if isinstance(theme, Theme):
        _require(theme)
        return theme
    if not isinstance(theme, str) or theme not in THEMES:  # pyright: ignore[reportUnnecessaryIsInstance]  # a list has no hash
        raise SettingNotUsable(f"There is no theme {theme!r:.60}; choose one of {', '.join(THEMES)}, or pass a Theme.")
    return THEMES[theme]


def _require(theme: Theme) -> None:
    """What matplotlib would stumble over in the middle of a picture is refused here."""
    named = {name: getattr(theme, name) for name in ("background", "ink", "muted", "grid", "absent", "active")}
    named |= {f"colours[{place}]": colour for place, colour in enumerate(theme.colours)}
    wrong = next((name for name, colour in named.items() if not is_color_like(colour)), None)
    if wrong is not None:
        raise SettingNotUsable(f"The theme's {wrong} is {named[wrong]!r:.60}; it is a colour such as '#1c1d22'.")
    if not theme.colours:
        raise SettingNotUsable("The theme's colours are none; name one at least, for curves and bars.")
    if not isinstance(theme.size, (int, float)) or not 2 <= theme.size <= 72:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SettingNotUsable(f"The theme's size is {theme.size!r:.60}; it is the height of letters, from 2 to 72 points.")
    try:
        findfont(theme.font, fallback_to_default=False)
    except (ValueError, TypeError, AttributeError):
        raise SettingNotUsable(f"The theme's font {theme.font!r:.60} is not on this machine; take 'DejaVu Sans'.") from None
