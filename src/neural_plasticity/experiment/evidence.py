"""The evidence of "no loss": paired differences of every document with an interval, and the worst ones by name.

A mean of 0 hides a text that became far worse. And differences are skewed: pruning leaves most texts as they were
and harms a few, which is just where the usual interval promises too much.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neural_plasticity.errors import NotMeasurable, SettingNotUsable
from neural_plasticity.student import student_t

METHOD = "paired differences; Student's t and Hall's t for skewed numbers, whichever reaches further"
ALONE = "one document, which has no interval"

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Regression:
    """A document that became worse."""

    document: str
    before: float
    after: float

    @property
    def difference(self) -> float:
        """By how much it became worse."""
        return self.after - self.before

    def __str__(self) -> str:
        return f"{self.document} (+{self.difference:.2g})"


@dataclass(frozen=True)
class Evidence:
    """How losses differ, after less before: by document on average, and within which bounds by 95 %; above 0 is worse.

    `overall_difference` counts every document by its weight, None where there are none. The interval is nan for one
    document. It speaks of documents of the same kind; a harm so rare that none of these shows it is in no interval.
    """

    documents: int
    mean_difference: float
    low: float
    high: float
    overall_difference: float | None
    worse_share: float
    worst: tuple[Regression, ...]
    method: str
    unit: str = "nats a token"

    def values(self) -> dict[str, float]:
        """Every number, by name; nan for bounds that one document does not give."""
        named = {
            "documents": self.documents,
            "mean_difference": self.mean_difference,
            "low": self.low,
            "high": self.high,
            "overall_difference": self.overall_difference,
            "worse_share": self.worse_share,
        }
        return {name: value for name, value in named.items() if value is not None}

    def __str__(self) -> str:
        where = f"on {self.documents} documents" if self.documents > 1 else "on one document"
        bounds = f"95 % between {self.low:.2g} and {self.high:.2g}" if self.documents > 1 else "one gives no interval"
        told = f"The loss is {self._told(self.mean_difference)} ({bounds}) {where}; {self.worse_share:.0%} became worse"
        told += f"; worst: {', '.join(map(str, self.worst))}." if self.worst else "."
        return told if self.overall_difference is None else f"{told}\nOver all tokens it is {self._told(self.overall_difference)}."

    def _told(self, difference: float) -> str:
        return f"{abs(difference):.2g} {self.unit} {'higher' if difference > 0 else 'lower'}" if difference else "the same"


def evidence(
    names: Sequence[str],
    before: ArrayLike,
    after: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    worst: int = 5,
    unit: str = "nats a token",
) -> Evidence:
    """What the losses of the same documents before and after say; with weights, as numbers of tokens, over all of them too.

    Documents that have no loss on either side, being too short, are left out.
    """
    losses = [np.asarray(each, dtype=np.float64) for each in (before, after, np.ones(len(names)) if weights is None else weights)]
    for name, each in zip(("before", "after", "weights"), losses, strict=True):
        if each.shape != (len(names),):
            raise SettingNotUsable(f"{name}= has shape {each.shape} for {len(names)} documents; give one number for each.")
    kept = ~(np.isnan(losses[0]) & np.isnan(losses[1]))
    first, second, shares = (each[kept] for each in losses)
    known = [name for name, keep in zip(names, kept, strict=True) if keep]
    _require_numbers(known, first, second, shares)
    differences = second - first
    low, high = interval(differences)
    order = np.argsort(-differences, kind="stable")[: max(0, worst)]
    return Evidence(
        documents=len(known),
        mean_difference=float(differences.mean()),
        low=low,
        high=high,
        overall_difference=None if weights is None else float((shares * differences).sum() / shares.sum()),
        worse_share=float((differences > 0).mean()),
        worst=tuple(
            Regression(known[place], float(first[place]), float(second[place])) for place in order if differences[place] > 0
        ),
        method=METHOD if len(known) > 1 else ALONE,
        unit=unit,
    )


def _require_numbers(names: Sequence[str], before: Numbers, after: Numbers, weights: Numbers) -> None:
    if not names:
        raise NotMeasurable("No document has a loss, before or after; give documents of two tokens or more.")
    for stage, each in (("before", before), ("after", after)):
        bad = np.flatnonzero(~np.isfinite(each))
        if len(bad):
            raise NotMeasurable(
                f"The document {names[bad[0]]} has a loss of {each[bad[0]]} {stage} the change, as {len(bad)} of {len(names)} "
                "have; evaluate both times on the same documents, in a dtype that holds their losses."
            )
    if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.sum() > 0:
        raise SettingNotUsable(
            "weights= holds numbers below 0 or nan, or nothing but 0; give the number of tokens of each document."
        )


def interval(values: Numbers) -> tuple[float, float]:
    """Bounds that hold the mean of what these were drawn from, in 95 % of cases; nan for one value.

    Student's t falls short of that where the values are skewed, on the side of their tail. Hall (1992) bends t by a
    cubic in which the skewness cancels, but falls short where tails are heavy on both sides; so each bound is that of
    the two which lies further out. Both are closed forms: the same values give the same bounds, however many.
    """
    count = len(values)
    if count < 2:
        return math.nan, math.nan
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    if not deviation:
        return mean, mean
    error, reach = deviation / math.sqrt(count), student_t(count - 1)
    skew = 0.0
    if count > 2:
        skew = float((((values - mean) / deviation) ** 3).sum()) * count / ((count - 1) * (count - 2))
    bend = skew / math.sqrt(count)
    return mean - max(reach, _unbent(reach, bend)) * error, mean + max(reach, -_unbent(-reach, bend)) * error


def _unbent(bent: float, bend: float) -> float:
    """The t that t + b t² / 3 + b² t³ / 27 + b / 6 bends to this."""
    straight = bent - bend / 6
    return straight if abs(bend) < 1e-6 else 3 / bend * (float(np.cbrt(1 + bend * straight)) - 1)
