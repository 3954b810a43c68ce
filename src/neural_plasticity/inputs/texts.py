"""Texts by name: `stdlib`, a file, a folder, or a dataset of the hub."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neural_plasticity.errors import TextNotUsable, said
from neural_plasticity.inputs.documents import Document, Split, of_split
from neural_plasticity.inputs.files import READERS, documents_of_file, documents_of_folder, documents_of_rows, text_column
from neural_plasticity.inputs.stdlib import stdlib_documents

HELD_OUT_SPLITS = ("validation", "valid", "test", "dev")  # in this order; what hubs call the side that is not trained on


def load_text(
    text: str, split: Split = "all", *, config: str | None = None, hub_split: str | None = None, column: str | None = None
) -> list[Document]:
    """The documents that a name stands for, on the asked side of the split.

    A path wins over a dataset of the same name; `hub:NAME` always means the dataset.
    `config`, `hub_split` and `column` choose within a dataset or table.
    """
    if not text.removeprefix("hub:").strip("/ "):
        raise TextNotUsable("The text has no name; name a file, a folder, a dataset of the hub, or 'stdlib'.")
    if text == "stdlib":
        return of_split(stdlib_documents(), split)
    if text.startswith("hub:"):
        return _hub_documents(text.removeprefix("hub:"), split, config, hub_split, column)
    try:
        documents = _local_documents(text, column)
    except (OSError, RuntimeError, ValueError) as fault:  # names too long, of no user, or with a zero byte
        raise TextNotUsable(f"The text {text[:80]!r} cannot be looked up ({said(fault)}); check its name.") from fault
    if documents is None:
        return _hub_documents(text, split, config, hub_split, column)
    return _not_empty(text, split, of_split(documents, split))


def _local_documents(text: str, column: str | None) -> list[Document] | None:
    """The documents of a file or folder; None for what is neither and does not look like one."""
    path = Path(text).expanduser()
    if path.is_dir():
        return documents_of_folder(path, column)
    if path.exists():
        return documents_of_file(path, path.name, column)
    if _looks_like_a_path(text):
        raise TextNotUsable(f"The text {text!r} does not exist; name a file, a folder, a dataset of the hub, or 'stdlib'.")
    return None


def _looks_like_a_path(text: str) -> bool:
    return text.startswith((".", "~", os.sep)) or text.count("/") > 1 or Path(text).suffix.lower() in READERS


def _not_empty(text: str, split: Split, documents: Sequence[Document]) -> list[Document]:
    if not any(document.text.strip() for document in documents):
        side = "" if split == "all" else f" on its {split.replace('_', '-')} side"
        raise TextNotUsable(f"The text {text!r} is empty{side}; name one with words in it.")
    return list(documents)


def _hub_documents(name: str, split: Split, config: str | None, hub_split: str | None, column: str | None) -> list[Document]:
    """Rows of a hub dataset; its own held-out split is used where it has one."""
    from datasets import get_dataset_split_names, load_dataset

    try:
        names = get_dataset_split_names(name, config)
        own = None if hub_split else _own_split(names, split)
        rows: Any = load_dataset(name, config, split=hub_split or own or names[0])
    except (OSError, ValueError) as fault:
        raise TextNotUsable(
            f"The text {name!r} is neither 'stdlib' nor a path here, and as a dataset of the hub it cannot be loaded "
            f"({said(fault)}); check its name, config and split, and the connection."
        ) from fault
    chosen_column = text_column(name, {key: list(rows[key][:1]) for key in rows.column_names}, column)
    documents = documents_of_rows(name, rows[chosen_column])
    return _not_empty(name, split, documents if own else of_split(documents, split))


def _own_split(names: Sequence[str], split: Split) -> str | None:
    """The dataset's own split for this side, or None where the dataset leaves splitting to us."""
    held_out = next((name for name in HELD_OUT_SPLITS if name in names), None)
    if split == "all" or held_out is None or "train" not in names:
        return None
    return "train" if split == "train" else held_out
