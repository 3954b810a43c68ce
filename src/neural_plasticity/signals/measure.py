"""`measure`: what every head is worth, by many signals, at the price of about one training step."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn

from neural_plasticity.anatomy.bank import Bank, parts_of
from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.example import on_device_of
from neural_plasticity.anatomy.past import past_of
from neural_plasticity.anatomy.sites import Anatomy, Site
from neural_plasticity.anatomy.taps import original
from neural_plasticity.anatomy.trace import preserved
from neural_plasticity.errors import NotDissectable, NotMeasurable, PlasticityError, SettingNotUsable, said
from neural_plasticity.heads import HeadGrid
from neural_plasticity.signals.base import Needs, Signal, chosen
from neural_plasticity.signals.capture import Capture
from neural_plasticity.signals.lesions import lesions
from neural_plasticity.signals.objectives import Objective, objective_of
from neural_plasticity.signals.tally import Tally

DEFAULT = (
    "entropy",
    "normalized_entropy",
    "sink",
    "previous_token",
    "self_token",
    "distance",
    "output_norm",
    "taylor",
    "fisher",
    "gradient",
    "magnitude",
)
PER_BATCH = ~(Needs.WEIGHTS | Needs.LESIONS)

Batch = Mapping[str, Any]
Watch = Callable[[int, int | None], None]


class Measurement(dict[str, HeadGrid]):
    """A grid for each signal, and how they came about.

    `paths` says by which computation each layer's attention was read, `refused` for each signal why a layer has no
    value, `samples` how many samples were seen, over all ranks.
    """

    def __init__(self, grids: Mapping[str, HeadGrid], tally: Tally, refused: Mapping[str, dict[int, str]]) -> None:
        super().__init__(grids)
        self.paths: dict[int, str] = dict(sorted(tally.paths.items()))
        self.refused: dict[str, dict[int, str]] = {name: reasons for name, reasons in refused.items() if reasons}
        self.samples: int = tally.samples


def measure(
    model: nn.Module,
    batches: Iterable[Batch] | Batch,
    signals: Sequence[str] | None = None,
    loss: str | Callable[[Any, Batch], Tensor] | None = None,
    *,
    anatomy: Anatomy | None = None,
    bank: Bank | None = None,
    watch: Watch | None = None,
) -> Measurement:
    """What every head is worth: a `HeadGrid` for each signal, all from one pass over the batches.

    A batch is what the model takes as keywords. `loss` is by default the model's own; else a function
    (outputs, batch) → scalar, or the name of an objective. `bank` holds dormant heads for `wake`. `watch` is told
    (passes done, passes in all or None). Dropout is off, and the model is left as it was. In a distributed run every
    rank gives batches of its own, and all get the same grids.
    """
    wanted, objective = chosen(DEFAULT if signals is None else signals), objective_of(loss)
    root = original(model)
    tally = Tally(device=next((each.device for each in root.parameters()), torch.device("cpu")))
    fault: PlasticityError | None = None
    try:
        first, given, count = _opened(batches)
        anatomy = anatomy or anatomy_for(root, first)
        bank = bank or Bank()
        capture = Capture(root, anatomy, wanted, objective, bank, tally)
        with undisturbed(root), bank.in_place(root, anatomy):
            _go(capture, given, [each for each in wanted if each.needs & Needs.LESIONS], objective, _Progress(watch, count))
            _read_weights(root, anatomy, wanted, tally)
    except PlasticityError as refusal:
        fault = refusal
    except Exception as stop:
        with suppress(PlasticityError):  # the other ranks shall not wait for this one
            tally.everywhere(NotMeasurable(said(stop)))
        raise
    everything = tally.everywhere(fault)
    assert anatomy is not None  # or there was a fault, which is raised by now
    _read_gradients(root, anatomy, wanted, everything)
    return _grids(root, anatomy, wanted, everything)


def _go(capture: Capture, given: Iterable[Batch], injured: Sequence[Signal], objective: Objective, progress: "_Progress") -> None:
    """Every batch through the passes that the signals need."""
    root, anatomy = capture.model, capture.anatomy
    with lesions(root, anatomy, objective, capture.tally) as lesion:
        progress.passes = capture.needed + (1 + len(anatomy.heads) if injured else 0)
        for number, batch in enumerate(given, 1):
            placed = ready(root, batch, number)
            if capture.needed:
                capture.add(placed, number)
                progress.step()
            if injured:
                lesion.add(placed, number, injured, progress.step)


class _Progress:
    """Counts passes for whoever watches."""

    def __init__(self, watch: Watch | None, batches: int | None) -> None:
        self.passes, self._watch, self._batches, self._done = 1, watch, batches, 0

    def step(self) -> None:
        self._done += 1
        if self._watch is not None:
            self._watch(self._done, None if self._batches is None else self._batches * self.passes)


def _opened(batches: Iterable[Batch] | Batch) -> tuple[Batch | None, Iterable[Batch], int | None]:
    """The first batch, all of them, and how many there are where that is known."""
    if isinstance(batches, Mapping):
        single = cast("Batch", batches)
        return single, [single], 1
    count = len(batches) if isinstance(batches, Sized) else None
    rest = iter(batches)
    for first in rest:
        return first, chain([first], rest), count
    return None, (), count


def anatomy_for(model: nn.Module, batch: Batch | None) -> Anatomy:
    """The anatomy by an example of its own making, or else by the batch."""
    try:
        return dissect(model)
    except NotDissectable:
        if batch is None or not isinstance(batch, Mapping):
            raise
        return dissect(model, dict(batch))


def ready(model: nn.Module, batch: Batch, number: int) -> dict[str, Any]:
    """The batch as the model takes it: on its device, floats in its dtype, nothing cached."""
    if not isinstance(batch, Mapping):
        raise SettingNotUsable(
            f"Batch {number} is a {type(batch).__name__}; a batch is a mapping of what the model takes as keywords, "
            "such as {'input_ids': …, 'labels': …}."
        )
    named = inspect.signature(model.forward).parameters
    return on_device_of(model, {**({"use_cache": False} if "use_cache" in named else {}), **batch})


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """The model without dropout, after the block exactly as it was."""
    with torch.inference_mode(False), preserved(model), torch.compiler.set_stance("force_eager"):
        model.eval()
        yield


def _read_weights(model: nn.Module, anatomy: Anatomy, wanted: Sequence[Signal], tally: Tally) -> None:
    """The signals that need no batches, of every head that has weights of its own."""
    for each in (each for each in wanted if each.needs & Needs.WEIGHTS):
        for site in anatomy:
            if reason := _weightless(site):
                tally.refuse(site, reason, each.needs)
                continue
            found = [each.read([part.of(model) for part in parts_of(model, site, head)]) for head in range(site.heads)]
            tally.sums[each.name, site.layer] = torch.stack(found)
            tally.numbers[each.name, site.layer] = torch.tensor(1.0, dtype=torch.float64)


def _read_gradients(model: nn.Module, anatomy: Anatomy, wanted: Sequence[Signal], tally: Tally) -> None:
    """The signals of the mean gradient, over all batches and ranks."""
    for each in (each for each in wanted if each.needs & Needs.GRADIENTS):
        for site in anatomy:
            if reason := _weightless(site):
                tally.refuse(site, reason, each.needs)
                continue
            found = []
            if not tally.predictions:
                continue
            for head in range(site.heads):
                parts = [(part, tally.gradients.get(part.parameter)) for part in parts_of(model, site, head)]
                found.append(each.read([part.within(whole) / tally.predictions for part, whole in parts if whole is not None]))
            tally.sums[each.name, site.layer] = torch.stack(found)
            tally.numbers[each.name, site.layer] = torch.tensor(1.0, dtype=torch.float64)


def _weightless(site: Site) -> str:
    """Why a site's heads have no weights of their own to measure, if so."""
    missing = [role for role in ("q", "k", "v", "o") if not site.of_role(role)]  # type: ignore[arg-type]
    return f"no weights of {', '.join(missing)} are a head's own: {site.reason}" if missing else ""


def _grids(model: nn.Module, anatomy: Anatomy, wanted: Sequence[Signal], tally: Tally) -> Measurement:
    """What was added up, as a grid for each signal, by the numbers that heads have for life."""
    past = past_of(model)
    grids: dict[str, HeadGrid] = {}
    refused: dict[str, dict[int, str]] = {}
    for each in wanted:
        rows: list[Sequence[float]] = []
        reasons = refused.setdefault(each.name, {})
        for site in anatomy:
            total, number = tally.sums.get((each.name, site.layer)), tally.numbers.get((each.name, site.layer))
            if total is None or number is None or float(number) == 0:
                reasons[site.layer] = next(tally.reasons(each, site.layer), "nothing of it was seen in these batches")
                rows.append([float("nan")] * site.heads)
                continue
            rows.append(each.finish(total, number).tolist())
        if len(reasons) == len(anatomy.sites):
            first = next(iter(reasons.values()))
            raise NotMeasurable(f"{each.name} cannot be measured on {anatomy.model}, at no layer: {first}.")
        numbered = rows if past is None else past.numbered(anatomy, rows)
        grids[each.name] = HeadGrid.from_layers(numbered, label=f"{each.name} ({each.unit})")
    return Measurement(grids, tally, refused)
