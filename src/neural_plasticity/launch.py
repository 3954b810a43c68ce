"""The one place that joins the half that does with the half that shows: settings to a recorded experiment."""

import re
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

from transformers import PreTrainedModel

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.environment.survey import get_environment_info
from neural_plasticity.experiment.experiment import Experiment
from neural_plasticity.inputs.models import load_model
from neural_plasticity.inputs.texts import load_text
from neural_plasticity.record import Run, Writer
from neural_plasticity.settings import Settings
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


def run(settings: Settings, *, quiet: bool = False) -> Outcome:
    """Do what the settings say, recorded in a new run folder and shown on the console."""
    held_out = load_text(
        settings.text, "held_out", config=settings.text_config, hub_split=settings.text_split, column=settings.text_column
    )
    loaded = load_model(settings.model, settings.device, settings.dtype)
    folder = _new_folder(settings)
    console = Console()
    with Writer(folder, {"name": folder.name, "settings": settings.as_dict(), "environment": get_environment_info()}) as writer:
        writer.describe(anatomy=dissect(loaded.model).as_dict())
        sinks = [writer] if quiet else [writer, console]
        try:
            experiment = Experiment(
                settings, model=loaded.model, tokenizer=loaded.tokenizer, held_out=held_out, sinks=sinks, name=folder.name
            )
            result = experiment.run()
        finally:
            console.close()
    return Outcome(result.model, Run(folder))


def _new_folder(settings: Settings) -> Path:
    """A folder under `out` that is not there yet, named by time and model."""
    short = re.sub(r"[^\w.-]+", "-", Path(settings.model).name) or "model"
    name = f"{datetime.now().astimezone():%Y-%m-%d_%H%M%S}_{short}"
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(folder for folder in (Path(settings.out) / each for each in names) if not folder.exists())
