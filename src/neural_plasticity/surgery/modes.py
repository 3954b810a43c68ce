"""The ways to put a head to sleep."""

from enum import StrEnum

from neural_plasticity.errors import SettingNotUsable


class PruningMode(StrEnum):
    """How a head is put to sleep; all give the same outputs, and only `remove` makes a model smaller and faster."""

    ZERO_WEIGHTS = "zero_weights"
    MASK_FORWARD = "mask_forward"
    GATE = "gate"
    REMOVE = "remove"
    ADAPTIVE = "adaptive"
    COMPRESSED = "compressed"


def mode_of(mode: str) -> PruningMode:
    """The mode of this name, among those that are something of their own; ADAPTIVE is another name for `mask_forward`."""
    try:
        found = PruningMode(mode)
    except ValueError:
        names = ", ".join(each.value for each in PruningMode)
        raise SettingNotUsable(f"There is no pruning mode {mode!r}; choose one of {names}.") from None
    return PruningMode.MASK_FORWARD if found is PruningMode.ADAPTIVE else found
