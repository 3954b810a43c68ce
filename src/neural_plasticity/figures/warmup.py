"""The picture of a warm-up: its losses, their trend, where they became stable, and how each stretch of it did."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack, cast

import numpy as np
from matplotlib.axes import Axes

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.canvas import Figure, Look, Style, dressed, legend
from neural_plasticity.figures.coerce import Floats, series_of
from neural_plasticity.figures.lettering import number
from neural_plasticity.figures.lines import Curve, along, draw_curves, nothing, posts, smoothed
from neural_plasticity.figures.panels import facts, panels
from neural_plasticity.figures.scale import upright

_SEGMENTS = 4  # stretches that losses are cut into where the results name none
_DEGREE = 3
# By which names the results of a warm-up may call the ends of a stretch and its mean loss.
_FROM, _TO, _MEAN = ("start", "start_step"), ("end", "end_step"), ("mean", "mean_loss", "avg_loss")


class Warmup(NamedTuple):
    """What a warm-up's results say."""

    steps: Floats
    losses: Floats
    trend: Floats
    trend_label: str
    stable_at: float | None
    results: Mapping[str, Any]


class Segment(NamedTuple):
    """A stretch of steps and its mean loss."""

    start: float
    end: float
    mean: float


def visualize_warmup_dashboard(warmup_results: Any, title: str = "Warm-up", **style: Unpack[Style]) -> Figure:
    """Four panels of a warm-up: losses with their trend and the step from which they were stable, a polynomial through them,
    the mean of each stretch, and a summary.

    Of the results' keys only `losses` is needed; `steps` says which step each belongs to, else they count from 1.
    """
    look = Look.of(**style)
    warmup = warmup_of(warmup_results)
    figure, (course, fit, stretches, words) = panels(look, 4, (11.0, 7.2))
    draw_warmup(course, warmup, look)
    _polynomial(fit, warmup, look)
    _segments(stretches, segments_of(warmup), look)
    facts(words, "summary", summary(warmup))
    figure.headline(title)
    return figure.finished(look)


def warmup_of(results: Any) -> Warmup:
    """The results of a warm-up, read and checked."""
    if not isinstance(results, Mapping):
        raise SettingNotUsable(f"warmup_results is a {type(results).__name__}; it is a dict with the key losses.")
    known = cast("Mapping[str, Any]", results)
    losses = series_of(known.get("losses") if known.get("losses") is not None else [], "warmup_results['losses']")
    named = known.get("steps")
    steps = np.arange(1.0, losses.size + 1) if named is None else series_of(named, "warmup_results['steps']")
    given = known.get("smoothed_losses")
    window = max(losses.size // 20, 3)
    trend = series_of(given, "warmup_results['smoothed_losses']") if given is not None else smoothed(losses, window)
    if steps.size != losses.size or trend.size > losses.size:
        raise SettingNotUsable(
            f"warmup_results has {losses.size} losses, {steps.size} steps and {trend.size} smoothed losses; give as many of each."
        )
    # A running mean begins when its first window is full: shorter trends end where the losses end.
    trend = np.append(np.full(losses.size - trend.size, np.nan), trend)
    at = known.get("stabilization_step")
    label = "trend" if given is not None else f"mean of {window} neighbours"
    return Warmup(steps, losses, trend, label, None if at is None else float(at), known)


def draw_warmup(axes: Axes, warmup: Warmup, look: Look, title: str = "loss") -> None:
    """The losses, their trend, and the step from which they were stable."""
    dressed(axes, title=title, x="step", y="nats per token")
    plain, trend = look.colours(2)
    curves = [
        Curve("loss", warmup.steps, warmup.losses, plain, faint=True),
        Curve(warmup.trend_label, warmup.steps, warmup.trend, trend),
    ]
    lines = draw_curves(axes, curves)
    posts(axes, stable(axes, warmup, look))
    if warmup.losses.size:
        legend(axes, lines)


def stable(axes: Axes, warmup: Warmup, look: Look, offset: float = 0.0) -> list[tuple[float, str]]:
    """A star on the trend where the losses became stable; the post to be set there, if there is such a step."""
    if warmup.stable_at is None:
        return []
    at = warmup.stable_at + offset
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, at), max(high, at))
    known = np.isfinite(warmup.trend)
    if known.any():
        height = float(np.interp(warmup.stable_at, warmup.steps[known], warmup.trend[known]))
        (star,) = axes.plot([at], [height], marker="*", markersize=11, color=look.theme.ink, linestyle="", zorder=5)
        star.set(markeredgecolor=look.theme.background, label="stable")
    return [(at, f"stable: step {number(warmup.stable_at)}")]


