"""Rules of the house that no linter knows."""

import ast
import configparser
import tomllib

from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from tests.house.source import EVERYTHING, MODULES, PACKAGE, ROOT, docstrings, place, strings, tree

LONGEST_FILE = 400
LONGEST_FUNCTION = 60

# The one place where transformers' families are named: the recipe of the embedded model, which is one of them.
MAY_NAME_FAMILIES = {PACKAGE / "inputs" / "tiny" / "train.py"}

# Doors that load a module by its name, on purpose: the public surface and the commands.
MAY_IMPORT_BY_NAME = {PACKAGE / "__init__.py", PACKAGE / "cli" / "__init__.py", PACKAGE / "inputs" / "stdlib.py"}


def test_files_are_short():
    long = {place(path): lines for path in EVERYTHING if (lines := len(path.read_text().splitlines())) > LONGEST_FILE}
    assert not long


def test_functions_are_short():
    long = [
        f"{place(path, node)} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path in EVERYTHING
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert not long


def test_every_file_class_and_public_function_says_what_it_is_for():
    silent = [place(path) for path in MODULES if ast.get_docstring(tree(path)) is None]
    silent += [
        f"{place(path, node)} {node.name}"
        for path in MODULES
        for node in tree(path).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        and not node.name.startswith("_")
        and ast.get_docstring(node) is None
        and "overload" not in [ast.unparse(decorator) for decorator in node.decorator_list]
    ]
    assert not silent


def test_a_room_opens_with_what_comes_in_what_goes_out_and_who_lives_there():
    for room in PACKAGE.iterdir():
        if (room / "__init__.py").exists():
            opening = ast.get_docstring(tree(room / "__init__.py")) or ""
            assert "In: " in opening, place(room)
            assert "Out: " in opening, place(room)


def test_no_error_is_suppressed_wholesale():
    broad = {"Exception", "BaseException"}
    found = [
        place(path, node)
        for path in EVERYTHING
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("suppress")
        and broad & {ast.unparse(argument).split(".")[-1] for argument in node.args}
    ]
    assert not found


def test_no_drawer_for_odds_and_ends():
    banned = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
    assert not [place(path) for path in PACKAGE.rglob("*") if path.stem in banned]


def test_modules_are_imported_by_name_only_at_the_known_doors():
    """A string given to importlib would slip past the import contracts."""
    found = [
        place(path, node)
        for path in MODULES
        if path not in MAY_IMPORT_BY_NAME
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Name | ast.Attribute | ast.alias)
        and {getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "name", "")}
        & {"import_module", "__import__", "importlib"}
    ]
    assert not found


def test_no_family_of_transformers_is_named():
    """The package works by experiment, so it has no business knowing families, neither by model_type nor by class."""
    model_types = set(CONFIG_MAPPING_NAMES)
    stems = tuple(config.removesuffix("Config") for config in CONFIG_MAPPING_NAMES.values())
    found = []
    for path in set(MODULES) - MAY_NAME_FAMILIES:
        found += [place(path, node) for node in strings(path) if node.value in model_types]
        found += [
            f"{place(path, node)} {name.name}"
            for node in ast.walk(tree(path))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("transformers")
            for name in node.names
            if name.name.startswith(stems) and not name.name.startswith(("Auto", "PreTrained"))
        ]
    assert not found


def test_the_families_rule_can_see():
    """The rule above would notice the one file that may break it."""
    (path,) = MAY_NAME_FAMILIES
    names = {name.name for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom) for name in node.names}
    assert "MistralConfig" in names
    assert len(docstrings(tree(path))) > 3


def contract(name: str) -> set[str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    return set(parser[f"importlinter:contract:{name}"]["source_modules"].split())


def test_every_room_that_shows_is_held_torch_free():
    torch_free = ("errors", "heads", "student", "settings", "record", "selection", "figures", "dashboard", "trackers")
    there = {f"neural_plasticity.{room}" for room in torch_free if (PACKAGE / room).exists() or (PACKAGE / f"{room}.py").exists()}
    assert there <= contract("torch-free")


def test_versions_are_pinned_once_and_completely():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = [*pyproject["dependencies"], *pyproject["optional-dependencies"]["dev"]]
    assert not [each for each in ranges if "==" in each]
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(pin.count("==") == 1 and "+" not in pin for pin in pins)
    pinned = {pin.split("==")[0].lower().replace("_", "-") for pin in pins}
    named = {each.split(">")[0].split("[")[0].lower() for each in ranges}
    assert named <= pinned


def test_the_version_is_the_same_everywhere():
    import neural_plasticity

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert neural_plasticity.__version__ == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_skipped_tests_are_listed():
    listed = (ROOT / "QUARANTINES.md").read_text()
    for path in EVERYTHING:
        for node in ast.walk(tree(path)):
            skips = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("pytest.skip", "mark.skip", "mark.skipif", "mark.xfail")
            )
            assert not skips or path.name in listed, place(path, node)
