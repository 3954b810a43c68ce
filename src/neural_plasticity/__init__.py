"""Prune, watch and regrow the attention heads of any Hugging Face transformer.

This module names the public API and loads each name on first use: importing it is free.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neural_plasticity.errors import PlasticityError as PlasticityError

__version__ = "0.1.0"

_HOME = {
    "PlasticityError": "errors",
}

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'neural_plasticity' has no attribute '{name}'; its public names are in docs/api.md")
    return getattr(import_module(f"neural_plasticity.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
