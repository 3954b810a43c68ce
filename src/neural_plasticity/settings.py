"""One frozen description of a run: what a user chose, checked once, recorded with the run."""

from dataclasses import asdict, dataclass
from typing import Any

from neural_plasticity.errors import SettingNotUsable

_LEAST = {"max_length": 2, "batch_size": 1, "eval_tokens": 2, "measure_tokens": 2, "sample_tokens": 0, "seed": 0}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that decides what a run does; the same settings and seed give the same run."""

    model: str = "tiny"
    text: str = "stdlib"
    text_config: str | None = None
    text_split: str | None = None
    text_column: str | None = None
    device: str | None = None
    dtype: str | None = None
    seed: int = 0
    max_length: int = 256
    batch_size: int = 16
    eval_tokens: int = 100_000
    measure_tokens: int = 16_384
    signals: tuple[str, ...] = ()
    loss: str | None = None
    prompt: str = "def "
    sample_tokens: int = 120
    out: str = "runs"

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
                raise SettingNotUsable(f"The setting {name} is {value!r:.60}; it must be a whole number of at least {least}.")
        for name in ("model", "text", "out", "prompt"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise SettingNotUsable(f"The setting {name} is {value!r:.60}; it must be a text.")

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, as they stand in `run.json`."""
        return asdict(self)
