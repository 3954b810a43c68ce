"""The main figures against pictures that somebody looked at.

After a change that is meant, `python -m tests.figures.test_golden` draws them anew: look at each before it is kept.
"""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.figures.examples import drawn

GOLDEN = Path(__file__).with_name("golden")
MAIN = (
    "visualize_gradient_norms",
    "visualize_attention_patterns",
    "visualize_pruning_decisions",
    "visualize_training_progress",
    "visualize_warmup_dashboard",
    "plot_strategy_comparison",
)
SEEN = 24  # of 255: what an eye may notice
FEW = 0.002  # of all pixels: an edge drawn half a pixel beside its place is more


def picture(name: str, theme: str) -> Image.Image:
    return Image.open(io.BytesIO(drawn(name, theme=theme).drawn("png"))).convert("RGB")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", MAIN)
def test_a_main_figure_looks_as_it_did_when_somebody_looked(name, theme):
    expected = np.asarray(Image.open(GOLDEN / f"{name}-{theme}.png").convert("RGB")).astype(int)
    found = np.asarray(picture(name, theme)).astype(int)
    assert found.shape == expected.shape
    assert np.mean(np.abs(found - expected).max(-1) > SEEN) <= FEW


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for each in MAIN:
        for tone in ("light", "dark"):
            picture(each, tone).quantize(256).save(GOLDEN / f"{each}-{tone}.png", optimize=True)
