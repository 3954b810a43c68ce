"""The one place that joins the half that does with the half that shows: settings to a recorded experiment."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.dashboard.standing import StandingReport
from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.experiment.analysis import Analysis
from neural_plasticity.experiment.experiment import Experiment
from neural_plasticity.experiment.outcome import Outcome
from neural_plasticity.experiment.recording import begin_record, run_name
from neural_plasticity.experiment.resuming import require_resumable
from neural_plasticity.experiment.wishes import checked
from neural_plasticity.inputs.documents import Document, Split
from neural_plasticity.inputs.models import Loaded, load_model, load_tokenizer
from neural_plasticity.inputs.texts import load_text
from neural_plasticity.record import Run, Sink
from neural_plasticity.selection.strategies import strategies
from neural_plasticity.settings import Settings
from neural_plasticity.signals.base import chosen
from neural_plasticity.signals.measure import Measurement
from neural_plasticity.signals.objectives import objective_of
from neural_plasticity.surgery.saving import is_saved, load
from neural_plasticity.trackers.console import Console


def open_model(name: str, device: str | None = None, dtype: str | None = None) -> Loaded:
    """The model of this name, or the one that a surgeon saved in a folder of this name, with its past on it."""
    if not is_saved(name):
        return load_model(name, device, dtype)
    model: Any = load(name, device, dtype)
    return Loaded(model, load_tokenizer(name))


def run(settings: Settings, *, quiet: bool = False, sinks: Sequence[Sink] = ()) -> Outcome:
    """Do what the settings say, recorded in a new run folder and shown on the console."""
    with _viewers(quiet) as viewers:
        experiment = _experiment(settings, [*viewers, *sinks, StandingReport(settings.out)])
        for viewer in viewers:
            viewer.meet(experiment.states)
        with _hinting(experiment):
            return experiment.run()


def resume(folder: str | Path, *, quiet: bool = False, sinks: Sequence[Sink] = ()) -> Outcome:
    """Go on with a run that was stopped, from its last checkpoint to the end that it would have had."""
    record = Run(folder)
    require_resumable(record)
    told = record.description.get("settings")
    if not isinstance(told, dict) or "cycles" not in told:
        raise SettingNotUsable(f"{record.folder} does not say with which settings it was run, so it cannot go on; start a new run.")
    if not record.description.get("by_name"):
        raise SettingNotUsable(
            f"{record.folder} was run on objects of its user's own, which its settings do not name; make an Experiment of the same "
            "objects, and go on with its run(resume=...)."
        )
    with _viewers(quiet) as viewers:
        report = StandingReport(record.folder.parent, record.folder)
        experiment = _experiment(Settings.from_dict(told), [*viewers, *sinks, report])
        for viewer in viewers:
            viewer.meet(experiment.states)
            viewer.recall(record)
        with _hinting(experiment):
            return experiment.run(resume=folder)


@contextlib.contextmanager
def _hinting(experiment: Experiment) -> Iterator[None]:
    """Whoever stops the run is told how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if experiment.folder is not None:
            stop.add_note(f"stopped; go on with: plasticity resume {experiment.folder}")
        raise


def compare(settings: Settings, names: Sequence[str], *, quiet: bool = False) -> list[Run]:
    """One run for each of these strategies, everything else alike; `all` names every one that there is.

    Their models lie in the folders of the runs: in memory there is one at a time.
    """
    wanted = list(strategies()) if list(names) == ["all"] else list(names)
    if not wanted:
        raise SettingNotUsable(f"No strategies to compare are named; name some of {', '.join(strategies())}, or all.")
    each = [replace(settings, strategy=name) for name in wanted]
    for one in each:
        checked(one)
    return [run(one, quiet=quiet).run for one in each]


def analyze(settings: Settings, *, quiet: bool = False) -> tuple[Measurement, Run]:
    """Measure every head of the model on the text, recorded in a new run folder and shown on the console."""
    chosen(settings.signals)  # what is misspelt is refused before anything is loaded
    objective_of(settings.loss)
    documents = _text(settings, "all")
    loaded = open_model(settings.model, settings.device, settings.dtype)
    name = run_name(settings)
    with _viewers(quiet) as viewers:
        sinks = [*viewers, StandingReport(settings.out)]
        analysis = Analysis(settings, model=loaded.model, tokenizer=loaded.tokenizer, documents=documents, sinks=sinks, name=name)
        with begin_record(settings, name, dissect(loaded.model), job="analyze") as writer:
            found = analysis.run(writer)
    return found, Run(writer.folder)


def _experiment(settings: Settings, sinks: Sequence[Sink]) -> Experiment:
    """An experiment on the model and the text that the settings name."""
    checked(settings)
    train, held_out = _text(settings, "train"), _text(settings, "held_out")
    loaded = open_model(settings.model, settings.device, settings.dtype)
    found = Experiment(settings, model=loaded.model, tokenizer=loaded.tokenizer, train=train, eval=held_out, sinks=sinks)
    found.by_name = True
    return found


def _text(settings: Settings, split: Split) -> list[Document]:
    return load_text(settings.text, split, config=settings.text_config, hub_split=settings.text_split, column=settings.text_column)


@contextlib.contextmanager
def _viewers(quiet: bool) -> Iterator[list[Console]]:
    """Whoever watches from the outside."""
    if quiet:
        yield []
        return
    with contextlib.closing(Console()) as console:
        yield [console]
