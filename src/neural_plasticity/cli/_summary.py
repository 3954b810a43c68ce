"""What a run came to, as a table: one run, or many side by side."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from neural_plasticity.errors import NotARun, RecordError, SettingNotUsable
from neural_plasticity.experiment.names import BEFORE, DIFFERENCE, FROM_WARM, WHOLE
from neural_plasticity.record import Compared, Failed, Finished, PhaseStarted, Run, RunStarted
from neural_plasticity.record.folder import runs_in
from neural_plasticity.record.state import state_after
from neural_plasticity.trackers.console import visible
from neural_plasticity.trackers.sentences import compared

ROWS = (
    ("loss, nats a token", "loss_nats", "{:.4f}"),
    ("perplexity", "perplexity", "{:.2f}"),
    ("heads", "heads", "{:,.0f}"),
    ("parameters", "parameters", "{:,.0f}"),
    ("cache bytes a token", "cache_bytes_per_token", "{:,.0f}"),
)
SPEEDS = (("prefill, ms", "prefill_ms", "prefill"), ("decode, ms a token", "decode_ms_per_token", "decode"))
TOLD = ("parameter_bytes",)  # by the number of parameters
SETTINGS, RATIOS = ("strategy", "level", "cycles"), ("prefill_ratio", "decode_ratio")
COLUMNS = (*SETTINGS, "loss_nats_before", "loss_nats", DIFFERENCE, FROM_WARM, "heads", "parameters", *RATIOS)


def print_summary(run: Run, as_json: bool) -> None:
    """What one run came to, before and after."""
    finished = run.events(Finished)
    summary = dict(finished[-1].summary) if finished else {}
    if as_json:
        typer.echo(json.dumps({"run": str(run.folder), "summary": _plain(summary)}, indent=2))
        return
    _print_table(summary, next((event.values for event in reversed(run.events(Compared)) if event.before == WHOLE), None))
    for event in run.events(Compared):
        if event.before != WHOLE:
            typer.echo(visible(compared(event)))
    typer.echo(f"\nThe run is recorded in {run.folder}")
    if (run.folder / "model").is_dir():
        typer.echo(f"The model lies in {run.folder / 'model'}; open it by neural_plasticity.load(...)")


def _print_table(summary: Mapping[str, float], speeds: Mapping[str, float] | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for column in ("", "before", "after", ""):
        table.add_column(column, justify="right" if column else "left")
    for title, name, form in (*ROWS, *_own(summary)):
        before, after = summary.get(f"{name}{BEFORE}"), summary.get(name)
        if before is not None and after is not None:
            table.add_row(title, form.format(before), form.format(after), _change(before, after))
    for title, name, kind in SPEEDS:
        if speeds is not None and f"{kind}_ratio" in speeds:
            ratio, low, high = (speeds[f"{kind}_{each}"] for each in ("ratio", "low", "high"))
            told = f"{ratio:.2f}× as fast ({low:.2f} to {high:.2f})"
            table.add_row(title, f"{speeds[f'{name}_before']:.2f}", f"{speeds[f'{name}_after']:.2f}", told)
    if speeds is None:
        table.add_row("speed", "", "", "no speed-up was measured")
    typer.echo()
    Console().print(table)


def _own(summary: Mapping[str, float]) -> Iterator[tuple[str, str, str]]:
    """Rows for metrics of the user's own."""
    known = {*(name for _, name, _ in ROWS), *TOLD}
    for name in summary:
        if f"{name}{BEFORE}" in summary and name not in known:
            yield escape(visible(name)), name, "{:.4g}"


def _change(before: float, after: float) -> str:
    return f"{(after - before) / before:+.1%}" if before and math.isfinite(before) and math.isfinite(after) else ""


def found_runs(folder: Path) -> list[Run]:
    """The run that a folder is, or the runs that lie in it, the oldest first; all must be readable."""
    return [Run(each) for each in run_folders(folder)]


def run_folders(folder: Path) -> list[Path]:
    """The folders of these, readable or not."""
    if not folder.is_dir():
        raise NotARun(f"{folder} is not a folder; name one that runs lie in, such as runs.")
    found = runs_in(folder)
    if not found:
        raise NotARun(f"{folder} holds no runs; start one with `plasticity run`, or name another folder.")
    return found


def print_comparison(folders: Sequence[Path], as_json: bool, sort: str | None = None) -> None:
    """Runs side by side; one that cannot be read says why, and the others are shown all the same."""
    rows = [_row(folder) for folder in folders]
    if sort is not None:
        if not any(sort in row for row in rows):
            known = sorted({name for row in rows for name in row})
            raise SettingNotUsable(f"No run has a {sort!r} to sort by; choose one of {', '.join(known)}.")
        rows.sort(key=lambda row: _place(row.get(sort)))
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    terminal = Console()
    if not terminal.is_terminal:
        terminal = Console(width=1000)  # a pipe takes lines of any length
    shown = [column for column in COLUMNS if any(column in row for row in rows)]
    table = Table(box=None, header_style="bold")
    for column in ("run", "state", *shown):
        table.add_column(column.replace("_", " "), justify="left" if column in ("run", "state", "strategy") else "right")
    for row in rows:
        cells = (row["run"], row["state"], *(_cell(row.get(column)) for column in shown))
        table.add_row(*(escape(visible(cell)) for cell in cells))
    terminal.print(table)


def _place(value: Any) -> tuple[int, float, str]:
    """Numbers by size, then texts, then nothing."""
    if isinstance(value, int | float):
        return 0, float(value), ""
    return (1, 0.0, value) if isinstance(value, str) else (2, 0.0, "")


def _row(folder: Path) -> dict[str, Any]:
    try:
        run = Run(folder)
        entries = list(run.entries())
        settings = run.description.get("settings", {})
    except RecordError as fault:
        return {"run": folder.resolve().name, "state": f"unreadable: {fault}"}
    row: dict[str, Any] = {"run": run.name, "state": _state(run, [entry.event for entry in entries])}
    if isinstance(settings, dict) and any(isinstance(entry.event, RunStarted) and entry.event.job == "run" for entry in entries):
        row |= {name: settings.get(name) for name in ("model", "strategy", "level", "cycles", "schedule", "mode", "seed")}
    finished = [entry.event for entry in entries if isinstance(entry.event, Finished)]
    return row | (_plain(finished[-1].summary) if finished else {})


def _state(run: Run, events: Sequence[Any]) -> str:
    last = events[-1] if events else None
    if isinstance(last, Failed):
        return f"stopped: {last.error}"
    phases = [event.phase for event in events if isinstance(event, PhaseStarted)]
    place = f"in {phases[-1]}" if phases else "begun"
    return {"running": place, "stopped": f"{place}, then gone without a word"}.get(state_after(last, run), "finished")


def _plain(values: Mapping[str, float]) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
