"""What every chapter of an experiment works with, and what all of them do: judge the model, let it write, show its attention."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from neural_plasticity.errors import Diverged
from neural_plasticity.experiment.evaluation import Evaluator, Quality
from neural_plasticity.experiment.material import Batch, Material
from neural_plasticity.experiment.metrics import Factory, Measures
from neural_plasticity.experiment.samples import room_behind, write_text
from neural_plasticity.experiment.story import Story
from neural_plasticity.experiment.telling import Telling
from neural_plasticity.heads import HeadId
from neural_plasticity.record import Attention, Evaluation, Metrics, Sample
from neural_plasticity.settings import Settings
from neural_plasticity.signals.maps import attention
from neural_plasticity.signals.objectives import Objective
from neural_plasticity.surgery.surgeon import Surgeon

SHOWN_TOKENS = 64  # of the text whose attention is drawn


@dataclass
class Workplace:
    """A model under its surgeon, what it reads, the story so far, and whom to tell."""

    settings: Settings
    model: Any
    surgeon: Surgeon
    tokenizer: PreTrainedTokenizerBase | None
    train: Material
    held: Material
    objective: Objective | None  # of evaluation; None judges each next token of a text
    loss: Any  # the user's own function, where there is one
    metrics: Mapping[str, Factory]
    telling: Telling
    story: Story
    has_checkpoint: bool = False

    @property
    def way_back(self) -> str:
        """The end of a sentence about a model that is no good any more: where it is as it was, if anywhere."""
        return "; the last checkpoint holds the model from before" if self.has_checkpoint else ""

    @cached_property
    def unsavable(self) -> str:
        """Why this model is neither kept in checkpoints nor saved in the end, in surgery's words; empty where it is."""
        return self.surgeon.unsavable

    def evaluate(self, stage: str, *, told: bool = True) -> Quality:
        """Judge the model on the held-out material and remember it under this stage; `told` is False for a glance."""
        if told:
            self.telling.begin("evaluation", len(self.held))
        evaluator = Evaluator(self.model, len(self.held.names), self.objective, Measures(self.metrics) if self.metrics else None)
        for step, (places, batch) in enumerate(self.held.parts(), 1):
            loss = evaluator.add(places, batch)
            if loss is None:
                continue
            if not math.isfinite(loss):
                raise Diverged(
                    f"Held-out batch {step} has a loss of {loss} at stage {staged(stage, self.telling.cycle)!r}, so the run stops; "
                    f"look at that batch and at the loss function, or learn at a smaller rate{self.way_back}."
                )
            if told:
                self.telling.emit(Metrics(step=step, values={"eval_loss": loss}))
        quality = evaluator.quality()
        if told:
            self.story.stages[staged(stage, self.telling.cycle)] = quality
            event = Evaluation(stage=stage, values=quality.values, documents=tuple(self.held.names), cycle=self.telling.cycle)
            self.telling.emit(event, {"document_losses": quality.document_losses})
        return quality

    def write_sample(self, stage: str) -> None:
        """Let a model that goes on with texts do so, always after the same prompt and from the same seed."""
        settings = self.settings
        if self.tokenizer is None or not settings.sample_tokens or not self.writes:
            return
        room = room_behind(self.model, self.tokenizer, settings.prompt)
        tokens = settings.sample_tokens if room is None else max(0, min(room, settings.sample_tokens))
        if tokens < settings.sample_tokens and stage == "baseline":
            self.telling.notice(
                f"Samples have {tokens} tokens in place of {settings.sample_tokens}, since {type(self.model).__name__} has no "
                f"positions for more behind the prompt{'; give a shorter one' if not tokens else ''}."
            )
        if not tokens:
            return
        self.telling.begin("sample")
        text = write_text(self.model, self.tokenizer, settings.prompt, tokens=tokens, seed=settings.seed)
        self.telling.emit(Sample(prompt=settings.prompt, text=text, seed=settings.seed, stage=stage, cycle=self.telling.cycle))

    @property
    def asleep(self) -> list[HeadId]:
        """The heads that sleep, also those that cannot wake."""
        return [head for head, state in self.surgeon.states.items() if state in ("dormant", "removed")]

    @property
    def awake(self) -> list[HeadId]:
        """The heads that do not."""
        return [head for head, state in self.surgeon.states.items() if state not in ("dormant", "removed")]

    @property
    def writes(self) -> bool:
        """Whether the model goes on with texts."""
        can = getattr(self.model, "can_generate", None)
        return can is not None and can() and not self.model.config.is_encoder_decoder

    def show_attention(self, stage: str) -> None:
        """The maps of the watched heads that are still there, on the first held-out sample."""
        there = [head for head in self.story.watched if head in self.awake]
        if not there:
            return
        batch = _one(next(self.held.parts())[1])
        found = attention(self.model, batch, layers=sorted({head.layer for head in there}))
        maps = {str(head): found[head][0].half().numpy() for head in there}
        self.telling.emit(
            Attention(
                heads=tuple(there),
                tokens=self._tokens(batch, len(next(iter(maps.values())))),
                stage=stage,
                cycle=self.telling.cycle,
            ),
            maps,
        )

    def _tokens(self, batch: Batch, length: int) -> tuple[str, ...]:
        ids = batch.get("input_ids")
        if self.tokenizer is None or not isinstance(ids, torch.Tensor) or ids.shape[-1] != length:
            return tuple(str(place) for place in range(length))
        decode: Any = self.tokenizer.decode
        return tuple(str(decode([token])) for token in ids[0].tolist())


def staged(stage: str, cycle: int | None) -> str:
    """The name that a stage is remembered by."""
    return stage if cycle is None else f"{stage} {cycle}"


def _one(batch: Batch) -> dict[str, Any]:
    """The first sample of a batch, its padding and all tokens beyond what can be drawn left out."""
    first = {name: value[:1] if isinstance(value, torch.Tensor) and value.dim() else value for name, value in batch.items()}
    ids = first.get("input_ids")
    if not isinstance(ids, torch.Tensor) or ids.dim() != 2:
        return first
    mask = first.get("attention_mask")
    real = np.flatnonzero(mask[0].cpu().numpy()) if isinstance(mask, torch.Tensor) else np.arange(ids.shape[1])
    kept = torch.as_tensor(real[:SHOWN_TOKENS], device=ids.device)
    return {
        name: value[:, kept] if isinstance(value, torch.Tensor) and value.shape[:2] == ids.shape else value
        for name, value in first.items()
    }
