"""The run folder: the waist between the half that does and the half that shows.

In: typed events and their tensors, from one writer. Out: the same events, to any number of live readers.
Here live the events and their JSON, the writer with its lock, and `Run`, the reader. No torch.
"""

from neural_plasticity.record.events import (
    Attention,
    Checkpoint,
    Compared,
    DecisionMade,
    Evaluation,
    Event,
    Failed,
    Finished,
    HeadsMeasured,
    Metrics,
    Notice,
    Operation,
    PhaseStarted,
    Request,
    RunStarted,
    Sample,
)
from neural_plasticity.record.run import Cursor, Entry, Page, Run, open_run
from neural_plasticity.record.sink import Sink
from neural_plasticity.record.writer import Writer

__all__ = [
    "Attention",
    "Checkpoint",
    "Compared",
    "Cursor",
    "DecisionMade",
    "Entry",
    "Evaluation",
    "Event",
    "Failed",
    "Finished",
    "HeadsMeasured",
    "Metrics",
    "Notice",
    "Operation",
    "Page",
    "PhaseStarted",
    "Request",
    "Run",
    "RunStarted",
    "Sample",
    "Sink",
    "Writer",
    "open_run",
]
