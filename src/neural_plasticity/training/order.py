"""The order in which samples are met: known for every step from the seed alone."""

import numpy as np

from neural_plasticity.errors import SettingNotUsable


class Order:
    """Which of `n` samples make up batch `k`, for any `k`: epoch after epoch, each in an order of its own.

    All batches are full: what is left at an epoch's end is passed over, other samples in each epoch. Fewer samples
    than a batch takes are all in every batch.
    """

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        for name, value, least in (("n", n, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)):
            if value < least or value != int(value):
                raise SettingNotUsable(f"The {name} of an order is {value!r:.40}; it must be a whole number of at least {least}.")
        self.n, self.batch_size, self.seed = int(n), min(int(batch_size), int(n)), int(seed)
        self._drawn: tuple[int, list[int]] = (-1, [])  # the epoch drawn last, since most batches lie in the same one

    @property
    def per_epoch(self) -> int:
        """How many batches an epoch has."""
        return self.n // self.batch_size

    def batch(self, k: int) -> list[int]:
        """The samples of the batch with this number, counted from 0."""
        if k < 0:
            raise SettingNotUsable(f"There is no batch {k}; batches are counted from 0.")
        epoch, place = divmod(k, self.per_epoch)
        if self._drawn[0] != epoch:
            self._drawn = (epoch, np.random.default_rng((self.seed, epoch)).permutation(self.n).tolist())
        return self._drawn[1][place * self.batch_size : (place + 1) * self.batch_size]
