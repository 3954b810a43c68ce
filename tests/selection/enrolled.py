"""What each strategy and schedule is held to: its order by plain loops, its levels by steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from neural_plasticity.heads import HeadId

Numbers = Mapping[str, Mapping[HeadId, float]]
Key = Callable[[Numbers, HeadId], float]


def rank(values: Mapping[HeadId, float], head: HeadId) -> float:
    """Its place among all from 1, the middle of the places of those alike."""
    less = sum(value < values[head] for value in values.values())
    alike = sum(value == values[head] for value in values.values())
    return less + (1 + alike) / 2


def combined(numbers: Numbers, head: HeadId) -> float:
    narrow = {each: -value for each, value in numbers["entropy"].items()}
    return round((6 * rank(narrow, head) + 4 * rank(numbers["gradient"], head)) / 10, 6)


# For each way to prune, a number for each head by which those go, the smallest first; None: by chance.
PRUNING: dict[str, Key | None] = {
    "taylor": lambda numbers, head: numbers["taylor"][head],
    "fisher": lambda numbers, head: numbers["fisher"][head],
    "ablation": lambda numbers, head: numbers["ablation"][head],
    "gradient": lambda numbers, head: numbers["gradient"][head],
    "magnitude": lambda numbers, head: numbers["magnitude"][head],
    "entropy": lambda numbers, head: -numbers["entropy"][head],
    "combined": combined,
    "random": None,
}


@dataclass
class Sleep:
    """Who sleeps, who is awake, and what was measured of them."""

    asleep: list[HeadId]
    awake: list[HeadId]
    numbers: Numbers

    def company(self, head: HeadId) -> list[HeadId]:
        return [other for other in self.awake if other.layer == head.layer]

    def woken(self, head: HeadId) -> "Sleep":
        return Sleep([other for other in self.asleep if other != head], [*self.awake, head], self.numbers)


def by_wake(sleep: Sleep) -> HeadId | None:
    best = min(sleep.asleep, key=lambda head: sleep.numbers["wake"][head])
    return best if sleep.numbers["wake"][best] < 0 else None


def by_share(sleep: Sleep) -> HeadId:
    def share(head: HeadId) -> float:
        layer = [other for other in sleep.asleep + sleep.awake if other.layer == head.layer]
        return len(sleep.company(head)) / len(layer)

    return min(sleep.asleep, key=lambda head: (share(head), -sleep.numbers["taylor"][head], head))


def by_gap(sleep: Sleep, first: Sleep) -> HeadId | None:
    entropy = first.numbers["entropy"]

    def gap(head: HeadId) -> float:
        others = first.company(head)
        return sum(entropy[other] for other in others) / len(others) - entropy[head]

    return max((head for head in sleep.asleep if first.company(head)), key=gap, default=None)


# For each way to wake heads, which wakes next, given who sleeps now and who slept at first; None: by chance.
GROWTH: dict[str, Callable[[Sleep, Sleep], HeadId | None] | None] = {
    "gradient_sensitivity": lambda now, _: by_wake(now),
    "balanced": lambda now, _: by_share(now),
    "entropy_gap": by_gap,
    "random": None,
}


def kept(level: float, number: int) -> list[float]:
    """What is left after each cycle, if each takes the same share of it."""
    left = [1.0]
    for _ in range(number):
        left.append(left[-1] * (1 - level) ** (1 / number))
    return left[1:]


# For each schedule, the level after each of `number` cycles.
SHARES: dict[str, Callable[[float, int], list[float]]] = {
    "one_shot": lambda level, number: [level] * number,
    "iterative": lambda level, number: [1 - left for left in kept(level, number)],
    "linear": lambda level, number: [sum([level / number] * cycle) for cycle in range(1, number + 1)],
    "cubic": lambda level, number: [level + (0 - level) * (1 - cycle / number) ** 3 for cycle in range(1, number + 1)],
    "drop_and_grow": lambda level, number: [level] * number,
}
