"""Prune, watch and regrow the attention heads of any Hugging Face transformer.

This module names the public API and loads each name on first use: importing it is free.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neural_plasticity.anatomy.dissect import dissect as dissect
    from neural_plasticity.anatomy.sites import Anatomy as Anatomy
    from neural_plasticity.environment.arithmetic import safe_matmul as safe_matmul
    from neural_plasticity.environment.survey import get_environment_info as get_environment_info
    from neural_plasticity.errors import PlasticityError as PlasticityError
    from neural_plasticity.facade import NeuralPlasticity as NeuralPlasticity
    from neural_plasticity.heads import HeadGrid as HeadGrid
    from neural_plasticity.heads import HeadId as HeadId
    from neural_plasticity.heads import HeadState as HeadState
    from neural_plasticity.inputs.models import load_model as load_model
    from neural_plasticity.inputs.texts import load_text as load_text
    from neural_plasticity.launch import Outcome as Outcome
    from neural_plasticity.launch import run as run
    from neural_plasticity.record.run import Run as Run
    from neural_plasticity.record.run import open_run as open_run
    from neural_plasticity.settings import Settings as Settings

    IS_APPLE_SILICON: bool
    IS_COLAB: bool
    HAS_GPU: bool

__version__ = "0.1.0"

# Each public name and the module that it is loaded from on first use; docs/api.md says what each is for.
_HOME = {
    "Anatomy": "anatomy.sites",
    "dissect": "anatomy.dissect",
    "HAS_GPU": "environment.devices",
    "HeadGrid": "heads",
    "HeadId": "heads",
    "HeadState": "heads",
    "IS_APPLE_SILICON": "environment.host",
    "IS_COLAB": "environment.host",
    "NeuralPlasticity": "facade",
    "Outcome": "launch",
    "PlasticityError": "errors",
    "Run": "record.run",
    "Settings": "settings",
    "get_environment_info": "environment.survey",
    "load_model": "inputs.models",
    "load_text": "inputs.texts",
    "open_run": "record.run",
    "run": "launch",
    "safe_matmul": "environment.arithmetic",
}

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'neural_plasticity' has no attribute '{name}'; its public names are in docs/api.md")
    return getattr(import_module(f"neural_plasticity.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
