"""Events to lines of strict JSON and back, by the types that the events declare.

JSON has no NaN and no infinity, and browsers refuse Python's, so such numbers stand as the
strings "NaN", "Infinity" and "-Infinity" and come back as floats where a float is declared.
"""

import json
import math
from collections.abc import Callable, Mapping
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
    for name in _names(type(event)):
        value = getattr(event, name)
        if value is not None:
            line[name] = _plain(value)
    line["time"] = time  # last, where a cursor's checksum covers it
    return _SPELLED(line).encode() + b"\n"


def decode(line: bytes) -> tuple[int, float, Event]:
    """What `encode` was given; raises one of UNREADABLE on anything else."""
    loaded: Any = json.loads(line)
    if not isinstance(loaded, dict):
        raise TypeError("the line is not an object")
    content = cast("dict[str, Any]", loaded)
    seq, time, kind = content.pop("seq"), content.pop("time"), content.pop("kind")
    readers = _readers(kind)
    read = {name: readers[name](value) for name, value in content.items()}
    return _whole(seq), _number(time), KINDS[kind](**read)


_SPELLED = json.JSONEncoder(allow_nan=False, ensure_ascii=True, separators=(",", ":")).encode


@cache
def _names(kind: type[Event]) -> tuple[str, ...]:
    return tuple(entry.name for entry in fields(kind))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in cast("list[Any]", value)]
    return value


# How values come back: for each declared type a function that takes what JSON held, or raises TypeError; nothing is
# converted that was not encoded. They are made once, since a record holds many lines of a kind.
Read = Callable[[Any], Any]


@cache
def _readers(kind: str) -> dict[str, Read]:
    return {name: _reader(hint) for name, hint in get_type_hints(KINDS[kind]).items()}


def _reader(hint: Any) -> Read:
    if isinstance(hint, UnionType):
        return _optional(_reader(next(option for option in get_args(hint) if option is not NoneType)))
    if hint is Any:
        return lambda value: value
    if get_origin(hint) is tuple:
        return _each(_reader(get_args(hint)[0]))
    if get_origin(hint) is Mapping:
        return _mapped(_reader(get_args(hint)[1]))
    return {float: _number, int: _whole, HeadId: _head}.get(hint) or (lambda value: _as(hint, value))


def _optional(read: Read) -> Read:
    return lambda value: None if value is None else read(value)


def _each(read: Read) -> Read:
    return lambda value: tuple([read(each) for each in _as(list, value)])


def _mapped(read: Read) -> Read:
    return lambda value: {key: read(each) for key, each in _as(dict, value).items()}


def _head(value: Any) -> HeadId:
    return HeadId(*(_whole(index) for index in _as(list, value)))


def _number(value: Any) -> float:
    if type(value) is float:
        return value
    if isinstance(value, str):
        return _NOT_FINITE[value]
    return float(_whole(value))


def _whole(value: Any) -> int:
    if type(value) is not int:  # a bool is none
        raise TypeError(f"expected a number, found {value!r:.80}")
    return value


def _as(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind}, found {value!r:.80}")
    return value
