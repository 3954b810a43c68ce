"""How a run stands: going on, over, stopped early with a word, or gone without one."""

import os
import platform
from pathlib import Path
from typing import Any, Literal, cast

from neural_plasticity.record.events import Event, Failed, Finished
from neural_plasticity.record.run import Run

State = Literal["running", "finished", "failed", "stopped"]


def state_after(last: Event | None, run: Run) -> State:
    """How a run stands whose last event this is: `failed` has said why, `stopped` is a process that is gone without a word."""
    if isinstance(last, Finished):
        return "finished"
    if isinstance(last, Failed):
        return "failed"
    return "running" if _may_be_written(run.description.get("writer")) else "stopped"


def _may_be_written(writer: Any) -> bool:
    """Whether the process that writes is alive, or cannot be seen from here: it is asked nothing, and its lock stays its own."""
    if not isinstance(writer, dict):
        return True
    writer = cast("dict[str, Any]", writer)
    pid, host, began = writer.get("pid"), writer.get("host"), writer.get("began")
    if os.name != "posix" or host != platform.node() or not isinstance(pid, int) or not 0 < pid < 2**31:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's, and alive
    now = began_at(pid)
    return now != GONE and (began is None or now is None or now == began)


GONE = -1


def began_at(pid: int) -> int | None:
    """When a process began, as its system counts; GONE where it has ended and only its number is left, None where nobody says."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return GONE if told[0] in "ZX" else int(told[19])
    except (OSError, ValueError, IndexError):
        return None  # not Linux, or it ended just now
