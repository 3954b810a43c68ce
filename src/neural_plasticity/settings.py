"""One frozen description of a run: what a user chose, checked once, recorded with the run."""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from operator import index
from pathlib import Path
from typing import Any, cast

from neural_plasticity.errors import SettingNotUsable, said

_LEAST = {
    "max_length": 2,
    "batch_size": 1,
    "eval_tokens": 2,
    "measure_tokens": 2,
    "sample_tokens": 0,
    "seed": 0,
    "cycles": 0,
    "warmup_steps": 0,
    "steps": 0,
    "accumulation": 1,
    "min_heads": 0,
    "newborn_cycles": 0,
    "attention_heads": 0,
    "checkpoint_every": 1,
    "eval_every": 0,
    "patience": 0,
    "speed_tokens": 0,
}
_SHARES = ("level", "exchange")
_NOT_BELOW_0 = ("learning_rate", "weight_decay", "clip_norm", "newborn_rate")

_TEXTS = ("model", "text", "out", "prompt", "strategy", "schedule", "mode", "unit", "growth")
_TEXTS_OR_NOTHING = ("text_config", "text_split", "text_column", "device", "dtype", "precision", "loss")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that decides what a run does; the same settings and seed give the same run."""

    # what is operated on, and where
    model: str = "tiny"
    text: str = "stdlib"
    text_config: str | None = None
    text_split: str | None = None
    text_column: str | None = None
    device: str | None = None
    dtype: str | None = None
    seed: int = 0

    # which heads go, how fast, and how
    strategy: str = "taylor"
    level: float = 0.3
    cycles: int = 1
    schedule: str = "linear"
    mode: str = "remove"
    unit: str = "head"
    uniform: bool = False
    min_heads: int = 1
    protect: tuple[tuple[int, int], ...] = ()

    # which heads come back
    growth: str = "gradient_sensitivity"
    exchange: float = 0.0
    newborn_cycles: int = 1
    newborn_rate: float = 1.0

    # how it learns
    warmup_steps: int = 150
    steps: int = 100
    learning_rate: float | None = None
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    accumulation: int = 1
    precision: str | None = None
    eval_every: int = 0
    patience: int = 0
    checkpoint_every: int = 50

    # what is read, measured and written down
    max_length: int = 256
    batch_size: int = 16
    eval_tokens: int = 100_000
    measure_tokens: int = 16_384
    signals: tuple[str, ...] = ()
    loss: str | None = None
    attention_heads: int = 4
    speed_tokens: int = 512
    prompt: str = "def "
    sample_tokens: int = 120
    save_model: bool = True
    save_bank: bool = True
    out: str = "runs"

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
                raise SettingNotUsable(f"The setting {name} is {value!r:.60}; it must be a whole number of at least {least}.")
        for name in (*_SHARES, *_NOT_BELOW_0):
            _require_number(name, getattr(self, name), 1.0 if name in _SHARES else math.inf)
        for name in ("uniform", "save_model", "save_bank"):
            if not isinstance(getattr(self, name), bool):
                raise SettingNotUsable(f"The setting {name} is {getattr(self, name)!r:.60}; it must be true or false.")
        for name in (*_TEXTS, *_TEXTS_OR_NOTHING):
            object.__setattr__(self, name, _text(name, getattr(self, name)))
        object.__setattr__(self, "signals", _names(self.signals))
        object.__setattr__(self, "protect", _heads(self.protect))

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, as they stand in `run.json`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Settings":
        """The settings that these plain values are; what is misspelt is refused."""
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, 1)
                hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}."
                raise SettingNotUsable(f"There is no setting {str(name)[:60]!r}{hint}")
        return cls(**values)

    @classmethod
    def load(cls, path: str | Path) -> "Settings":
        """The settings in a YAML file; what it does not name is as always."""
        return cls.from_dict(read_settings(path))

    def save(self, path: str | Path) -> None:
        """Write the settings as YAML."""
        import yaml

        plain = {name: list(map(list, value)) if name == "protect" else value for name, value in self.as_dict().items()}
        plain["signals"] = list(self.signals)
        try:
            Path(path).write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), encoding="utf-8")
        except OSError as fault:
            raise SettingNotUsable(f"The settings cannot be written to {path} ({said(fault)}); choose another place.") from fault


def read_settings(path: str | Path) -> dict[str, Any]:
    """What a YAML file says, setting by setting."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads 5e-5 as the number that everybody takes it for; YAML 1.1 asks for 5.0e-5."""

    pattern = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", pattern, list("-+.0123456789"))  # pyright: ignore[reportUnknownMemberType]
    try:
        content: Any = yaml.load(Path(path).read_text(encoding="utf-8"), Loader)  # which is a safe one
    except (OSError, UnicodeDecodeError) as fault:
        raise SettingNotUsable(f"The settings file {path} cannot be read ({said(fault)}); check its name.") from fault
    except (yaml.YAMLError, RecursionError) as fault:
        raise SettingNotUsable(
            f"The settings file {path} is not YAML ({' '.join(str(fault).split())[:160]}); write one `name: value` a line."
        ) from fault
    if not isinstance(content, dict):
        seen = "nothing" if content is None else f"a {type(content).__name__}"
        raise SettingNotUsable(f"The settings file {path} holds {seen}; write one `name: value` a line.")
    return cast("dict[str, Any]", content)


def _require_number(name: str, value: Any, most: float) -> None:
    if value is None and name == "learning_rate":
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most or value == math.inf:
        bound = f" and at most {most:g}" if most < math.inf else ""
        raise SettingNotUsable(f"The setting {name} is {value!r:.60}; it must be a number of at least 0{bound}.")


def _text(name: str, value: Any) -> str | None:
    """The text itself, also where it was a member of an enumeration."""
    if value is None and name in _TEXTS_OR_NOTHING:
        return None
    if not isinstance(value, str):
        raise SettingNotUsable(
            f"The setting {name} is {value!r:.60}; it must be a text{', or nothing' if name in _TEXTS_OR_NOTHING else ''}."
        )
    return str(value)


def _names(value: Any) -> tuple[str, ...]:
    listed: list[Any] = list(value) if isinstance(value, list | tuple) else [None]  # pyright: ignore[reportUnknownArgumentType]
    if not all(isinstance(each, str) for each in listed):
        raise SettingNotUsable(f"The setting signals is {value!r:.60}; it must be a list of names.")
    return tuple(listed)


def _heads(value: Any) -> tuple[tuple[int, int], ...]:
    try:
        return tuple((index(layer), index(head)) for layer, head in value)
    except (TypeError, ValueError):
        raise SettingNotUsable(f"The setting protect is {value!r:.60}; it must be a list of [layer, head].") from None
