"""docs/families.md says what is true of every family; `python -m tests.conformance.test_document` writes it anew."""

from collections.abc import Iterator
from pathlib import Path

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.errors import NotDissectable
from tests.conformance.families import FAMILIES, NO_ATTENTION
from tests.conformance.family import Family
from tests.conformance.test_signals import REFUSED

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
SEED = 9

OPENING = """# Families

What `dissect` found in every family tried, in tiny random models with random head counts, groups and head widths.
This page is generated: `python -m tests.conformance.test_document`.

"""


def verdict(family: Family) -> str:
    """One row of the page."""
    model = family.build(SEED)
    try:
        anatomy = dissect(model, family.example(model, SEED))
    except NotDissectable:
        return f"| {family.name} | | | no attention | | it runs without softmax attention |"
    kinds = ", ".join(dict.fromkeys(site.kind for site in anatomy))
    seen = ", ".join(dict.fromkeys(site.seen for site in anatomy))
    apart = [site for site in anatomy if site.separable]
    reason = next((site.reason for site in anatomy if not site.separable), "").replace("|", "\\|")
    word = "separable" if len(apart) == len(anatomy.sites) else "in part" if apart else "not separable"
    signals = "refused" if family.name in REFUSED else "right"
    return f"| {family.name} | {kinds} | {seen} | {word} | {signals} | {reason} |"


def page() -> Iterator[str]:
    rows = [verdict(family) for family in (*FAMILIES.values(), *NO_ATTENTION.values())]
    count = {word: sum(f"| {word} |" in row for row in rows) for word in ("separable", "in part", "not separable", "no attention")}
    yield OPENING
    yield f"Of {len(rows)} rows {count['separable']} come apart entirely, {count['in part']} in part, "
    yield f"{count['not separable']} not at all, and {count['no attention']} have no attention.\n\n"
    yield "Attention signals (entropy and the like) are those of eager attention in float64, unpadded, padded left and right, and "
    yield f"packed, in all but {len(REFUSED)}, whose attention lies in blocks of a layout of its own.\n\n"
    yield "| family | sites | seen at | verdict | attention signals | reason |\n|---|---|---|---|---|---|\n"
    yield from (f"{row}\n" for row in rows)


def test_the_page_of_families_is_what_is_found_now():
    assert PAGE.read_text() == "".join(page())


if __name__ == "__main__":
    PAGE.write_text("".join(page()))
