"""docs/families.md says what is true of every family; `python -m tests.conformance.test_document` writes it anew."""

from pathlib import Path

import pytest

from neural_plasticity.errors import NotDissectable
from tests.conformance.taken import ROWS, taken_apart
from tests.conformance.test_signals import REFUSED

PAGE = Path(__file__).parents[2] / "docs" / "families.md"

OPENING = """# Families

What `dissect` found in every family tried, in tiny random models with random head counts, groups and head widths.
This page is generated: `python -m tests.conformance.test_document`.

"""


HEAD = "| family | sites | seen at | verdict | attention signals | reason |\n|---|---|---|---|---|---|\n"


def verdict(name: str) -> str:
    """One row of the page."""
    try:
        anatomy = taken_apart(name).anatomy
    except NotDissectable:
        return f"| {name} | | | no attention | | it runs without softmax attention |"
    kinds = ", ".join(dict.fromkeys(site.kind for site in anatomy))
    seen = ", ".join(dict.fromkeys(site.seen for site in anatomy))
    apart = [site for site in anatomy if site.separable]
    reason = next((site.reason for site in anatomy if not site.separable), "").replace("|", "\\|")
    word = "separable" if len(apart) == len(anatomy.sites) else "in part" if apart else "not separable"
    signals = "refused" if name in REFUSED else "right"
    return f"| {name} | {kinds} | {seen} | {word} | {signals} | {reason} |"


def page(rows: list[str]) -> str:
    """The whole page around its rows, which are counted in it."""
    count = {word: sum(f"| {word} |" in row for row in rows) for word in ("separable", "in part", "not separable", "no attention")}
    return (
        f"{OPENING}"
        f"Of {len(rows)} rows {count['separable']} come apart entirely, {count['in part']} in part, "
        f"{count['not separable']} not at all, and {count['no attention']} have no attention.\n\n"
        "Attention signals (entropy and the like) are those of eager attention in float64, unpadded, padded left and right, and "
        f"packed, in all but {len(REFUSED)}, whose attention lies in blocks of a layout of its own.\n\n"
        f"{HEAD}" + "".join(f"{row}\n" for row in rows)
    )


def written() -> list[str]:
    """The rows that stand on the page."""
    return PAGE.read_text().partition(HEAD)[2].splitlines()


@pytest.mark.parametrize("name", ROWS)
def test_the_row_of_a_family_is_what_is_found_now(name):
    assert written()[list(ROWS).index(name)] == verdict(name)


def test_the_page_has_a_row_for_each_family_and_counts_them():
    assert len(written()) == len(ROWS)
    assert PAGE.read_text() == page(written())


if __name__ == "__main__":
    PAGE.write_text(page([verdict(name) for name in ROWS]))
