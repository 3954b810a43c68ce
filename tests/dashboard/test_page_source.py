"""The page's own files, read as text: what the assembly of the report relies on, and what may never be written."""

import re

import pytest

from neural_plasticity.dashboard.assembly import PAGE

MODULES = sorted(PAGE.glob("*.js"))
TOP_LEVEL = re.compile(r"^(?:export )?(?:async )?(?:function\*? |const |let |class )(\w+)", re.M)
NEVER = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc\s*=|setTimeout\(['\"`]|https?://(?!www\.w3\.org/2000/svg)"
)


def test_no_name_is_used_twice_since_a_report_is_one_script():
    names = [name for module in MODULES for name in TOP_LEVEL.findall(module.read_text())]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_a_module_imports_plainly_and_says_first_what_it_is_for(module):
    text = module.read_text()
    imports = re.findall(r"^import .*$", text, re.M)
    assert all(re.fullmatch(r'import \{ [\w, ]+ \} from "\./\w+\.js";', each) for each in imports)
    assert not re.search(r"^export (default|\{|\*)", text, re.M)
    assert text.startswith("// ")
    assert len(text.splitlines()) <= 400


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_no_module_parses_text_as_html_or_code_or_names_another_host(module):
    code = "\n".join(line for line in module.read_text().splitlines() if not line.lstrip().startswith("//"))
    found = [each for each in NEVER.findall(code) if not (module.name == "tree.js" and each == "innerHTML")]  # which refuses it
    assert found == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_everything_that_is_imported_is_there_and_used(module):
    text = module.read_text()
    for names, source in re.findall(r'^import \{ ([\w, ]+) \} from "\./(\w+\.js)";', text, re.M):
        exported = re.findall(r"^export (?:async )?(?:function\*? |const |let |class )(\w+)", (PAGE / source).read_text(), re.M)
        body = re.sub(r"^import .*$", "", text, flags=re.M)
        for name in names.split(", "):
            assert name in exported, f"{module.name}: {name} of {source}"
            assert re.search(rf"\b{name}\b", body), f"{module.name} does not use {name}"


def test_everything_that_is_exported_is_used_by_another_module():
    imported = {
        name
        for module in MODULES
        for names in re.findall(r"^import \{ ([\w, ]+) \}", module.read_text(), re.M)
        for name in names.split(", ")
    }
    exported = {
        name
        for module in MODULES
        for name in re.findall(r"^export (?:async )?(?:function\*? |const |let |class )(\w+)", module.read_text(), re.M)
    }
    assert exported - imported == set()


def test_head_states_look_as_in_the_figures_of_the_package():
    from neural_plasticity.figures.theme import MARKS

    text = (PAGE / "colour.js").read_text()
    page = dict(re.findall(r'^  (\w+): \{ word: "\w+", colour: "(#\w+)"', text, re.M))
    assert page == {word: MARKS[word].colour for word in page}
    assert set(page) == {"active", "dormant", "removed", "revived", "grown"}
