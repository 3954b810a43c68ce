"""The text that every Python installation carries: the standard library's source and reference docs."""

import sysconfig
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path, PurePosixPath

from neural_plasticity.errors import TextNotUsable
from neural_plasticity.inputs.documents import Document

# Third-party packages, test suites (some distributions leave them out, and the corpus should be
# the same everywhere), generated tables, and the docs' own storage, which is read as text below.
LEFT_OUT = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "pydoc_data", "__pycache__"})
SMALLEST = 200  # characters; shorter files are `__init__` shells


def stdlib_documents() -> list[Document]:
    """Source files of the standard library and topics of the language reference, by name.

    Names are paths relative to the library, so the train and held-out sides hold the same
    files on every machine.
    """
    root = Path(sysconfig.get_path("stdlib"))
    documents = sorted([*_sources(root), *_topics()], key=lambda document: document.name)
    if not documents:
        raise TextNotUsable(
            f"The text 'stdlib' found no Python source in {root}: this Python comes without its library's source; "
            "name a file, a folder or a dataset instead."
        )
    return documents


def _sources(root: Path) -> Iterator[Document]:
    for path in root.rglob("*.py"):
        name = PurePosixPath(path.relative_to(root).as_posix())
        if LEFT_OUT.intersection(name.parts) or name.name.startswith("_sysconfigdata"):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a handful of sources declare another encoding on purpose
        if len(text) >= SMALLEST:
            yield Document(f"stdlib/{name}", text)


def _topics() -> Iterator[Document]:
    topics: dict[str, str] = import_module("pydoc_data.topics").topics
    for topic, text in topics.items():
        if len(text) >= SMALLEST:
            yield Document(f"reference/{topic}", text)