def _polynomial(axes: Axes, warmup: Warmup, look: Look) -> None:
    dressed(axes, title="polynomial fit", x="step", y="nats per token")
    known = np.isfinite(warmup.losses)
    degree = min(_DEGREE, int(np.unique(warmup.steps[known]).size) - 1)
    plain, _, fitted = look.colours(3)
    curves = [Curve("loss", warmup.steps, warmup.losses, plain, faint=True)]
    given = warmup.results.get("polynomial_fit")
    if given is not None:
        curves.append(Curve("fit", warmup.steps, _as_many(given, "polynomial_fit", warmup), fitted))
    elif degree >= 1:
        polynomial = np.polynomial.Polynomial.fit(warmup.steps[known], warmup.losses[known], degree)
        curves.append(Curve(f"degree {degree}", warmup.steps, np.asarray(polynomial(warmup.steps)), fitted))
    lines = draw_curves(axes, curves)
    if warmup.losses.size:
        legend(axes, lines)


def _as_many(values: Any, key: str, warmup: Warmup) -> Floats:
    found = series_of(values, f"warmup_results['{key}']")
    if found.size != warmup.losses.size:
        raise SettingNotUsable(f"warmup_results has {warmup.losses.size} losses and {found.size} values of {key}; give as many.")
    return found


def segments_of(warmup: Warmup) -> list[Segment]:
    """The stretches that the results name, else four of as many losses each."""
    named: Any = warmup.results.get("segment_analysis")
    named = cast("Mapping[str, Any]", named).get("segments") if isinstance(named, Mapping) else named
    if isinstance(named, (list, tuple)) and named:
        return [_segment(each) for each in cast("list[Any]", named)]
    pieces = np.array_split(np.arange(warmup.losses.size), min(_SEGMENTS, max(warmup.losses.size, 1)))
    found: list[Segment] = []
    for piece in pieces:
        values = warmup.losses[piece]
        if np.isfinite(values).any():
            mean = float(values[np.isfinite(values)].mean())
            found.append(Segment(float(warmup.steps[piece[0]]), float(warmup.steps[piece[-1]]), mean))
    return found


def _segment(segment: Any) -> Segment:
    if isinstance(segment, Mapping):
        known = cast("Mapping[str, Any]", segment)
        found = [next((known[name] for name in names if known.get(name) is not None), None) for names in (_FROM, _TO, _MEAN)]
        if None not in found:
            return Segment(*(float(cast("float", each)) for each in found))
    raise SettingNotUsable(f"segment_analysis holds {segment!r:.80}; each segment is a dict with start, end and mean.")


def _segments(axes: Axes, segments: list[Segment], look: Look) -> None:
    dressed(axes, title="mean loss of each stretch", x="step", y="nats per token")
    if not segments:
        nothing(axes)
        return
    means = np.array([each.mean for each in segments])
    colour = look.colours(1)[0]
    for segment in segments:
        reach = [segment.start, segment.end] if segment.end > segment.start else [segment.start - 0.5, segment.end + 0.5]
        axes.plot(reach, [segment.mean] * 2, color=colour, linewidth=3.5, solid_capstyle="butt")
    upright(axes, [means])
    along(axes, [np.array([[each.start, each.end] for each in segments]).ravel()])
    low, high = axes.get_ylim()
    for segment in segments:
        above = segment.mean < low + 0.8 * (high - low)
        shift = {"xytext": (0, 4 if above else -4), "textcoords": "offset points", "va": "bottom" if above else "top"}
        middle = (segment.start + segment.end) / 2
        axes.annotate(number(segment.mean), (middle, segment.mean), ha="center", **shift, **_words(look))


def _words(look: Look) -> dict[str, Any]:
    return {"fontsize": look.theme.size * 0.9, "fontfamily": look.theme.font, "color": look.theme.ink, "parse_math": False}


def summary(warmup: Warmup) -> list[tuple[str, str]]:
    """What is known of a warm-up, in words."""
    results = warmup.results
    lines: list[tuple[str, str]] = []
    for name, key, unit in (
        ("steps", "total_steps", ""),
        ("duration", "duration", " s"),
        ("first loss", "initial_loss", ""),
        ("last loss", "final_loss", ""),
        ("improvement", "improvement_percent", " %"),
    ):
        if results.get(key) is not None:
            lines.append((name, f"{number(float(results[key]))}{unit}"))
    if results.get("is_stable") is not None:
        lines.append(("stable", "yes" if results["is_stable"] else "no"))
    if warmup.stable_at is not None:
        lines.append(("stable from step", number(warmup.stable_at)))
    return lines or [("losses", str(warmup.losses.size))]
