"""Plugins: modules that other packages name under an entry point, imported once so that their decorators run."""

from functools import cache
from importlib.metadata import entry_points

from neural_plasticity.errors import SettingNotUsable, said

# What the module of a stranger may raise as it is imported.
UNLOADABLE = (ImportError, AttributeError, SyntaxError, TypeError, ValueError, ArithmeticError, LookupError, OSError, RuntimeError)


@cache
def load_plugins(group: str, what: str) -> None:
    """Import every module of this group, our own among them; one that does not load is refused by name."""
    for entry in entry_points(group=group):
        try:
            entry.load()
        except UNLOADABLE as fault:
            whose = entry.dist.name if entry.dist else "a plugin"
            raise SettingNotUsable(
                f"The {what} '{entry.name}' of {whose} do not load ({said(fault)}); mend or remove it."
            ) from fault
