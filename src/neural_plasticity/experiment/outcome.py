"""What is left of a run: the model in memory, under its surgeon, and the record on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neural_plasticity.record import Run
from neural_plasticity.surgery.surgeon import Surgeon


@dataclass(frozen=True)
class Outcome:
    """The model as the run left it, whoever can go on operating on it, and all that happened."""

    model: Any
    surgeon: Surgeon
    run: Run

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.run.folder
