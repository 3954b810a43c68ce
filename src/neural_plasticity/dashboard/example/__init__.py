"""A recorded run that comes with the package: `make.py` says how it was made."""

from pathlib import Path

EXAMPLE = Path(__file__).parent / "tiny"
