"""How often a 95 % interval of a mean holds the true one: ours, Student's t, Hall's correction for skewness, bootstraps.

`python benchmarks/intervals.py [--draws 20000] [--bootstraps 0] [--resamples 1999] [--json]`

Each draw is a sample of differences from a distribution whose mean is known. Ours is the function that evaluates runs;
the others are written down here once more. Bootstraps take long and are left out unless a number of draws is given.
"""

import argparse
import json
import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from neural_plasticity.experiment.evidence import interval
from neural_plasticity.student import CONFIDENCE, student_t

Numbers = NDArray[np.float64]
Kind = Callable[[np.random.Generator, tuple[int, int]], Numbers]
TAIL = (1 - CONFIDENCE) / 2
NORMAL = NormalDist()


def a_tenth_harmed(generator: np.random.Generator, shape: tuple[int, int]) -> Numbers:
    """Most texts as they were, but for a little noise, and a few much worse."""
    return np.where(generator.random(shape) < 0.9, generator.normal(0, 0.01, shape), generator.exponential(0.1, shape))


# By name: how it is drawn, its mean, the sizes of its samples.
KINDS: dict[str, tuple[Kind, float, tuple[int, ...]]] = {
    "normal": (lambda generator, shape: generator.normal(size=shape), 0.0, (3, 10, 100)),
    "exponential": (lambda generator, shape: generator.exponential(size=shape), 1.0, (3, 10, 100)),
    "log-normal": (lambda generator, shape: generator.lognormal(size=shape), math.exp(0.5), (5, 10, 30)),
    "t(3)": (lambda generator, shape: generator.standard_t(3, size=shape), 0.0, (10, 100)),
    "a tenth harmed": (a_tenth_harmed, 0.01, (10, 100, 400)),
}


def ours(values: Numbers) -> Numbers:
    """The bounds that a run reports, for every row."""
    return np.array([interval(row) for row in values])


def students(values: Numbers) -> Numbers:
    """Student's t, for every row."""
    count = values.shape[1]
    reach = student_t(count - 1) * values.std(axis=1, ddof=1) / math.sqrt(count)
    return np.stack([values.mean(axis=1) - reach, values.mean(axis=1) + reach], axis=1)


def halls(values: Numbers) -> Numbers:
    """Hall's, for every row: t + b t² / 3 + b² t³ / 27 + b / 6 has Student's distribution, nearly, with b = skewness / √n."""
    count = values.shape[1]
    mean, deviation = values.mean(axis=1), values.std(axis=1, ddof=1)
    cubes = (((values - mean[:, None]) / deviation[:, None]) ** 3).sum(axis=1)
    bend = cubes * count / ((count - 1) * (count - 2)) / math.sqrt(count)
    # Times b, plus 1, the cubic is (1 + b t / 3)³ + b² / 6.
    reach = [3 * (np.cbrt(1 + bend * side - bend**2 / 6) - 1) / bend for side in (student_t(count - 1), -student_t(count - 1))]
    return np.stack([mean - each * deviation / math.sqrt(count) for each in reach], axis=1)


def accelerated(values: Numbers, picked: NDArray[np.int64]) -> tuple[float, float]:
    """The bias-corrected and accelerated bootstrap of one sample."""
    means, mean = values[picked].mean(axis=1), values.mean()
    shift = NORMAL.inv_cdf(float((means < mean).mean() + (means == mean).mean() / 2))
    around = values - mean
    bent = float((around**3).sum() / (around**2).sum() ** 1.5) / 6
    shares = []
    for side in (NORMAL.inv_cdf(TAIL), NORMAL.inv_cdf(1 - TAIL)):
        shares.append(NORMAL.cdf(shift + (shift + side) / (1 - bent * (shift + side))))
    low, high = np.quantile(means, shares)
    return float(low), float(high)


def studentised(values: Numbers, picked: NDArray[np.int64]) -> tuple[float, float]:
    """The bootstrap of t of one sample; endless where resamples without any spread are too many."""
    again, count = values[picked], len(values)
    errors, moved = again.std(axis=1, ddof=1) / math.sqrt(count), again.mean(axis=1) - values.mean()
    with np.errstate(divide="ignore"):
        reach = np.quantile(moved / errors, [1 - TAIL, TAIL], method="nearest")
    low, high = values.mean() - reach * values.std(ddof=1) / math.sqrt(count)
    return float(low), float(high)


def bootstrapped(values: Numbers, resamples: int, generator: np.random.Generator) -> dict[str, Numbers]:
    """Both bootstraps, for every row, from the same resamples."""
    count = values.shape[1]
    found: dict[str, list[tuple[float, float]]] = {"BCa bootstrap": [], "studentised bootstrap": []}
    for row in values:
        picked = generator.integers(count, size=(resamples, count))
        found["BCa bootstrap"].append(accelerated(row, picked))
        found["studentised bootstrap"].append(studentised(row, picked))
    return {name: np.array(bounds) for name, bounds in found.items()}


def coverage(draws: int, bootstraps: int, resamples: int) -> list[dict[str, Any]]:
    """For every distribution and size: how often each interval holds the mean; None for one that is endless."""
    rows: list[dict[str, Any]] = []
    for name, (kind, mean, counts) in KINDS.items():
        for count in counts:
            generator = np.random.default_rng(count)
            values = kind(generator, (draws, count))
            found = {"Student's t": students(values), "Hall's": halls(values), "ours": ours(values)}
            width = float(np.median(np.ptp(found["ours"], axis=1) / np.ptp(found["Student's t"], axis=1)))
            found |= bootstrapped(values[:bootstraps], resamples, generator) if bootstraps else {}
            held = {each: _share(bounds, mean) for each, bounds in found.items()}
            rows.append({"values": name, "documents": count, "held": held, "width": width})
    return rows


def _share(bounds: Numbers, mean: float) -> float | None:
    endless = not np.isfinite(bounds).all()
    return None if endless else float(((bounds[:, 0] <= mean) & (mean <= bounds[:, 1])).mean())


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--bootstraps", type=int, default=0, help="how many of the draws are bootstrapped too")
    parser.add_argument("--resamples", type=int, default=1999, help="of each draw, by the bootstraps")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rows = coverage(chosen.draws, chosen.bootstraps, chosen.resamples)
    if chosen.json:
        print(json.dumps(rows, indent=2))
        return
    doubt = NORMAL.inv_cdf(1 - TAIL) * math.sqrt(CONFIDENCE * (1 - CONFIDENCE))
    counted = f"{chosen.draws} draws, ± {doubt / math.sqrt(chosen.draws):.3f}"
    if chosen.bootstraps:
        counted += f"; bootstraps {chosen.bootstraps} of them, ± {doubt / math.sqrt(chosen.bootstraps):.3f}"
    table = Table(title=f"how often a {CONFIDENCE:.0%} interval holds the mean ({counted})")
    for heading in ("values", "documents", *rows[0]["held"], "width of ours ÷ Student's"):
        table.add_column(heading)
    for row in rows:
        shares = ("endless" if share is None else f"{share:.3f}" for share in row["held"].values())
        table.add_row(row["values"], str(row["documents"]), *shares, f"{row['width']:.2f}")
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
