"""A plan: what is to happen to which heads, in which order, and why."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, cast

from neural_plasticity.errors import SettingNotUsable, said
from neural_plasticity.heads import HeadId

SCHEMA = 1  # raised when a reader of the last version could not read what is written now

# What reading raises on a file that is no plan of ours.
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class Action(StrEnum):
    """What happens to a head."""

    PRUNE = "prune"
    REVIVE = "revive"


@dataclass(frozen=True, slots=True)
class Decision:
    """One head, what happens to it, and why.

    Rank 1 is the first to go, or to wake. The threshold is the score of the first head that was left as it is.
    """

    head: HeadId
    action: Action
    score: float
    rank: int
    threshold: float
    reason: str

    def __str__(self) -> str:
        return f"{self.head} {self.action}: {self.reason}"


class Difference(NamedTuple):
    """What one of two plans does and the other does not."""

    only_here: tuple[Decision, ...]
    only_there: tuple[Decision, ...]

    def __str__(self) -> str:
        sides = (("only here", self.only_here), ("only there", self.only_there))
        return "\n".join(f"{side}: {', '.join(f'{each.head} {each.action}' for each in some) or 'nothing'}" for side, some in sides)


def _nobody() -> dict[HeadId, str]:
    return {}


@dataclass(frozen=True)
class Plan:
    """Decisions in their order, and what they were made under.

    `level` is the share of the original heads that is pruned when the plan is done, `protected` says why each
    head that may not go is protected, `score` what the score of a decision is, `newborn_cycles` for how many
    cycles a woken head is to be protected, and `shortfall`, in one sentence, why the plan does less than was asked.
    """

    decisions: tuple[Decision, ...]
    strategy: str
    level: float
    protected: Mapping[HeadId, str] = field(default_factory=_nobody)
    newborn_cycles: int = 0
    score: str = ""
    shortfall: str = ""

    @property
    def heads(self) -> list[HeadId]:
        """The heads that something happens to, in the order of the decisions."""
        return [decision.head for decision in self.decisions]

    def __len__(self) -> int:
        return len(self.decisions)

    def __iter__(self) -> Iterator[Decision]:
        return iter(self.decisions)

    def difference(self, other: "Plan") -> Difference:
        """What only this plan does, and what only the other does, whatever the scores."""
        here, there = ({(each.head, each.action) for each in plan} for plan in (self, other))
        return Difference(
            tuple(each for each in self if (each.head, each.action) not in there),
            tuple(each for each in other if (each.head, each.action) not in here),
        )

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain values that JSON takes; `from_dict` gives the same plan back."""
        return {
            "schema": SCHEMA,
            "strategy": self.strategy,
            "score": self.score,
            "level": self.level,
            "newborn_cycles": self.newborn_cycles,
            "shortfall": self.shortfall,
            "protected": [{"head": list(head), "why": why} for head, why in self.protected.items()],
            "decisions": [
                {
                    "head": list(each.head),
                    "action": str(each.action),
                    "score": each.score,
                    "rank": each.rank,
                    "threshold": each.threshold,
                    "reason": each.reason,
                }
                for each in self
            ],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Plan":
        """The plan that `as_dict` was asked of."""
        try:
            if plain["schema"] != SCHEMA:
                raise ValueError(f"schema {plain['schema']!r:.20}, where this version reads {SCHEMA}")
            return cls(
                tuple(_decision(each) for each in plain["decisions"]),
                _text(plain["strategy"]),
                _number(plain["level"]),
                {_head(each["head"]): _text(each["why"]) for each in plain["protected"]},
                _whole(plain["newborn_cycles"]),
                _text(plain["score"]),
                _text(plain["shortfall"]),
            )
        except _UNREADABLE as fault:
            raise SettingNotUsable(f"This is no plan of this package ({said(fault)}); make it anew, or save it again.") from fault

    def save(self, path: str | Path) -> None:
        """Write the plan to a JSON file."""
        content = json.dumps(self.as_dict(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        try:
            Path(path).write_text(content, encoding="utf-8")
        except OSError as fault:
            raise SettingNotUsable(f"The plan cannot be written to {path} ({said(fault)}); choose another place.") from fault

    @classmethod
    def load(cls, path: str | Path) -> "Plan":
        """The plan that a JSON file holds."""
        try:
            plain = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls.from_dict(plain)
        except (OSError, ValueError, RecursionError, SettingNotUsable) as fault:
            raise SettingNotUsable(f"{path} does not hold a plan that can be read ({said(fault)}); name another file.") from fault

    def __str__(self) -> str:
        lines = [f"{self._summary()} by {self.strategy}: {self.level:.1%} of the original heads are pruned when this is done"]
        if self.decisions:
            rows = [(str(each.rank), str(each.head), str(each.action), each.reason) for each in self]
            lines += _aligned([("rank", "head", "action", "reason"), *rows])
        lines += [f"protected {head}: {why}" for head, why in self.protected.items()]
        return "\n".join([*lines, *([self.shortfall] if self.shortfall else [])])

    def _summary(self) -> str:
        numbers = {action: sum(each.action is action for each in self) for action in Action}
        told = [f"{action} {number} head{'s' * (number != 1)}" for action, number in numbers.items() if number]
        return ", ".join(told) or "nothing to do"


def _aligned(rows: Iterable[tuple[str, ...]]) -> list[str]:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _decision(plain: Mapping[str, Any]) -> Decision:
    return Decision(
        _head(plain["head"]),
        Action(plain["action"]),
        _number(plain["score"]),
        _whole(plain["rank"]),
        _number(plain["threshold"]),
        _text(plain["reason"]),
    )


def _head(plain: object) -> HeadId:
    layer, head = cast("list[object]", plain)
    return HeadId(_whole(layer), _whole(head))


def _whole(plain: object) -> int:
    if not isinstance(plain, int) or isinstance(plain, bool) or plain < 0:
        raise TypeError(f"{plain!r:.40} where a whole number of at least 0 stands")
    return plain


def _number(plain: object) -> float:
    if not isinstance(plain, int | float) or isinstance(plain, bool) or not math.isfinite(plain):
        raise TypeError(f"{plain!r:.40} where a finite number stands")
    return float(plain)


def _text(plain: object) -> str:
    if not isinstance(plain, str):
        raise TypeError(f"{plain!r:.40} where a text stands")
    return plain
