"""`tiny`, the embedded model: a small decoder that learned Python's standard library.

Its checkpoint lies in `model/`; `python -m neural_plasticity.inputs.tiny.train` makes it.
"""

from pathlib import Path

FOLDER = Path(__file__).with_name("model")
