"""How an experiment tells its sinks what happens: the record first, and a failure before it is raised."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from neural_plasticity.errors import RecordError
from neural_plasticity.record import Event, Failed, Notice, PhaseStarted, RunStarted, Sink
from neural_plasticity.record.sink import Arrays

TOLD = 200  # times at most that progress is told in a phase: it is in the record too


def every(done: int, steps: int) -> bool:
    """Whether this step is one of those at which progress is told."""
    return done * TOLD // steps != (done - 1) * TOLD // steps


class Telling:
    """One voice to all sinks, which knows the phase and the cycle that it speaks of."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)
        self._record: Sink | None = None
        self.phase = "setup"
        self.cycle: int | None = None

    def emit(self, event: Event, tensors: Arrays | None = None) -> None:
        """Tell the record, and then whoever watches."""
        if self._record is not None:
            self._record.write(event, tensors)
        for sink in self._sinks:
            sink.write(event, tensors)

    def begin(self, phase: str, steps: int | None = None, *, again: bool = False, rates: Arrays | None = None) -> None:
        """Tell that a phase begins, and how many steps it plans and at what `rates` heads learn, where that is known.

        One that goes on after a stop is in the record already; only those who watch hear of it `again`.
        """
        self.phase = phase
        event = PhaseStarted(phase=phase, steps=steps, cycle=self.cycle)
        if again:
            self._watchers(event)
        else:
            self.emit(event, rates)

    def _watchers(self, event: Event) -> None:
        for sink in self._sinks:
            sink.write(event)

    def notice(self, message: str, *, about: str | None = None, step: int | None = None) -> None:
        """Tell what a reader should know; `about` is for readers that are programs."""
        self.emit(Notice(message=message, cycle=self.cycle, about=about, step=step))

    @contextmanager
    def run(self, name: str, job: str, record: Sink | None, *, resumed: bool = False) -> Iterator[None]:
        """A run, told from its beginning; what stops it early is told before it is raised. The record hears of things first."""
        self._record = record
        try:
            event = RunStarted(name=name, job=job, resumed=resumed)
            if resumed:  # the record ends with the same events as if it had never stopped; its description says that it did
                self._watchers(event)
            else:
                self.emit(event)
            yield
        except BaseException as fault:
            self._tell_failure(fault)
            raise
        finally:
            self._record = None

    def _tell_failure(self, fault: BaseException) -> None:
        """Tell of what stops the run, also where the record cannot be told: that may be just what has stopped it."""
        message = str(fault) or ("stopped by the user" if isinstance(fault, KeyboardInterrupt) else type(fault).__name__)
        event = Failed(error=type(fault).__name__, message=message, phase=self.phase)
        try:
            if self._record is not None:
                self._record.write(event)
        except RecordError as refusal:
            fault.add_note(str(refusal))
        self._watchers(event)
