"""Models as selection sees them: layers of heads, numbers for each, some asleep, some protected."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from neural_plasticity.heads import HeadGrid, HeadId

SIGNALS = ("taylor", "fisher", "ablation", "gradient", "magnitude", "entropy", "wake")


@dataclass
class Model:
    """Ragged layers of groups, some heads asleep or protected, and a generator for their numbers."""

    sizes: list[list[int]]  # of the groups of each layer
    asleep: set[HeadId]
    protected: set[HeadId]
    seed: int
    heads: list[HeadId] = field(init=False)
    groups: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.groups = [[group for group, size in enumerate(layer) for _ in range(size)] for layer in self.sizes]
        self.heads = [HeadId(layer, head) for layer, row in enumerate(self.groups) for head in range(len(row))]

    @property
    def awake(self) -> list[HeadId]:
        return [head for head in self.heads if head not in self.asleep]

    def grids(self, levels: int = 0) -> dict[str, HeadGrid]:
        """Distinct numbers for every signal, or only so many different ones; of sleeping heads too."""
        rng = np.random.default_rng(self.seed)
        number = len(self.heads)
        values = [rng.integers(0, levels, number) if levels else rng.permutation(number) - number / 2 + 0.25 for _ in SIGNALS]
        return {
            name: self.grid(dict(zip(self.heads, each.tolist(), strict=True))) for name, each in zip(SIGNALS, values, strict=True)
        }

    def grid(self, numbers: dict[HeadId, float]) -> HeadGrid:
        return HeadGrid.from_layers(
            [[numbers[HeadId(layer, head)] for head in range(len(row))] for layer, row in enumerate(self.groups)], "taylor (nats)"
        )


@st.composite
def models(draw: st.DrawFn, grouped: bool = False, even: bool = False) -> Model:
    """Any small model; `even`: all of one shape, and all awake."""
    layers = draw(st.integers(1, 4))
    if even:
        sizes = [[draw(st.integers(1, 3)) if grouped else 1] * draw(st.integers(1, 5))] * layers
    else:
        group = st.integers(1, 3) if grouped else st.just(1)
        sizes = draw(st.lists(st.lists(group, min_size=1, max_size=5), min_size=layers, max_size=layers))
    model = Model(sizes, set(), set(), draw(st.integers(0, 10_000)))
    if not even:
        model.asleep = draw(st.sets(st.sampled_from(model.heads), max_size=len(model.heads) - 1))
    model.protected = draw(st.sets(st.sampled_from(model.heads), max_size=3))
    return model
