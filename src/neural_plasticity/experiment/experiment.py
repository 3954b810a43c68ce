"""The experiment: a model and what it reads, taken through warm-up, cycles of rewiring and recovery, to events and a result."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from torch.optim import AdamW
from transformers import PreTrainedTokenizerBase

from neural_plasticity.anatomy.past import past_of
from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.experiment.chapters import Chapters
from neural_plasticity.experiment.checkpoints import MODEL, Saved, drop_others, write_checkpoint
from neural_plasticity.experiment.learning import Learning
from neural_plasticity.experiment.material import Batch, Given, Material, length_for, passages_for
from neural_plasticity.experiment.metrics import metrics_of
from neural_plasticity.experiment.outcome import Outcome
from neural_plasticity.experiment.recording import begin_record, run_name
from neural_plasticity.experiment.results import pruning_results, warmup_results
from neural_plasticity.experiment.resuming import taken_up
from neural_plasticity.experiment.samples import require_writer
from neural_plasticity.experiment.story import Story
from neural_plasticity.experiment.telling import Telling
from neural_plasticity.experiment.wishes import checked, learned_by, recipe_of, require_possible, resolved
from neural_plasticity.experiment.workplace import Workplace
from neural_plasticity.heads import HeadId, HeadState
from neural_plasticity.inputs.documents import Document
from neural_plasticity.record import Checkpoint, Run, Sink, Writer
from neural_plasticity.settings import Settings
from neural_plasticity.signals.objectives import objective_of
from neural_plasticity.surgery.saving import load, load_into
from neural_plasticity.surgery.surgeon import Surgeon
from neural_plasticity.training.moments import kept, put_back
from neural_plasticity.training.recipe import optimizer_for

Texts = Sequence[Document]


class Experiment:
    """Takes one model through the phases that its settings ask for, recorded, and told to its sinks.

    `train` and `eval` are documents, or batches that can be read again and again; a batch is what the model takes as
    keywords. `loss` is a function (outputs, batch) → scalar, or the name of one; without it, what the settings name, or
    else the model's own. A run that was stopped goes on with `run(resume=folder)`, given the same objects as before.
    """

    by_name = False  # whether the settings name all that is given, so that anybody can go on who has only them

    def __init__(
        self,
        settings: Settings,
        *,
        model: Any,
        train: Texts | Iterable[Batch],
        eval: Texts | Iterable[Batch],  # noqa: A002  # the name that everybody knows it by
        tokenizer: PreTrainedTokenizerBase | None = None,
        loss: str | Callable[[Any, Batch], Tensor] | None = None,
        metrics: Mapping[str, Any] | Sequence[str] = (),
        sinks: Sequence[Sink] = (),
        name: str | None = None,
    ) -> None:
        if isinstance(loss, str):
            settings, loss = replace(settings, loss=loss), None
        settings = resolved(settings, model)
        self.name = name or run_name(settings)
        self.settings, self.model = settings, model
        self.folder: Path | None = None  # of the record, once there is one
        self._stages = checked(settings if loss is None else replace(settings, loss=None))
        surgeon = Surgeon(model)
        on_text = _is_text(eval)
        if on_text:
            require_writer(model, tokenizer)
        self._loss = loss or settings.loss
        self._place = Workplace(
            settings=settings,
            model=model,
            surgeon=surgeon,
            tokenizer=tokenizer,
            train=self._material(train, "train", tokenizer),
            held=self._material(eval, "eval", tokenizer),
            objective=None if on_text and loss is None else objective_of(loss or settings.loss),
            loss=loss,
            metrics=metrics_of(metrics),
            telling=Telling(sinks),
            story=Story(),
        )
        require_possible(surgeon, settings)

    @property
    def states(self) -> dict[HeadId, HeadState]:
        """What has become of every head so far."""
        return self._place.surgeon.states

    @property
    def warmup_results(self) -> dict[str, Any] | None:
        """How the warm-up went; None where there was none yet."""
        return warmup_results(self._place)

    @property
    def pruning_results(self) -> dict[str, Any] | None:
        """What pruning did to the model, before and after its recovery; None before the first cycle."""
        return pruning_results(self._place)

    def run(self, *, resume: str | Path | None = None) -> Outcome:
        """Go through all chapters, from the first or from where a run was stopped."""
        if self.folder is not None:
            raise SettingNotUsable(
                f"This experiment has run already, in {self.folder}, and its model is not what it was; make another one, of a "
                "model as it was before."
            )
        with self._recorded(resume) as (writer, saved):
            self.folder = writer.folder
            place = self._place
            with place.telling.run(self.name, "run", writer, resumed=saved is not None):
                if saved is not None:
                    self._go_back_to(saved)
                learning = self._learning(writer, saved)
                held = (saved.plain, saved.tensors) if saved is not None and saved.story.step else None
                self._go(writer, learning, Chapters(place, learning, writer.folder, held))
        return Outcome(place.model, place.surgeon, Run(writer.folder))

    def _go(self, writer: Writer, learning: Learning, chapters: Chapters) -> None:
        story = self._place.story
        listed = chapters.listed(self._stages)
        for chapter in listed[story.chapter :]:
            self._place.telling.cycle = chapter.cycle
            chapter.go()
            story.chapter += 1
            story.step, story.losses, story.skipped, story.stopping = 0, [], 0, None
            if chapter is not listed[-1]:
                plain, tensors = kept(self._place.surgeon.model, learning.optimizer)
                self._save(writer, {"optimizer": plain}, tensors)

    def _material(self, given: Texts | Iterable[Batch], what: str, tokenizer: PreTrainedTokenizerBase | None) -> Material:
        settings = self.settings
        if not _is_text(given):
            return Given(given, what, seed=settings.seed, batch_tokens=settings.batch_size * settings.max_length)
        steps = settings.warmup_steps + settings.cycles * settings.steps
        learned = steps * settings.accumulation * settings.batch_size * length_for(self.model, settings)
        read = max(settings.measure_tokens, learned)
        tokens = settings.eval_tokens if what == "eval" else read
        return passages_for(self.model, tokenizer, cast("Texts", given), settings, tokens)

    def _learning(self, writer: Writer, saved: Saved | None) -> Learning:
        """One optimizer for all chapters, its moments as they were saved."""
        place, model = self._place, self._place.surgeon.model
        optimizer = optimizer_for(model, recipe_of(self.settings, self.settings.steps))
        if saved is not None:
            groups = saved.plain["optimizer"]["groups"]
            optimizer = AdamW([{"params": [model.get_parameter(name) for name in group["weights"]]} for group in groups])
            put_back(model, optimizer, saved.plain["optimizer"], saved.tensors)
        place.surgeon.attach(optimizer)
        return Learning(place, optimizer, learned_by(model, self._loss), lambda course: self._save(writer, *course.state()))

    def _save(self, writer: Writer, plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """A checkpoint, and the event that makes it the one to go on from."""
        place = self._place
        if place.unsavable:
            return
        name = write_checkpoint(writer.folder, place.story, place.surgeon, plain, tensors)
        place.telling.emit(Checkpoint(folder=name, step=place.story.steps, cycle=place.telling.cycle))
        place.has_checkpoint = True
        drop_others(writer.folder, name)

    @contextlib.contextmanager
    def _recorded(self, resume: str | Path | None) -> Iterator[tuple[Writer, Saved | None]]:
        """The record that is written to, and the checkpoint to go on from."""
        if resume is None:
            with begin_record(self.settings, self.name, self._place.surgeon.anatomy, by_name=self.by_name) as writer:
                yield writer, None
            return
        with taken_up(resume, self.settings) as (writer, saved):
            self.name = str(writer.description.get("name", self.name))
            yield writer, saved

    def _go_back_to(self, saved: Saved) -> None:
        """The model and the story as they were when they were saved."""
        place, folder = self._place, saved.folder / MODEL
        root = place.surgeon.model
        if past_of(root) is None:
            load_into(root, folder)
        else:  # it came with heads asleep, and only an untouched one can become another
            self.model = place.model = load(folder, next(root.parameters()).device).train(root.training)
        place.surgeon, place.story, place.has_checkpoint = Surgeon(place.model), saved.story, True


def _is_text(given: Any) -> bool:
    return isinstance(given, Sequence) and bool(given) and isinstance(given[0], Document)
