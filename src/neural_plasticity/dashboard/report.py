"""The report: everything about one run or several in one HTML file, to keep or to send."""

import base64
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neural_plasticity.dashboard.assembly import bound, script_json
from neural_plasticity.dashboard.columns import in_columns
from neural_plasticity.dashboard.feed import described, items
from neural_plasticity.errors import CorruptRecord, SettingNotUsable
from neural_plasticity.record import Entry, Run
from neural_plasticity.record.folder import write_whole
from neural_plasticity.record.state import state_after


def report(runs: Run | str | Path | Sequence[Run | str | Path], path: str | Path) -> Path:
    """One self-contained page about these runs, over or still going on, written in one step; returns where it lies."""
    chosen = [runs] if isinstance(runs, Run | str | Path) else list(runs)
    if not chosen:
        raise SettingNotUsable(f"No run is named for the report {path}; name one run folder or several.")
    opened = [run if isinstance(run, Run) else Run(run) for run in chosen]
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, page_of(opened).encode())
    return target


def page_of(runs: Sequence[Run]) -> str:
    """The report as text."""
    told = [_told(run) for run in runs]
    columns = in_columns(told)
    packed = base64.b64encode(gzip.compress(script_json({"runs": told}).encode(), mtime=0)).decode("ascii")
    feed: dict[str, Any] = {"mode": "offline", "runs": [], "gz": packed}
    return bound(feed if columns is None else feed | {"columns": columns})


def _told(run: Run) -> dict[str, Any]:
    """One run for the page; a corrupt line ends it, and the page is told so."""
    entries: list[Entry] = []
    corrupt: dict[str, Any] = {}
    try:
        for entry in run.entries():
            entries.append(entry)  # what is sound is kept
    except CorruptRecord as fault:
        corrupt = {"corrupt": str(fault).replace(str(run.folder), run.name)}
    state = state_after(entries[-1].event if entries else None, run)
    return {"described": described(run) | {"state": state} | corrupt, "items": list(items(run, entries))}
