"""Early stopping: when a number that should fall has not fallen for too long."""

import math
from typing import Any

from neural_plasticity.errors import SettingNotUsable


class EarlyStopping:
    """Told a loss at each evaluation, says when `patience` of them in a row were not better than the best by `min_delta`."""

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        if patience < 1 or patience != int(patience):
            raise SettingNotUsable(f"The patience of early stopping is {patience!r:.40}; it must be a whole number of at least 1.")
        if not 0 <= min_delta < math.inf:
            raise SettingNotUsable(f"The min_delta of early stopping is {min_delta!r:.40}; it must be 0 or more.")
        self.patience, self.min_delta = int(patience), float(min_delta)
        self.best: float | None = None
        self.best_at: int | None = None  # which of the losses told so far, counted from 1
        self._told = 0

    def add(self, loss: float) -> bool:
        """Whether to stop with this loss."""
        if not math.isfinite(loss):
            raise SettingNotUsable(f"Loss {self._told + 1} told to early stopping is {loss}; stop at the first that is not finite.")
        self._told += 1
        if self.best is None or loss < self.best - self.min_delta:
            self.best, self.best_at = float(loss), self._told
        return self.should_stop

    @property
    def waited(self) -> int:
        """How many losses in a row were no better."""
        return self._told - (self.best_at or 0)

    @property
    def should_stop(self) -> bool:
        """Whether it has waited long enough."""
        return self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        """Plain values to go on from with `restore`."""
        return {"best": self.best, "best_at": self.best_at, "told": self._told}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where another one stood."""
        self.best, self.best_at, self._told = state["best"], state["best_at"], state["told"]
