"""Every family the package is held to. One row here enrols it in all conformance tests."""

from family import Family, Site
from rows_other import OTHER, WITHOUT_ATTENTION
from rows_text import TEXT

FAMILIES: dict[str, Family] = {family.name: family for family in (*TEXT, *OTHER)}
NO_ATTENTION: dict[str, Family] = {family.name: family for family in WITHOUT_ATTENTION}

__all__ = ["FAMILIES", "NO_ATTENTION", "Family", "Site"]
