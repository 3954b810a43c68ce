"""What a run reads: passages of a text, or batches of the user's own; either can be read again from any place."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from math import ceil
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from neural_plasticity.errors import ModelNotUsable, SettingNotUsable
from neural_plasticity.inputs.batches import CHARACTERS, Window, batches, most_tokens, sampled, spread, windows
from neural_plasticity.inputs.documents import Document
from neural_plasticity.settings import Settings
from neural_plasticity.training.draws import drawn_for
from neural_plasticity.training.order import Order

Batch = Mapping[str, Any]
ENOUGH = 4  # times the tokens that are asked for, so that a tokenizer of long tokens still finds them all

_NOWHERE = torch.nn.Identity()  # batches are made on the CPU, so its generators are all that count


class Material(Protocol):
    """Batches to learn from and to be judged by."""

    names: Sequence[str]

    def __len__(self) -> int:
        """How many batches one reading has."""
        ...

    @property
    def per_pass(self) -> int:
        """How many batches a pass of learning has."""
        ...

    def parts(self) -> Iterator[tuple[Sequence[int], Batch]]:
        """Every batch once, in the same order each time, each with the documents (places in `names`) that its samples are of."""
        ...

    def at(self, number: int) -> Batch:
        """The batch of this number, without end, pass after pass, in an order that its seed alone decides."""
        ...

    def first(self, tokens: int) -> list[Batch]:
        """Some batches that stand for all, of about so many tokens."""
        ...


class Passages:
    """Windows of documents, about as many tokens as asked for, spread evenly over all of them."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        documents: Sequence[Document],
        *,
        length: int,
        tokens: int,
        batch_size: int,
        seed: int,
    ) -> None:
        chosen = sampled(documents, max(tokens, CHARACTERS) * ENOUGH)
        self.names: Sequence[str] = [document.name for document in chosen]
        self._windows = spread(windows(tokenizer, chosen, length), tokens)
        self._batch_size = batch_size
        self._pad: Any = tokenizer.pad_token_id or 0  # padding has no label, so any id will do
        self._order = Order(len(self._windows), batch_size, seed)

    def __len__(self) -> int:
        return ceil(len(self._windows) / self._batch_size)

    @property
    def per_pass(self) -> int:
        """How many full batches there are."""
        return self._order.per_epoch

    def parts(self) -> Iterator[tuple[Sequence[int], Batch]]:
        """Every window once, in the order of the text."""
        return self._parts(self._windows)

    def at(self, number: int) -> Batch:
        """Windows in a shuffled order that is another one in each pass."""
        chosen = [self._windows[place] for place in self._order.batch(number)]
        return next(batches(chosen, len(chosen), self._pad))[1]

    def first(self, tokens: int) -> list[Batch]:
        """Windows spread evenly over the text."""
        return [batch for _, batch in self._parts(spread(self._windows, tokens))]

    def _parts(self, chosen: Sequence[Window]) -> Iterator[tuple[Sequence[int], Batch]]:
        for held, batch in batches(chosen, self._batch_size, self._pad):
            yield [window.document for window in held], batch


def passages_for(
    model: Any, tokenizer: PreTrainedTokenizerBase | None, documents: Sequence[Document], settings: Settings, tokens: int
) -> Passages:
    """As much of a text as holds so many tokens, in passages that the model has positions for."""
    if tokenizer is None:
        raise ModelNotUsable(
            f"{type(model).__name__} came without a tokenizer, so it cannot read a text; pass tokenizer=, or add one to its folder."
        )
    return Passages(
        tokenizer,
        documents,
        length=length_for(model, settings),
        tokens=tokens,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )


def length_for(model: Any, settings: Settings) -> int:
    """How many tokens a passage has: as many as wanted, or as the model has positions for."""
    return min(settings.max_length, most_tokens(cast("PreTrainedModel", model)) or settings.max_length)


