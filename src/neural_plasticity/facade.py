"""The classes that reach across rooms; each method is a door to the room that does the work."""

from typing import Any

from neural_plasticity.environment.survey import get_environment_info


class NeuralPlasticity:
    """The whole system behind one name."""

    @staticmethod
    def get_environment_info() -> dict[str, Any]:
        """What this machine offers: device, GPU, platform, versions, memory, threads."""
        return get_environment_info()
