"""What every test shares: no hub, one thread a process, and the embedded model loaded once."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is imported; nothing here may wait for a network
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

# Machines are slow and noisy: no deadlines, and examples that are the same in every run.
settings.register_profile("house", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.fixture(scope="session")
def tiny():
    """The embedded model and its tokenizer."""
    from neural_plasticity.inputs.models import load_model

    return load_model("tiny", "cpu")
