"""A document and the split that is the same on every machine."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "held_out", "all"]

HELD_OUT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Document:
    """One text and the name it is known by, stable across machines."""

    name: str
    text: str


def is_held_out(name: str) -> bool:
    """Whether the document of this name is kept away from training.

    Decided by a hash of the name alone, so that adding, removing or reordering documents
    never moves another one across the line.
    """
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


def of_split(documents: Iterable[Document], split: Split) -> list[Document]:
    """The documents on the asked side of the line, in their order."""
    return [d for d in documents if split == "all" or is_held_out(d.name) == (split == "held_out")]
