"""Who owns what: from the features that each head depends on to slices that are its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from neural_plasticity.anatomy.provenance import NONE, Features
from neural_plasticity.anatomy.sites import Indices


@dataclass(frozen=True, slots=True)
class Share:
    """How the features of one projection are divided among heads.

    `owned` has a set per head, or per group of heads that use the same one; it is empty where nothing
    is any head's own. `groups` says for each head which of them is its. `mixed` says that heads overlap
    without being the same.
    """

    owned: tuple[Indices, ...]
    groups: Indices
    mixed: bool

    @property
    def divided(self) -> bool:
        """Whether every head has a part that is its own."""
        return bool(self.owned) and not self.mixed


def share(behind: Sequence[Features]) -> Share:
    """How features are divided, given those behind each head.

    What all heads depend on is shared and nobody's own. Heads that depend on just the same features form a
    group, as the query heads do that repeat one key head.
    """
    distinct = list(dict.fromkeys(behind))
    common = NONE if len(distinct) == 1 and len(behind) == 1 else frozenset.intersection(*behind)
    own = [each - common for each in distinct]
    if not all(own):
        return Share((), (), mixed=any(own))
    overlapping = sum(map(len, own)) != len(frozenset.union(*own))
    return Share(tuple(tuple(sorted(each)) for each in own), tuple(map(distinct.index, behind)), mixed=overlapping)
