"""Everything about this machine in one dict: what `plasticity env` prints and a run's record keeps."""

from typing import Any

from neural_plasticity.environment.arithmetic import matmul_path
from neural_plasticity.environment.devices import describe_devices
from neural_plasticity.environment.host import describe_host


def get_environment_info() -> dict[str, Any]:
    """Device, host, versions and optional parts, ready for JSON; docs/environment.md lists the keys."""
    return {**describe_devices(), "matmul_path": matmul_path(), **describe_host()}
