"""How an experiment tells its sinks what happens: the record first, and a failure before it is raised."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from neural_plasticity.record import Event, Failed, PhaseStarted, RunStarted, Sink
from neural_plasticity.record.sink import Arrays


class Telling:
    """One voice to all sinks, which knows the phase that it speaks of."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)
        self._phase = "setup"

    def emit(self, event: Event, tensors: Arrays | None = None) -> None:
        """Tell every sink."""
        for sink in self._sinks:
            sink.write(event, tensors)

    def begin(self, phase: str, steps: int | None = None) -> None:
        """Tell that a phase begins, and how many steps it plans where that is known."""
        self._phase = phase
        self.emit(PhaseStarted(phase=phase, steps=steps))

    @contextmanager
    def run(self, name: str, job: str, record: Sink | None) -> Iterator[None]:
        """A run, told from its beginning; what stops it early is told before it is raised. The record hears of things first."""
        if record is not None:
            self._sinks.insert(0, record)
        try:
            self.emit(RunStarted(name=name, job=job))
            yield
        except BaseException as fault:
            message = str(fault) or ("stopped by the user" if isinstance(fault, KeyboardInterrupt) else type(fault).__name__)
            self.emit(Failed(error=type(fault).__name__, message=message, phase=self._phase))
            raise
