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

    Decided by a hash of the name alone, so that adding, removing or reordering documents
    never moves another one across the line.
    """
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


def of_split(documents: Sequence[Document], split: Split) -> list[Document]:
    """The documents on the asked side of the line, in their order.

    Few documents are each cut in two instead: their last tenth, from a line's beginning, is held out.
    """
    if split == "all":
        return list(documents)
    if len(documents) >= FEWEST_TO_SPLIT_BY_NAME:
        return [document for document in documents if is_held_out(document.name) == (split == "held_out")]
    parts = [Document(document.name, _part(document.text, split)) for document in documents]
    return [part for part in parts if part.text.strip()]


def _part(text: str, split: Split) -> str:
    line = text.rfind("\n", 0, int(len(text) * (1 - HELD_OUT_SHARE))) + 1
    cut = line or int(len(text) * (1 - HELD_OUT_SHARE))
    return text[:cut] if split == "train" else text[cut:]
