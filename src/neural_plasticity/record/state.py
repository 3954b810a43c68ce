"""How a run stands: going on, over, stopped early with a word, or gone without one."""

import os
import platform
from typing import Any, Literal

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
    pid, host = writer.get("pid"), writer.get("host")  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if os.name != "posix" or host != platform.node() or not isinstance(pid, int) or not 0 < pid < 2**31:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's, and alive
    return True
