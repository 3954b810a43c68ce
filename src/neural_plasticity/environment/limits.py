"""What Linux control groups leave to this process: a share of the processors and of the memory.

A container sees all of its host's processors and memory, and is throttled or killed at its own limit.
A limit may stand at any level between a process's group and the root, in the names of version 1 or of version 2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """The most memory a control group may take, and what is left of it."""

    total_bytes: int
    available_bytes: int


def processor_share() -> float | None:
    """The processors' worth of time that the tightest quota grants, None where there is no quota."""
    shares: list[float] = []
    for group in _groups("cpu"):
        words = _words(group / "cpu.max") or _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us")
        if len(words) == 2 and words[0] not in ("max", "-1"):
            shares.append(int(words[0]) / int(words[1]))
    return min(shares, default=None)


def memory_limits() -> list[MemoryLimit]:
    """Every memory limit that this process is under."""
    limits: list[MemoryLimit] = []
    for group in _groups("memory"):
        total = _words(group / "memory.max") or _words(group / "memory.limit_in_bytes")
        taken = _words(group / "memory.current") or _words(group / "memory.usage_in_bytes")
        if total and taken and total != ["max"]:
            used = int(taken[0]) - _reclaimable(group)
            limits.append(MemoryLimit(int(total[0]), max(0, int(total[0]) - used)))
    return limits


def _reclaimable(group: Path) -> int:
    """Bytes of file cache that the kernel gives up first: counted as taken, yet still to be had."""
    words = _words(group / "memory.stat")
    counts = dict(zip(words[::2], words[1::2], strict=True))
    return int(counts.get("total_inactive_file", counts.get("inactive_file", 0)))


def _groups(controller: str) -> Iterator[Path]:
    """The folders that may limit `controller` for this process, from its own group up to the root."""
    for line in MEMBERSHIP.read_text().splitlines() if MEMBERSHIP.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = GROUPS / controller if controllers else GROUPS
        folder = root / path.lstrip("/")
        yield folder
        while folder != root:
            folder = folder.parent
            yield folder


def _words(file: Path) -> list[str]:
    """The words of a kernel file; none where it is missing, which at most levels it is."""
    try:
        return file.read_text().split()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
