"""Plugins: modules that other packages name under an entry point, imported once so that their decorators run."""

from collections.abc import Callable, Container
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from neural_plasticity.errors import SettingNotUsable, said

OURS = "neural-plasticity"


@cache
def load_plugins(group: str, what: str) -> None:
    """Import every module of this group, our own among them; one of a stranger that does not load is refused by name."""
    for entry in entry_points(group=group):
        whose = entry.dist.name if entry.dist else "a plugin"
        try:
            entry.load()
        except Exception as fault:  # the code of a stranger may raise anything as it is imported
            if whose == OURS:
                raise
            raise SettingNotUsable(
                f"The {what} '{entry.name}' of {whose} do not load ({said(fault)}); mend or remove it."
            ) from fault


def require_free(name: str, taken: Container[str], what: str, whose: Callable[..., Any]) -> None:
    """A refusal of a name that somebody else has enrolled under already."""
    if name in taken:
        raise SettingNotUsable(
            f"There is a {what} '{name}' already, and {whose.__module__}.{whose.__qualname__} would take its place; "
            "choose another name."
        )
