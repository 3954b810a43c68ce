"""The one place that joins the half that does with the half that shows: settings to a recorded experiment."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.environment.survey import get_environment_info
from neural_plasticity.experiment.analysis import Analysis
from neural_plasticity.experiment.experiment import Experiment
from neural_plasticity.inputs.documents import Document, Split
from neural_plasticity.inputs.models import Loaded, load_model, load_tokenizer
from neural_plasticity.inputs.texts import load_text
from neural_plasticity.record import Run, Sink, Writer
from neural_plasticity.settings import Settings
from neural_plasticity.signals.base import chosen
from neural_plasticity.signals.measure import Measurement
from neural_plasticity.signals.objectives import objective_of
from neural_plasticity.surgery.saving import is_saved, load
from neural_plasticity.trackers.console import Console


@dataclass(frozen=True)
class Outcome:
    """What is left of a run: the model in memory, and the record on disk."""

    model: PreTrainedModel
    run: Run

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.run.folder


def open_model(name: str, device: str | None = None, dtype: str | None = None) -> Loaded:
    """The model of this name, or the one that a surgeon saved in a folder of this name, with its past on it."""
    if not is_saved(name):
        return load_model(name, device, dtype)
    model: Any = load(name, device, dtype)
    return Loaded(model, load_tokenizer(name))


def run(settings: Settings, *, quiet: bool = False) -> Outcome:
    """Do what the settings say, recorded in a new run folder and shown on the console."""
    held_out = _text(settings, "held_out")
    loaded = open_model(settings.model, settings.device, settings.dtype)
    name = _name(settings)
    with _viewers(quiet) as viewers:
        experiment = Experiment(
            settings, model=loaded.model, tokenizer=loaded.tokenizer, held_out=held_out, sinks=viewers, name=name
        )
        with _described_record(settings, name, loaded.model) as writer:
            result = experiment.run(writer)
    return Outcome(result.model, Run(writer.folder))


def analyze(settings: Settings, *, quiet: bool = False) -> tuple[Measurement, Run]:
    """Measure every head of the model on the text, recorded in a new run folder and shown on the console."""
    chosen(settings.signals)  # what is misspelt is refused before anything is loaded
    objective_of(settings.loss)
    documents = _text(settings, "all")
    loaded = open_model(settings.model, settings.device, settings.dtype)
    name = _name(settings)
    with _viewers(quiet) as viewers:
        analysis = Analysis(settings, model=loaded.model, tokenizer=loaded.tokenizer, documents=documents, sinks=viewers, name=name)
        with _described_record(settings, name, loaded.model) as writer:
            found = analysis.run(writer)
    return found, Run(writer.folder)


def _text(settings: Settings, split: Split) -> list[Document]:
    return load_text(settings.text, split, config=settings.text_config, hub_split=settings.text_split, column=settings.text_column)


@contextlib.contextmanager
def _viewers(quiet: bool) -> Iterator[list[Sink]]:
    """Whoever watches from the outside."""
    if quiet:
        yield []
        return
    with contextlib.closing(Console()) as console:
        yield [console]


def _described_record(settings: Settings, name: str, model: PreTrainedModel) -> Writer:
    """A new record that says what is run, where, and on what."""
    description = {
        "name": name,
        "settings": settings.as_dict(),
        "environment": get_environment_info(),
        "anatomy": dissect(model).as_dict(),
    }
    return _new_record(Path(settings.out), name, description)


def _name(settings: Settings) -> str:
    """A name by time and model."""
    short = re.sub(r"[^\w.-]+", "-", Path(settings.model).name)[:60] or "model"
    return f"{datetime.now().astimezone():%Y-%m-%d_%H%M%S}_{short}"


def _new_record(out: Path, name: str, description: dict[str, Any]) -> Writer:
    """A record in a folder of its own, also where another run of the same name begins in the same second."""
    for number in count(1):
        folder = out / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not out.is_dir():
                break  # a file stands in the way; the writer says so
            continue
        except OSError:
            break
        return Writer(folder, description)
    return Writer(out / name, description)
