"""Going on with a run that was stopped: whether it can be, and from where; nobody else writes it from then on."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from neural_plasticity.errors import NotARun, SettingNotUsable
from neural_plasticity.experiment.checkpoints import Saved, last_checkpoint
from neural_plasticity.record import Finished, Run, RunStarted, Writer
from neural_plasticity.settings import Settings

FREE = ("out", "device")  # settings that may be others after a stop: the folder was moved, or the machine is another


@contextlib.contextmanager
def taken_up(folder: str | Path, settings: Settings) -> Iterator[tuple[Writer, Saved | None]]:
    """The record of a run, cut back to its last checkpoint, and that; None where it was stopped before its first."""
    run = Run(folder)
    require_resumable(run)
    _require_same(run, settings)
    with Writer(run.folder):  # whoever writes it now is not disturbed
        require_resumable(run)  # it may have come to its end a moment ago
        saved = last_checkpoint(run)
    with Writer(run.folder, keep=saved.events if saved is not None else 0) as writer:
        writer.describe(resumed=[*writer.description.get("resumed", []), time.time()])
        yield writer, saved


def require_resumable(run: Run) -> None:
    """A refusal of a run that is over, or is no experiment."""
    jobs = [run.description.get("job", "run"), *(event.job for event in run.events(RunStarted))]
    other = next((job for job in jobs if job != "run"), None)
    if other is not None:
        raise NotARun(f"{run.folder} holds a run of `plasticity {other}`, which is not gone on with; start it anew.")
    if run.events(Finished):
        raise NotARun(f"{run.folder} has come to its end, so there is nothing to resume; start a new run, from its model perhaps.")


def _require_same(run: Run, settings: Settings) -> None:
    told, mine = run.description.get("settings", {}), json.loads(json.dumps(settings.as_dict()))
    for name, value in mine.items():
        if name not in FREE and told.get(name) != value:
            raise SettingNotUsable(
                f"{run.folder} was started with {name} {told.get(name)!r:.60}, and this experiment has {value!r:.60}; "
                "go on with the settings that it was started with."
            )
