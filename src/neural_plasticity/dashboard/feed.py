"""The record as the page reads it: each event as its line says it, with its arrays beside it."""

import base64
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neural_plasticity.errors import CorruptRecord, said
from neural_plasticity.record import Attention, Entry, Event, Notice, Run
from neural_plasticity.record.coding import encode
from neural_plasticity.record.folder import TENSORS

MOST_BYTES = 32 * 2**20  # of arrays that one event may bring; a browser would choke on more
NUMBERS = "fiub"  # kinds of numpy types that float32 can show
HIDDEN = ("writer",)  # who writes, on which machine: nobody's business who gets a report


def described(run: Run) -> dict[str, Any]:
    """The run's description in strict JSON, with the names of the run and of its folder."""
    content = {name: value for name, value in run.description.items() if name not in HIDDEN}
    content = {"name": run.name, **content, "folder": run.folder.name}
    return json.loads(json.dumps(content), parse_constant=str)  # numbers that are not finite become their names


def items(run: Run, entries: Iterable[Entry]) -> Iterator[dict[str, Any]]:
    """Each event as its line in the record, and under `arrays` what its tensors hold.

    Where they cannot be had, `missing` says why.
    """
    for entry in entries:
        yield json.loads(item_json(run, entry))


def item_json(run: Run, entry: Entry) -> bytes:
    """One item as strict JSON in ASCII."""
    line = _line(entry)
    if entry.event.tensors is None:
        return line
    more = json.dumps(_arrays(run, entry.event), allow_nan=False, separators=(",", ":")).encode()
    return line[:-1] + b"," + more[1:]


def _line(entry: Entry) -> bytes:
    """The event's line; of one that we would not have written, as much as can be shown."""
    seq, time, event = entry
    try:
        if math.isfinite(time):
            return encode(seq, time, event).rstrip(b"\n")
        named = json.loads(encode(seq, 0.0, event)) | {"time": json.dumps(time)}
        return json.dumps(named, separators=(",", ":")).encode()
    except RecursionError:
        return _line(Entry(seq, time, Notice(message="An event is nested too deeply to be shown.")))


def _arrays(run: Run, event: Event) -> dict[str, Any]:
    """The arrays of an event, or the reason why there are none."""
    try:
        _require_showable(run, event)
        found = run.tensors(event)
        return {"arrays": {name: _packed(array, isinstance(event, Attention)) for name, array in found.items()}}
    except (CorruptRecord, OSError, ValueError, TypeError, RuntimeError) as fault:
        sentence = str(fault) if isinstance(fault, CorruptRecord) else f"The arrays cannot be read ({said(fault)})."
        return {"missing": sentence.replace(str(run.folder), run.name)}


def _require_showable(run: Run, event: Event) -> None:
    size = (run.folder / TENSORS / str(event.tensors)).lstat().st_size
    if size > MOST_BYTES:
        raise CorruptRecord(
            f"The arrays of a {event.kind} event of {run.name} are {size:,} bytes long, more than a page can show; "
            "read them by Run.tensors."
        )


def _packed(array: NDArray[np.generic], is_attention: bool) -> dict[str, Any]:
    """An array for the page: attention as 256 shades, everything else as float32."""
    if array.dtype.kind not in NUMBERS:
        raise TypeError(f"{array.dtype} is no type of plain numbers")
    with np.errstate(over="ignore"):
        numbers = array.astype("<f4")
    shades = is_attention and bool(np.all((numbers >= 0) & (numbers <= 1 + 1e-3)))  # false where any is NaN
    content = np.rint(np.minimum(numbers, 1) * 255).astype("u1") if shades else numbers
    return {
        "shape": list(array.shape),
        "type": "u1" if shades else "f4",
        "b64": base64.b64encode(content.tobytes()).decode("ascii"),
    }
