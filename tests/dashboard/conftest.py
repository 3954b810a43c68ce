"""Runs to show, and a real server to ask."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from neural_plasticity.dashboard.server import claim, server_of
from neural_plasticity.dashboard.shelf import Shelf
from neural_plasticity.record import Attention, HeadsMeasured, Writer
from tests.dashboard.asking import TOKEN, Asker
from tests.record.examples import EXAMPLES

GRIDS = {
    "entropy": np.array([[1.5, np.nan], [np.inf, -0.0]], dtype=np.float32),
    "taylor": np.array([[1e-30, 2.0], [3.0, 4.0]], dtype=np.float32),
}
MAPS = {"1.2": np.array([[1.0, 0.0], [0.25, 0.75]], dtype=np.float32)}
ARRAYS = {HeadsMeasured: GRIDS, Attention: MAPS}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with one run in it, which has an event of every kind."""
    return filled(tmp_path / "runs")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A small page of the same make as the real one."""
    return written(tmp_path / "page")


@pytest.fixture
def server(runs: Path, page: Path) -> Iterator[Asker]:
    """A server of these runs, on a port of its own."""
    with serving(runs, page) as asker:
        yield asker


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    """A server for tests that only ask, all of a module together."""
    folder = tmp_path_factory.mktemp("shared")
    with serving(filled(folder / "runs"), written(folder / "page")) as asker:
        yield asker


def filled(folder: Path) -> Path:
    with Writer(folder / "first", {"settings": {"model": "tiny", "level": 0.5}}) as writer:
        for event in EXAMPLES.values():
            writer.write(event, ARRAYS.get(type(event)))
    return folder


def written(folder: Path) -> Path:
    folder.mkdir()
    (folder / "index.html").write_text(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>t</title>\n'
        '<link rel="stylesheet" href="page/a.css">\n</head>\n<body>\n<p id="told"></p>\n'
        '<script type="application/json" id="feed">{}</script>\n'
        '<script type="module" src="page/main.js"></script>\n</body>\n</html>\n'
    )
    (folder / "a.css").write_text("p { color: red; }\n")
    (folder / "low.js").write_text("export const ONE = 1;\nexport async function two() {\n  return ONE + 1;\n}\n")
    (folder / "mid.js").write_text('import { ONE } from "./low.js";\nconst three = 3;\nexport { three };\nexport class Four {}\n')
    (folder / "main.js").write_text(
        'import {\n  ONE,\n  two,\n} from "./low.js";\nimport { three, Four } from "./mid.js";\ntwo();\n'
    )
    return folder


@contextmanager
def serving(runs: Path, page: Path) -> Iterator[Asker]:
    place = claim(port=0, token=TOKEN)
    ready = threading.Event()
    server = server_of(Shelf(runs), place, started=ready.set, page=page)
    thread = threading.Thread(target=server.run, args=([place.listening],))
    thread.start()
    assert ready.wait(10)
    yield Asker(place.port)
    server.should_exit = True
    thread.join(5)
    assert not thread.is_alive()
