"""The order of the conformance tests: family by family, so that what is found out about one is found out once.

Workers are given neighbours in this order, so that a family's code is mostly imported by one of them, too.
"""

from pathlib import Path

import pytest

from tests.conformance.taken import ROWS

PLACES = {name: place for place, name in enumerate(ROWS)}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only the tests of this folder change places, among themselves."""
    own = [place for place, item in enumerate(items) if Path(__file__).parent in item.path.parents]
    for place, item in zip(own, sorted((items[each] for each in own), key=place_of), strict=True):
        items[place] = item


def place_of(item: pytest.Item) -> int:
    """Where its family stands in the tables; behind all of them, what is of no family."""
    parameters = item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
    return next((PLACES[each] for each in parameters if isinstance(each, str) and each in PLACES), len(PLACES))
