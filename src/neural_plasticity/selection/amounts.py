"""How many: levels, counts and other numbers of a request, checked before anything is made of them."""

from numbers import Integral, Real

from neural_plasticity.errors import SettingNotUsable


def share(name: str, value: object) -> float:
    """A share from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:  # nan is in no range
        raise SettingNotUsable(f"{name} is {value!r:.40}; it is a share from 0 to 1.")
    return float(value)


def whole(name: str, value: object, least: int = 0) -> int:
    """A whole number of at least so much."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise SettingNotUsable(f"{name} is {value!r:.40}; it is a whole number of at least {least}.")
    return int(value)


def pruned_in_the_end(level: object, originals: int) -> int:
    """How many of the original heads are pruned at this level: the nearest whole number."""
    return round(share("level", level) * originals)


def require_one(level: object, count: object) -> None:
    """Refuse both a level and a count, and neither."""
    if (level is None) == (count is None):
        seen = "neither" if level is None else f"level={level!r:.40} and count={count!r:.40}"
        raise SettingNotUsable(f"Either level or count says how many heads, not both; {seen} was given, so give one of them.")
