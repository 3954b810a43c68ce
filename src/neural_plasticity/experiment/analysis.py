"""The analysis: what every head of a model does on a text, as events."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from neural_plasticity.errors import ModelNotUsable
from neural_plasticity.experiment.telling import Telling, every
from neural_plasticity.inputs.batches import batches, most_tokens, sampled, spread, windows
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
        if tokenizer is None:
            raise ModelNotUsable(
                f"{type(model).__name__} came without a tokenizer, so it cannot read a text; add one to its folder."
            )
        self.settings, self.model, self.tokenizer, self.documents, self.name = settings, model, tokenizer, documents, name
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

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        """Windows of the text; with labels for models that predict tokens from those before, or write what they are given."""
        settings = self.settings
        length = min(settings.max_length, most_tokens(self.model) or settings.max_length)
        documents = sampled(self.documents, settings.measure_tokens)
        found = spread(windows(self.tokenizer, documents, length), settings.measure_tokens)
        pad: Any = self.tokenizer.pad_token_id or 0  # masked and without a label, so any id will do
        for _, batch in batches(found, settings.batch_size, pad):
            yield batch if self.model.can_generate() else {name: value for name, value in batch.items() if name != "labels"}

    def _progress(self, done: int, passes: int | None) -> None:
        assert passes is not None
        if done == 1:
            self._telling.begin("analysis", passes)
        if every(done, passes):
            self._telling.emit(Metrics(step=done, values={}))
