"""Events to lines of strict JSON and back, by the types that the events declare.

JSON has no NaN and no infinity, and browsers refuse Python's, so such numbers stand as the
strings "NaN", "Infinity" and "-Infinity" and come back as floats where a float is declared.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, cast, get_args, get_origin, get_type_hints

import numpy as np

from neural_plasticity.heads import HeadId
from neural_plasticity.record.events import KINDS, Event

# What decoding raises on lines that are not ours.
UNREADABLE = (ValueError, KeyError, TypeError, OverflowError, RecursionError)

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def encode(seq: int, time: float, event: Event) -> bytes:
    """One line, newline included; fields that hold None stay out of it."""
    line: dict[str, Any] = {"seq": seq, "kind": event.kind}
    for entry in fields(event):
        value = getattr(event, entry.name)
        if value is not None:
            line[entry.name] = _plain(value)
    line["time"] = time  # last, where a cursor's checksum covers it
    return json.dumps(line, allow_nan=False, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> tuple[int, float, Event]:
    """What `encode` was given; raises one of UNREADABLE on anything else."""
    loaded: Any = json.loads(line)
    if not isinstance(loaded, dict):
        raise TypeError("the line is not an object")
    content = cast("dict[str, Any]", loaded)
    seq, time, kind = content.pop("seq"), content.pop("time"), content.pop("kind")
    hints = _hints(kind)
    read = {name: _typed(hints[name], value) for name, value in content.items()}
    return _typed(int, seq), _typed(float, time), KINDS[kind](**read)


@cache
def _hints(kind: str) -> dict[str, Any]:
    return get_type_hints(KINDS[kind])


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in cast("list[Any]", value)]
    return value


def _typed(hint: Any, value: Any) -> Any:
    """The value as its declared type, or TypeError; nothing is converted that was not encoded."""
    if isinstance(hint, UnionType):
        if value is None and NoneType in get_args(hint):
            return None
        hint = next(option for option in get_args(hint) if option is not NoneType)
    if hint is Any:
        return value
    if hint is float:
        return _number(value)
    if hint is HeadId:
        return HeadId(*(_typed(int, index) for index in _as(list, value)))
    return _container(hint, value)


def _container(hint: Any, value: Any) -> Any:
    origin = get_origin(hint)
    if origin is tuple:
        return tuple(_typed(get_args(hint)[0], each) for each in _as(list, value))
    if origin is Mapping:
        return {key: _typed(get_args(hint)[1], each) for key, each in _as(dict, value).items()}
    return _as(hint, value)


def _number(value: Any) -> float:
    if isinstance(value, str):
        return _NOT_FINITE[value]
    if isinstance(value, bool):
        raise TypeError(f"expected a number, found {value!r}")
    return float(_as((int, float), value))


def _as(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"expected {kind}, found {value!r:.80}")
    return value
