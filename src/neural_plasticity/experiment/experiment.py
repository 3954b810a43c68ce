"""The experiment: from a model and texts, through its phases, to events and a result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from neural_plasticity.experiment.evaluation import Evaluator, Quality
from neural_plasticity.experiment.samples import require_writer, write_text
from neural_plasticity.experiment.telling import Telling
from neural_plasticity.inputs.batches import batches, most_tokens, spread, windows
from neural_plasticity.inputs.documents import Document
from neural_plasticity.record import Evaluation, Finished, Metrics, Sample, Sink
from neural_plasticity.settings import Settings


@dataclass(frozen=True)
class Result:
    """What an experiment leaves in memory; everything else is in its events."""

    model: PreTrainedModel
    baseline: Quality


class Experiment:
    """Takes one model through the phases that its settings ask for, and tells its sinks all about it."""

    def __init__(
        self,
        settings: Settings,
        *,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None,
        held_out: Sequence[Document],
        sinks: Sequence[Sink] = (),
        name: str = "experiment",
    ) -> None:
        self.settings, self.model, self.held_out, self.name = settings, model, held_out, name
        self.tokenizer = require_writer(model, tokenizer)
        self._telling = Telling(sinks)

    def run(self, record: Sink | None = None) -> Result:
        """Go through all phases."""
        with self._telling.run(self.name, "evaluate", record):
            quality = self._evaluate("baseline")
            self._write_sample("baseline")
            self._telling.emit(Finished(summary=_numbers(quality)))
        return Result(self.model, quality)

    def _evaluate(self, stage: str) -> Quality:
        settings = self.settings
        length = min(settings.max_length, most_tokens(self.model) or settings.max_length)
        found = spread(windows(self.tokenizer, self.held_out, length), settings.eval_tokens)
        self._telling.begin("evaluation", -(-len(found) // settings.batch_size))
        evaluator = Evaluator(self.model, len(self.held_out))
        pad: Any = self.tokenizer.pad_token_id or 0  # masked and without a label, so any id will do
        for step, (chosen, batch) in enumerate(batches(found, settings.batch_size, pad), 1):
            self._telling.emit(Metrics(step=step, values={"eval_loss": evaluator.add(chosen, batch)}))
        quality = evaluator.quality()
        names = tuple(document.name for document in self.held_out)
        self._telling.emit(
            Evaluation(stage=stage, values=_numbers(quality), documents=names), {"document_losses": quality.document_losses}
        )
        return quality

    def _write_sample(self, stage: str) -> None:
        settings = self.settings
        self._telling.begin("sample")
        text = write_text(self.model, self.tokenizer, settings.prompt, tokens=settings.sample_tokens, seed=settings.seed)
        self._telling.emit(Sample(prompt=settings.prompt, text=text, seed=settings.seed, stage=stage))


def _numbers(quality: Quality) -> dict[str, float]:
    return {"loss_nats": quality.loss_nats, "perplexity": quality.perplexity, "tokens": quality.tokens}
