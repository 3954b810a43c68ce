"""Documents to batches: token windows that remember which document they come from."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from neural_plasticity.errors import TextNotUsable, said
from neural_plasticity.inputs.documents import Document

CHARACTERS = 32  # of a text that surely hold a token
IGNORED = -100  # the label that every loss of transformers passes over


@dataclass(frozen=True, slots=True)
class Window:
    """A run of tokens of one document."""

    document: int
    ids: tuple[int, ...]


def windows(tokenizer: PreTrainedTokenizerBase, documents: Sequence[Document], length: int) -> list[Window]:
    """Consecutive windows of at most `length` tokens over every document, each with at least one token to predict."""
    found = [
        Window(number, tuple(ids[start : start + length]))
        for number, document in enumerate(documents)
        for ids in [_token_ids(tokenizer, document)]
        for start in range(0, len(ids), length)
        if len(ids) - start >= 2
    ]
    if not found:
        raise TextNotUsable(
            f"The text is too short: its {len(documents)} documents have fewer than two tokens each, "
            "so there is nothing to predict; name a longer one."
        )
    return found


def _token_ids(tokenizer: PreTrainedTokenizerBase, document: Document) -> list[int]:
    try:
        ids: Any = tokenizer(document.text, verbose=False)["input_ids"]
    except (TypeError, UnicodeEncodeError) as fault:  # half a surrogate pair, as JSON may hold
        raise TextNotUsable(f"The text of {document.name} holds characters that are none ({said(fault)}); mend it.") from fault
    return ids


def batches(found: Sequence[Window], batch_size: int, pad: int) -> Iterator[tuple[Sequence[Window], dict[str, Tensor]]]:
    """Windows and, as the model takes them, their padded batch: ids, attention mask and labels."""
    for start in range(0, len(found), batch_size):
        chosen = found[start : start + batch_size]
        yield chosen, padded([window.ids for window in chosen], pad)


def padded(rows: Iterable[Sequence[int]], pad: int) -> dict[str, Tensor]:
    """One batch of rows, padded on the right; padding is masked and has no label."""
    lines = [torch.tensor(row) for row in rows]
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(line) for line in lines], batch_first=True)
    ids = torch.nn.utils.rnn.pad_sequence(lines, batch_first=True, padding_value=pad)
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, IGNORED)}


def most_tokens(model: PreTrainedModel) -> int | None:
    """How many tokens the model has positions for; None where it sets no bound."""
    bound = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return bound if isinstance(bound, int) and bound > 0 else None


def sampled(documents: Sequence[Document], tokens: int) -> Sequence[Document]:
    """Documents, evenly over all of them, that surely hold this many tokens: enough to read, where all are far more."""
    share = CHARACTERS * tokens / max(1, sum(len(document.text) for document in documents))
    chosen: list[Document] = []
    passed = taken = 0
    for document in documents:
        passed += len(document.text)
        if share >= 1 or taken < share * passed:
            chosen.append(document)
            taken += len(document.text)
    return chosen


def spread(found: Sequence[Window], tokens: int) -> list[Window]:
    """As many windows as hold about `tokens` tokens, evenly over all of them; all, where they hold no more."""
    share = tokens / max(tokens, sum(len(window.ids) for window in found))
    chosen: list[Window] = []
    passed = taken = 0
    for window in found:
        passed += len(window.ids)
        if taken + len(window.ids) / 2 <= share * passed:
            chosen.append(window)
            taken += len(window.ids)
    return chosen or list(found[:1])
