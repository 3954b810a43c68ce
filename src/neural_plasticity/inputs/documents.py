"""A document, and the split into learned and held-out that is the same on every machine."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "held_out", "all"]

HELD_OUT_SHARE = 0.1
FEWEST_TO_SPLIT_BY_NAME = 20  # with fewer documents a split by name would leave one side thin or empty


@dataclass(frozen=True, slots=True)
class Document:
    """One text and the name it is known by, stable across machines."""

    name: str
    text: str


def is_held_out(name: str) -> bool:
    """Whether the document of this name is kept away from training.

    Decided by a hash of the name alone, so that among many documents adding, removing or
    reordering some never moves another across the line.
    """
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


def of_split(documents: Sequence[Document], split: Split) -> list[Document]:
    """The documents on the asked side of the line, in their order.

    Few documents, or many that all fall on one side, are each cut in two instead: their last tenth is held out.
    """
    if split == "all":
        return list(documents)
    sides = [is_held_out(document.name) for document in documents]
    if len(documents) >= FEWEST_TO_SPLIT_BY_NAME and any(sides) and not all(sides):
        return [document for document, held_out in zip(documents, sides, strict=True) if held_out == (split == "held_out")]
    parts = [Document(document.name, _part(document.text, split)) for document in documents]
    return [part for part in parts if part.text.strip()]


def _part(text: str, split: Split) -> str:
    """One side of a text, cut at the beginning of a line where one begins nearby."""
    share = int(len(text) * (1 - HELD_OUT_SHARE))
    cut = text.rfind("\n", int(share * 0.9), share) + 1 or share
    return text[:cut] if split == "train" else text[cut:]
