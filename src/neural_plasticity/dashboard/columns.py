"""Arrays that come again in every cycle, packed for a report: as columns of small steps, which compress well.

A column holds all arrays of a run that have one name, shape and type, in their order. Each element
changes little from one to the next, so the differences are kept, element by element, and the
bytes of the same weight lie together. Maps come back as they were; the floats of grids keep
13 significant bits, four digits, without which the report would be twice as long.
"""

import base64
import gzip
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

KINDS = ("heads", "attention")  # the events whose arrays come again
LARGE = 512 * 2**10  # bytes of them; a report with fewer carries each array as it is
DROPPED = 11  # bits at the end of a float's 23 that a column leaves out

Packed = dict[str, Any]  # an array as the feed carries it


def in_columns(runs: list[dict[str, Any]]) -> str | None:
    """The columns of these runs as gzip and base64, and their arrays turned into references; None where all is small."""
    columns: dict[tuple[Any, ...], list[Packed]] = {}
    for number, run in enumerate(runs):
        for item in run["items"]:
            if item["kind"] in KINDS:
                for name, packed in cast("dict[str, Packed]", item.get("arrays", {})).items():
                    columns.setdefault((number, name, packed["type"], *packed["shape"]), []).append(packed)
    if sum(len(packed["b64"]) * 3 // 4 for column in columns.values() for packed in column) <= LARGE:
        return None
    content = b"".join(_column(place, column) for place, column in enumerate(columns.values()))
    return base64.b64encode(gzip.compress(content, mtime=0)).decode("ascii")


def _column(place: int, column: list[Packed]) -> bytes:
    """The bytes of one column; its arrays become references to their rows."""
    floats = column[0]["type"] == "f4"
    rows = np.stack([np.frombuffer(base64.b64decode(packed.pop("b64")), dtype="<u4" if floats else "u1") for packed in column])
    for row, packed in enumerate(column):
        packed |= {"column": place, "row": row}
    if not floats:
        return np.diff(rows.T, axis=1, prepend=np.zeros((rows.shape[1], 1), "u1")).tobytes()
    steps = np.diff(_shortened(rows).T.astype("i8"), axis=1, prepend=0)
    folded = np.where(steps < 0, -2 * steps - 1, 2 * steps).astype("<u4")  # small steps up and down are small numbers
    return np.ascontiguousarray(folded.reshape(-1, 1).view("u1").reshape(-1, 4).T[:3]).tobytes()


def _shortened(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The leading bits of floats, rounded to the nearest; nothing finite becomes infinite, and NaN stays NaN."""
    infinite = np.uint32(0xFF << (23 - DROPPED))
    magnitude = bits & np.uint32(0x7FFFFFFF)
    rounded = (magnitude + np.uint32(1 << (DROPPED - 1))) >> np.uint32(DROPPED)
    rounded = np.where((magnitude < 0x7F800000) & (rounded >= infinite), infinite - np.uint32(1), rounded)
    rounded = np.where(magnitude > 0x7F800000, infinite + np.uint32(1), rounded)
    sign = bits >> np.uint32(31) << np.uint32(31 - DROPPED)
    return (sign | rounded).astype("u4")
