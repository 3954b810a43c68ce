"""Runs to show, and a real server to ask."""

import threading
from collections.abc import Iterator
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
    with Writer(tmp_path / "runs" / "first", {"settings": {"model": "tiny", "level": 0.5}}) as writer:
        for event in EXAMPLES.values():
            writer.write(event, ARRAYS.get(type(event)))
    return tmp_path / "runs"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A small page of the same make as the real one."""
    folder = tmp_path / "page"
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


@pytest.fixture
def server(runs: Path, page: Path) -> Iterator[Asker]:
    """A server of these runs, on a port of its own."""
    place = claim(port=0, token=TOKEN)
    ready = threading.Event()
    serving = server_of(Shelf(runs), place, started=ready.set, page=page)
    thread = threading.Thread(target=serving.run, args=([place.listening],))
    thread.start()
    assert ready.wait(10)
    yield Asker(place.port)
    serving.should_exit = True
    thread.join(5)
    assert not thread.is_alive()
