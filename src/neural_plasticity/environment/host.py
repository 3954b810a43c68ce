"""What this machine is, learnt without torch: where Python runs, what it may use, what is installed.

Nothing is looked up at import; `IS_APPLE_SILICON` and `IS_COLAB` are looked up when they are read.
"""

import math
import os
import platform
import sys
import webbrowser
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from neural_plasticity.environment.limits import memory_limits, processor_share

LIBRARIES = (
    "neural-plasticity",
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "numpy",
    "pandas",
    "pyarrow",
    "matplotlib",
    "plotly",
    "rich",
    "typer",
)

EXTRAS = {
    "wandb": ("wandb",),
    "tensorboard": ("tensorboard",),
    "trackio": ("trackio",),
    "mlflow": ("mlflow",),
    "ray": ("ray",),
    "notebook": ("ipykernel", "nbclient", "nbformat"),
    "export": ("onnx",),
}


def is_apple_silicon() -> bool:
    """Whether this Python runs natively on an M-series Mac; under Rosetta it computes as on Intel."""
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def is_colab() -> bool:
    """Whether this is Google Colab: its kernel, or a command started from one of its cells."""
    return "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ


def is_notebook() -> bool:
    """Whether cells of a Jupyter kernel run this code; IPython in a terminal has no kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


def has_browser() -> bool:
    """Whether a page can be opened in a window from here; a browser inside the terminal does not count."""
    chosen = bool(os.environ.get("BROWSER"))
    desktop = platform.system() in ("Darwin", "Windows") and "SSH_CONNECTION" not in os.environ
    if not (chosen or desktop or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    # The standard library keeps this one class, not its children, for commands that take over the terminal.
    return chosen or type(browser) is not webbrowser.GenericBrowser


def available_cores() -> int:
    """How many processors this process may keep busy, by its affinity and its control group's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = processor_share()
    return allowed if share is None else max(1, min(allowed, math.ceil(share)))


def memory_bytes() -> tuple[int, int]:
    """Memory in total and available now, as far as this process may use it."""
    machine = psutil.virtual_memory()
    limits = memory_limits()
    total = min([machine.total, *(limit.total_bytes for limit in limits)])
    return total, min([machine.available, *(limit.available_bytes for limit in limits)])


def installed_versions() -> dict[str, str]:
    """The version of each library that matters here and is installed, read without importing it."""
    names = [*LIBRARIES, *(name for names in EXTRAS.values() for name in names)]
    found = {name: _version(name) for name in names}
    return {name: number for name, number in found.items() if number is not None}


def installed_extras() -> dict[str, bool]:
    """For each optional part of this package, whether all that it needs is installed."""
    return {extra: all(_version(name) is not None for name in names) for extra, names in EXTRAS.items()}


def describe_host() -> dict[str, Any]:
    """Everything this module knows, ready for JSON."""
    total, available = memory_bytes()
    versions = installed_versions()
    return {
        "platform": platform.platform(),
        "is_apple_silicon": is_apple_silicon(),
        "is_colab": is_colab(),
        "is_notebook": is_notebook(),
        "browser": has_browser(),
        "python_version": platform.python_version(),
        "cores": available_cores(),
        "memory_total_bytes": total,
        "memory_available_bytes": available,
        "transformers_version": versions.get("transformers"),
        "versions": versions,
        "extras": installed_extras(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def __getattr__(name: str) -> bool:
    if name == "IS_APPLE_SILICON":
        return is_apple_silicon()
    if name == "IS_COLAB":
        return is_colab()
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