class Given:
    """A user's own batches: a list, a `DataLoader`, anything that can be read from its beginning again and again.

    Whatever a reading draws from the generators of torch, numpy and Python, or from a loader's own, follows from the
    seed, the number of the pass and of the batch. So a loader that shuffles gives the same batches after a resume, and
    whatever else is read of it on the way.
    """

    def __init__(self, given: Any, what: str, *, seed: int, batch_tokens: int) -> None:
        self._what, self._seed, self._batch_tokens = what, seed, batch_tokens
        self._given = cast("Iterable[Any]", [given] if isinstance(given, Mapping) else given)
        if not isinstance(given, Iterable):
            raise SettingNotUsable(
                f"What was given as {what}= is a {type(given).__name__}; give a list of batches or a DataLoader."
            )
        if isinstance(given, Iterator):
            raise SettingNotUsable(
                f"The batches given as {what}= can be read only once, and a run reads them many times; give a list or a DataLoader."
            )
        self._told: int | None = None  # the pass that samplers were told of last
        self._underway: tuple[int, Iterator[Batch]] = (-1, iter(()))
        self._length = self._counted()
        if not self._length:
            raise SettingNotUsable(f"There are no batches in what was given as {what}=; give at least one.")
        next(self._aside())  # what is no batch is refused before anything begins
        self.names: Sequence[str] = [f"batch {number}" for number in range(self._length)]

    def __len__(self) -> int:
        return self._length

    @property
    def per_pass(self) -> int:
        """How many batches there are."""
        return self._length

    def parts(self) -> Iterator[tuple[Sequence[int], Batch]]:
        """Every batch once; each stands for a document of its own."""
        return (([number], batch) for number, batch in enumerate(self._aside()))

    def at(self, number: int) -> Batch:
        """The batches as their own order has it, pass after pass."""
        turn, place = divmod(number, self._length)
        if self._underway[0] != number:
            self._underway = (number, islice(self._reading(turn), place, None))
        batch = next(self._underway[1])
        self._underway = (number + 1 if place + 1 < self._length else -1, self._underway[1])
        return batch

    def first(self, tokens: int) -> list[Batch]:
        """Those that come first, as many as hold so many tokens."""
        found: list[Batch] = []
        for batch in self._aside():
            found.append(batch)
            tokens -= _real_tokens(batch, self._batch_tokens)
            if tokens <= 0:
                break
        return found

    def _aside(self) -> Iterator[Batch]:
        """The first pass anew, beside the one that is underway."""
        if getattr(self._given, "persistent_workers", False):  # such a loader has but one reading, which begins anew
            self._underway = (-1, iter(()))
        return self._reading(0)

    def _reading(self, turn: int) -> Iterator[Batch]:
        """One pass from its beginning, of just as many batches as the first."""
        step, self._told = turn * (self._length + 1), None
        with drawn_for(_NOWHERE, self._seed, step):
            left = self._seeded()
            with self._own(left, turn):
                reading = iter(self._given)
        for place in range(self._length):
            with drawn_for(_NOWHERE, self._seed, step + 1 + place), self._own(left, turn):
                batch = next(reading, None)
            if not isinstance(batch, Mapping):
                raise self._no_batch(place, batch)
            yield cast("Batch", batch)

    def _seeded(self) -> list[Tensor]:
        """The states in which the loader's own generators begin a pass, by the generator that was just seeded for it."""
        own = int(torch.randint(2**62, ()))
        return [torch.Generator(each.device).manual_seed(own).get_state() for each in _generators(self._given)]

    @contextmanager
    def _own(self, left: list[Tensor], turn: int) -> Iterator[None]:
        """The loader's own generators as this reading has left them, until the block ends; then as others have.

        Samplers draw as they go, so that a reading beside this one would draw what is to come here.
        """
        generators = _generators(self._given)
        others = [each.get_state() for each in generators]
        for each, state in zip(generators, left, strict=True):
            each.set_state(state)
        if self._told != turn:
            _tell(self._given, turn)
            self._told = turn
        try:
            yield
        finally:
            left[:] = [each.get_state() for each in generators]
            for each, state in zip(generators, others, strict=True):
                each.set_state(state)

    def _counted(self) -> int:
        try:
            return len(self._given)  # type: ignore[arg-type]  # what has no length says so
        except TypeError:  # a loader of a stream has the method, and no length
            with drawn_for(_NOWHERE, self._seed, 0):
                return sum(1 for _ in self._given)

    def _no_batch(self, place: int, seen: Any) -> SettingNotUsable:
        if seen is None:
            return SettingNotUsable(
                f"The batches given as {self._what}= ended after {place} of {self._length}; give what is as long every time."
            )
        return SettingNotUsable(
            f"Batch {place + 1} given as {self._what}= is a {type(seen).__name__}, and a batch is a mapping of what the model "
            "takes as keywords, such as {'pixel_values': …, 'labels': …}; give such ones, from a DataLoader by its collate_fn."
        )


def _holders(given: Any) -> list[Any]:
    """A `DataLoader` and its samplers, each once, or whatever else was given."""
    batches = getattr(given, "batch_sampler", None)
    found = [given, getattr(given, "sampler", None), batches, getattr(batches, "sampler", None)]
    return list({id(each): each for each in found if each is not None}.values())


def _generators(given: Any) -> list[torch.Generator]:
    """The generators that these keep for themselves."""
    found = [getattr(each, "generator", None) for each in _holders(given)]
    return list({id(each): each for each in found if isinstance(each, torch.Generator)}.values())


def _tell(given: Any, turn: int) -> None:
    """Let those know the pass who want to."""
    for each in _holders(given):
        if callable(told := getattr(each, "set_epoch", None)):
            told(turn)


def _real_tokens(batch: Batch, otherwise: int) -> int:
    """How many tokens of a batch are no padding; another number where it holds no text."""
    mask, ids = batch.get("attention_mask"), batch.get("input_ids")
    if isinstance(mask, Tensor) and mask.dim() == 2:
        return int(mask.ne(0).sum())
    return ids.numel() if isinstance(ids, Tensor) else otherwise
