"""Every family the package is held to. One row in a `rows_*.py` enrols it in all conformance tests."""

from tests.conformance.family import Family, Site
from tests.conformance.rows_composed import TOGETHER
from tests.conformance.rows_decoders import DECODERS
from tests.conformance.rows_encoders import ENCODERS, PAIRS
from tests.conformance.rows_media import SIGHT, SOUND, WITHOUT_ATTENTION

FAMILIES: dict[str, Family] = {row.name: row for row in (*DECODERS, *ENCODERS, *PAIRS, *SIGHT, *SOUND, *TOGETHER)}
NO_ATTENTION: dict[str, Family] = {row.name: row for row in WITHOUT_ATTENTION}

__all__ = ["FAMILIES", "NO_ATTENTION", "Family", "Site"]
