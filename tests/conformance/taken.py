"""A family's model taken apart, once for all the files that ask: `conftest` has them ask one family after the other."""

from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor, nn

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.sites import Anatomy
from tests.anatomy.test_dissect import state
from tests.conformance.families import FAMILIES, NO_ATTENTION
from tests.conformance.family import Family

SEED = 9
ROWS = {**FAMILIES, **NO_ATTENTION}


@dataclass(frozen=True)
class Taken:
    """What dissection found, and all that can be noticed about the model before and after. Who changes a model builds another."""

    family: Family
    model: nn.Module
    example: dict[str, Tensor]
    before: dict[str, object]
    anatomy: Anatomy
    after: dict[str, object]


@lru_cache(maxsize=1)
def taken_apart(name: str) -> Taken:
    """The family of this name; of the last one asked for, what was found then."""
    family = ROWS[name]
    model = family.build(SEED)
    example = family.example(model, SEED)
    before = state(model)
    anatomy = dissect(model, example)
    return Taken(family, model, example, before, anatomy, state(model))
