"""Run folders for tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from neural_plasticity.record import Metrics, Writer

DESCRIPTION = {"settings": {"model": "tiny"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def writer(folder: Path) -> Iterator[Writer]:
    with Writer(folder, DESCRIPTION) as writer:
        yield writer


def metrics(step: int) -> Metrics:
    return Metrics(step=step, values={"loss": step / 7})
