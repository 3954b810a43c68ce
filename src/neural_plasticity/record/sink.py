"""Where events go: the one thing that the experiment knows about the half that shows."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neural_plasticity.record.events import Event

Arrays = Mapping[str, NDArray[np.generic]]


class Sink(Protocol):
    """Takes events as they happen, with the arrays that belong to them."""

    def write(self, event: Event, tensors: Arrays | None = None) -> Any:
        """Take one event; it is over when this returns."""
        ...
