"""Docs that are true: links lead somewhere, commands exist, and nothing speaks of one machine."""

import re
import shlex

import pytest

from neural_plasticity.cli import SUMMARIES
from tests.house.source import EVERYTHING, ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BANNED = re.compile(r"/(home|root|work|Users)/|TODO|FIXME|XXX")


def ids(page) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_to_files_that_are_there(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_in_the_docs_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    for block in re.findall(r"```(?:bash|console|sh)\n(.*?)```", page.read_text(), re.S):
        for line in block.splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[:1] == ["plasticity"] and len(words) > 1 and not words[1].startswith("-"):
                assert words[1] in SUMMARIES, line
            if words[:1] == ["make"]:
                assert f"\n{words[1]}:" in makefile, line


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_page_of_the_docs_can_be_reached_from_the_readme(page):
    if page.parent.name == "docs":
        assert f"docs/{page.name}" in (ROOT / "README.md").read_text()


def test_nothing_speaks_of_one_machine_or_of_work_to_be_done():
    here = ROOT / "tests" / "house" / "test_docs.py"
    found = [
        f"{path.relative_to(ROOT)}: {match}"
        for path in [*PAGES, *EVERYTHING]
        if path != here
        for match in BANNED.findall(path.read_text())
    ]
    assert not found
