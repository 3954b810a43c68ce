"""The last chapter: what was lost and what was won, measured side by side, and the model on disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neural_plasticity.errors import NotMeasurable, SurgeryError, said
from neural_plasticity.experiment.checkpoints import MODEL
from neural_plasticity.experiment.evaluation import Quality
from neural_plasticity.experiment.evidence import evidence
from neural_plasticity.experiment.names import BEFORE, BOUNDS, DIFFERENCE, FROM_WARM, WHOLE
from neural_plasticity.experiment.speed import Speed, compare_speed
from neural_plasticity.experiment.workplace import Workplace
from neural_plasticity.record import Compared, Finished
from neural_plasticity.surgery.twin import untouched


@dataclass(frozen=True)
class Closing:
    """Sums a run up."""

    place: Workplace

    def go(self, folder: Path) -> None:
        """Compare the first stages with the last, save the model, measure the speed, and say how it all ended."""
        place, stages = self.place, self.place.story.stages
        last_name, last = list(stages.items())[-1]
        place.telling.begin("comparison")
        summary = dict(self._quality(stages["baseline"], last)) | dict(self._sizes())
        for name, title in (("baseline", DIFFERENCE), ("warm", FROM_WARM)):
            if name in stages and name != last_name:
                summary |= self._compare(name, title, last_name, last)
        if place.settings.save_model:
            self._save(folder / MODEL)
        summary |= self._speed()  # after the model is safe: timing it needs a second one in memory
        place.telling.begin("complete")
        place.telling.emit(Finished(summary=summary))

    def _quality(self, first: Quality, last: Quality) -> Iterator[tuple[str, float]]:
        for suffix, quality in (("", last), (BEFORE, first)):
            numbers = {"loss_nats": quality.loss_nats, "perplexity": quality.perplexity, **quality.metrics}
            yield from ((f"{name}{suffix}", value) for name, value in numbers.items())

    def _sizes(self) -> Iterator[tuple[str, float]]:
        place = self.place
        sizes = place.surgeon.report()
        yield from (("heads", len(place.awake)), (f"heads{BEFORE}", len(place.surgeon.anatomy.heads)))
        for suffix, size in (("", sizes.after), (BEFORE, sizes.before)):
            yield f"parameters{suffix}", size.parameters
            yield f"parameter_bytes{suffix}", size.parameter_bytes
            yield f"cache_bytes_per_token{suffix}", size.cache_bytes_per_token
        yield "steps", place.story.steps

    def _compare(self, name: str, title: str, last_name: str, last: Quality) -> dict[str, float]:
        place, before = self.place, self.place.story.stages[name]
        names, weights = list(place.held.names), last.document_tokens
        unit = "nats a token" if place.objective is None else "of the loss"
        found = evidence(names, before.document_losses, last.document_losses, weights, unit=unit)
        place.telling.emit(
            Compared(
                before=name,
                after=last_name,
                values=found.values(),
                documents=tuple(each.document for each in found.worst),
                method=found.method,
            ),
            {"differences": np.asarray(last.document_losses - before.document_losses)},
        )
        numbers = (found.mean_difference, found.low, found.high)
        return {f"{title}{bound}": number for bound, number in zip(("", *BOUNDS), numbers, strict=True)}

    def _speed(self) -> dict[str, float]:
        """How much faster the model is than its own architecture with all heads, where any are physically gone."""
        place = self.place
        sizes = place.surgeon.report()
        if not place.settings.speed_tokens:
            return {}
        if sizes.after.parameters == sizes.before.parameters:
            place.telling.notice("No head's weights have left the model, so there is no speed-up to measure.")
            return {}
        place.telling.begin("speed")
        try:
            found = self._timed().values()
        except (SurgeryError, NotMeasurable) as refusal:
            place.telling.notice(f"The speed was not measured: {refusal}")
            return {}
        except (RuntimeError, MemoryError) as fault:  # torch says so, too, where there is no memory for two models
            place.telling.notice(
                f"The speed was not measured, since timing {type(place.surgeon.model).__name__} beside itself with all heads "
                f"failed ({said(fault)}); set speed_tokens lower than {place.settings.speed_tokens}, or free memory."
            )
            return {}
        place.telling.emit(Compared(before=WHOLE, after="final", values=found, method="passes in turns"))
        return {name: value for name, value in found.items() if name.endswith("_ratio")}

    def _timed(self) -> Speed:
        """In a place of its own, so that the model to compare with is let go of before anything else is done."""
        place, settings = self.place, self.place.settings
        whole, example = untouched(place.surgeon.model), place.held.first(1)[0]
        return compare_speed(whole, place.model, tokens=settings.speed_tokens, seed=settings.seed, example=example)

    def _save(self, folder: Path) -> None:
        place = self.place
        place.telling.begin("saving")
        if place.unsavable:
            place.telling.notice(f"The model was not saved; Outcome.model is the model. {place.unsavable}")
            return
        place.surgeon.save(folder, bank=place.settings.save_bank)
        if place.tokenizer is not None:
            place.tokenizer.save_pretrained(folder)
