"""What torch can compute on here, and the choice among it: CUDA, then MPS, then the CPU.

Nothing is looked up at import; `HAS_GPU` is looked up when it is read.
"""

from dataclasses import dataclass
from typing import Any

import torch

from neural_plasticity.errors import SettingNotUsable

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; on a Mac its memory is what the system recommends to take of the shared one."""

    name: str
    memory_bytes: int


def available_devices() -> list[str]:
    """The devices of this machine by the names torch gives them, best first, the CPU last."""
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def choose_device(preferred: str | torch.device | None = None) -> torch.device:
    """The device that was asked for if it is there, else a refusal; without a wish, the best there is."""
    there = available_devices()
    if preferred is None:
        return torch.device(there[0].partition(":")[0])
    try:
        asked = torch.device(preferred)
    except RuntimeError:
        raise SettingNotUsable(
            f"device='{preferred}' is not the name of a device; this machine has {_listed(there)}: "
            f"name one of these, or leave device out to get the best."
        ) from None
    if not any(_is_same(asked, torch.device(name)) for name in there):
        raise SettingNotUsable(
            f"device='{asked}' is not there: {_why_absent(asked.type)}, and this machine has {_listed(there)}; "
            f"name one of these, or leave device out to get the best."
        )
    return asked


def choose_dtype(device: str | torch.device, preferred: str | None = None) -> torch.dtype:
    """The dtype that was asked for if `device` can multiply in it, else a refusal; without a wish, float32.

    Float32 everywhere, because small updates of the weights vanish in the half types.
    """
    if preferred is None:
        return torch.float32
    dtype = DTYPES.get(preferred.removeprefix("torch."))
    if dtype is None:
        raise SettingNotUsable(f"dtype='{preferred}' is not known; use one of {_listed(list(DTYPES))}.")
    device = choose_device(device)
    try:
        one = torch.ones(1, 1, device=device, dtype=dtype)
        torch.matmul(one, one)
    except (RuntimeError, TypeError) as refusal:
        reason = str(refusal).partition("\n")[0].rstrip(".")
        raise SettingNotUsable(
            f"dtype='{preferred}' cannot be used on {device} ({reason}); use float32, or device='cpu'."
        ) from refusal
    return dtype


def gpus() -> list[Gpu]:
    """The GPUs that torch sees, in its order."""
    found: list[Gpu] = []
    for name in available_devices():
        if name.startswith("cuda"):
            card = torch.cuda.get_device_properties(name)
            found.append(Gpu(card.name, card.total_memory))
        elif name == "mps":
            # Torch tells the chip's name only in newer versions than the oldest we take.
            chip = getattr(torch.backends.mps, "get_name", lambda: "Apple GPU")
            found.append(Gpu(chip(), torch.mps.recommended_max_memory()))
    return found


def has_gpu() -> bool:
    """Whether torch can compute on CUDA or MPS here."""
    return available_devices()[0] != "cpu"


def describe_devices() -> dict[str, Any]:
    """Everything this module knows, ready for JSON; `device` is a string that torch takes as a device."""
    device = choose_device()
    found = gpus()
    return {
        "device": str(device),
        "dtype": str(choose_dtype(device)).removeprefix("torch."),
        "has_gpu": has_gpu(),
        "gpu_name": found[0].name if found else None,
        "gpu_names": [gpu.name for gpu in found],
        "gpu_memory_bytes": [gpu.memory_bytes for gpu in found],
        "threads": torch.get_num_threads(),
        "pytorch_version": str(torch.__version__),
    }


def _is_same(asked: torch.device, there: torch.device) -> bool:
    """Without a number, any device of the type will do; `mps` and `cpu` are number 0 of theirs."""
    return asked.type == there.type and asked.index in (None, there.index or 0)


def _why_absent(kind: str) -> str:
    built = {
        "cuda": torch.version.cuda is not None or torch.version.hip is not None,
        "mps": torch.backends.mps.is_built(),
    }
    if kind not in built:
        return "only cuda, mps and cpu are supported"
    return "torch finds no such device" if built[kind] else f"torch {torch.__version__} was built without {kind}"


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def __getattr__(name: str) -> bool:
    if name == "HAS_GPU":
        return has_gpu()
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
