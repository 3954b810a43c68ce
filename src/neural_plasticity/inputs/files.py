"""Documents out of files: one reader per kind of file, chosen by its ending."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from neural_plasticity.errors import TextNotUsable, said
from neural_plasticity.inputs.documents import Document

COLUMNS = ("text", "content", "document", "body", "code", "sentence")  # tried in this order when none is named

Reader = Callable[[Path, str, str | None], list[Document]]


def documents_of_file(path: Path, name: str, column: str | None = None) -> list[Document]:
    """The documents of one file; a file with an unknown ending is read as plain text."""
    try:
        if not path.stat().st_size:
            raise TextNotUsable(f"The text {path} is empty (0 bytes); name a file with words in it.")
        return READERS.get(path.suffix.lower(), _whole)(path, name, column)
    except OSError as fault:
        raise TextNotUsable(f"The text {path} cannot be read ({said(fault)}); check the file and its permissions.") from fault


def documents_of_folder(folder: Path, column: str | None = None) -> list[Document]:
    """The documents of every file below a folder whose ending is known, in the order of their names."""
    every = [path for path in folder.rglob("*") if path.is_file() and not _hidden(path.relative_to(folder))]
    files = sorted(path for path in every if path.suffix.lower() in READERS)
    if not files:
        seen = sorted({path.suffix or path.name for path in every})
        raise TextNotUsable(
            f"The folder {folder} holds no text: it has {', '.join(seen[:8]) or 'no files'} "
            f"and none of {', '.join(READERS)}; name another folder."
        )
    filled = [path for path in files if path.stat().st_size]
    return [document for path in filled for document in documents_of_file(path, path.relative_to(folder).as_posix(), column)]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def documents_of_rows(name: str, texts: Iterable[Any]) -> list[Document]:
    """One document a row, named by its number; rows without text are passed over."""
    return [Document(f"{name}:{number}", text) for number, text in enumerate(texts) if isinstance(text, str) and text.strip()]


def text_column(name: str, columns: Mapping[str, Sequence[Any]], asked: str | None) -> str:
    """The column that holds the text, by request, by a usual name, or because it is the only one with strings."""
    if asked is not None:
        if asked in columns:
            return asked
        raise TextNotUsable(f"{name} has no column {asked!r}; it has {', '.join(columns) or 'none'}: name one of them.")
    usual = next((column for column in COLUMNS if column in columns), None)
    texts = [column for column, values in columns.items() if any(isinstance(value, str) for value in values)]
    if usual or len(texts) == 1:
        return usual or texts[0]
    raise TextNotUsable(
        f"It is not clear which column of {name} holds the text: it has {', '.join(columns) or 'none'}; name one of them."
    )


def _whole(path: Path, name: str, column: str | None) -> list[Document]:
    del column
    return [Document(name, decoded(path))]


def decoded(path: Path) -> str:
    """A file's text, which must be UTF-8; a byte-order mark is dropped."""
    raw = path.read_bytes()
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise TextNotUsable(f"The text {path} is encoded as UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8.")
    if b"\0" in raw:
        raise TextNotUsable(f"The text {path} is binary (a zero byte at position {raw.index(0)}); name a text file.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise TextNotUsable(
            f"The text {path} is not UTF-8 (byte 0x{raw[fault.start]:02x} at position {fault.start}); "
            "convert it, for example from Latin-1: iconv -f LATIN1 -t UTF-8."
        ) from fault


def _lines_of_json(path: Path, name: str, column: str | None) -> list[Document]:
    rows: list[Any] = []
    for number, line in enumerate(decoded(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as fault:
            raise TextNotUsable(f"The text {path}, line {number}, is not JSON ({fault}); mend or remove the line.") from fault
    objects = [row for row in rows if isinstance(row, dict)]
    if not objects:
        return documents_of_rows(name, rows)
    keys = dict.fromkeys(key for row in objects for key in row)
    chosen = text_column(str(path), {key: [row.get(key) for row in objects] for key in keys}, column)
    return documents_of_rows(name, (row.get(chosen) if isinstance(row, dict) else row for row in rows))


def _csv(path: Path, name: str, column: str | None) -> list[Document]:
    rows = list(csv.DictReader(io.StringIO(decoded(path), newline=""), restkey="", strict=True))
    surplus = next((number for number, row in enumerate(rows, 1) if "" in row), None)
    if surplus is not None:
        raise TextNotUsable(f"The text {path}, row {surplus}, has more fields than the header; put quotes around text with commas.")
    if not rows:
        raise TextNotUsable(f"The text {path} has no rows below its header; name one that has.")
    chosen = text_column(str(path), {key: [_plain(row[key]) for row in rows] for key in rows[0]}, column)
    return documents_of_rows(name, (row[chosen] for row in rows))


def _plain(field: str | None) -> str | float | None:
    """A field that is a number is none that a text column is known by."""
    try:
        return float(field or "nan")
    except ValueError:
        return field


def _parquet(path: Path, name: str, column: str | None) -> list[Document]:
    import pandas

    frame = pandas.read_parquet(path)
    columns = {str(key): frame[key].tolist() for key in frame.columns}
    return documents_of_rows(name, columns[text_column(str(path), columns, column)])


def _refusing(read: Reader) -> Reader:
    """The reader, its own errors about malformed content turned into a refusal."""

    def documents(path: Path, name: str, column: str | None) -> list[Document]:
        try:
            return read(path, name, column)
        except (ValueError, csv.Error) as fault:  # pyarrow's and pandas' are kinds of the first
            kind = path.suffix[1:]
            raise TextNotUsable(f"The text {path} cannot be read as {kind} ({said(fault)}); mend it or name another.") from fault

    return documents


READERS: dict[str, Reader] = {
    ".txt": _whole,
    ".md": _whole,
    ".rst": _whole,
    ".py": _whole,
    ".jsonl": _lines_of_json,
    ".csv": _refusing(_csv),
    ".parquet": _refusing(_parquet),
}
