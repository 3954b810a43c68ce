"""The record of a run: a folder of its own, and in it who runs what, where."""

import re
from collections.abc import Mapping
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from neural_plasticity.anatomy.sites import Anatomy
from neural_plasticity.environment.survey import get_environment_info
from neural_plasticity.record import Writer
from neural_plasticity.settings import Settings


def begin_record(settings: Settings, name: str, anatomy: Anatomy, *, job: str = "run", by_name: bool = True) -> Writer:
    """A new record that says what is run, where, and on what; `by_name` is whether the settings name all of that."""
    description = {
        "name": name,
        "job": job,
        "by_name": by_name,
        "settings": settings.as_dict(),
        "environment": get_environment_info(),
        "anatomy": anatomy.as_dict(),
    }
    return _new_record(Path(settings.out), name, description)


def run_name(settings: Settings) -> str:
    """A name by time and model."""
    short = re.sub(r"[^\w.-]+", "-", Path(settings.model).name)[:60] or "model"
    return f"{datetime.now().astimezone():%Y-%m-%d_%H%M%S}_{short}"


def _new_record(out: Path, name: str, description: Mapping[str, Any]) -> Writer:
    """A record in a folder of its own, also where another run of the same name begins in the same second."""
    for number in count(1):
        folder = out / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not out.is_dir():
                break  # a file stands in the way; the writer says so
            continue
        except OSError:
            break
        return Writer(folder, description)
    return Writer(out / name, description)
