"""The analysis: what every head of a model does on a text, as events."""

from collections.abc import Iterator, Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from neural_plasticity.experiment.material import Batch, passages_for
from neural_plasticity.experiment.telling import Telling, every
from neural_plasticity.inputs.documents import Document
from neural_plasticity.record import Finished, HeadsMeasured, Metrics, Sink
from neural_plasticity.settings import Settings
from neural_plasticity.signals.measure import Measurement, measure


class Analysis:
    """Measures one model on one text, and tells its sinks all about it."""

    def __init__(
        self,
        settings: Settings,
        *,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None,
        documents: Sequence[Document],
        sinks: Sequence[Sink] = (),
        name: str = "analysis",
    ) -> None:
        self.settings, self.model, self.name = settings, model, name
        self._read = passages_for(model, tokenizer, documents, settings, settings.measure_tokens)
        self._telling = Telling(sinks)

    def run(self, record: Sink | None = None) -> Measurement:
        """Measure, and leave every grid in the record."""
        with self._telling.run(self.name, "analyze", record):
            self._telling.begin("reading")
            read = list(self._batches())
            loss = self.settings.loss or ("own" if "labels" in read[0] else "self_distillation")
            found = measure(self.model, read, self.settings.signals or None, loss, watch=self._progress)
            path = ", ".join(dict.fromkeys(found.paths.values())) or None
            grids = {name: grid.values for name, grid in found.items()}
            self._telling.emit(HeadsMeasured(signals=tuple(found), path=path), grids)
            heads = sum(1 for _ in next(iter(found.values())).items())
            self._telling.emit(Finished(summary={"heads": heads, "samples": found.samples}))
        return found

    def _batches(self) -> Iterator[Batch]:
        """Passages of the text; with labels for models that predict tokens from those before, or write what they are given."""
        for _, batch in self._read.parts():
            yield batch if self.model.can_generate() else {name: value for name, value in batch.items() if name != "labels"}

    def _progress(self, done: int, passes: int | None) -> None:
        assert passes is not None
        if done == 1:
            self._telling.begin("analysis", passes)
        if every(done, passes):
            self._telling.emit(Metrics(step=done, values={}))
