"""The public surface: sealed, documented, and free to import."""

import re
import subprocess
import sys

import pytest

import neural_plasticity
from neural_plasticity import errors
from neural_plasticity.cli import SUMMARIES
from neural_plasticity.inputs.files import READERS
from neural_plasticity.record.events import KINDS
from neural_plasticity.selection.schedules import SCHEDULES
from neural_plasticity.selection.strategies import growth_strategies, strategies
from neural_plasticity.signals.base import signals
from neural_plasticity.signals.objectives import OBJECTIVES
from tests.house.source import PACKAGE, ROOT, tree
from tests.record.examples import EXAMPLES
from tests.selection.enrolled import GROWTH, PRUNING, SHARES
from tests.signals.enrolled import SIGNAL_TESTS

HEAVY = ("torch", "transformers", "matplotlib", "numpy", "pandas", "datasets", "rich", "typer")


def headings(page: str) -> set[str]:
    """What a page describes: its headings, and the first cell of each table row, without back ticks."""
    text = (ROOT / "docs" / page).read_text()
    return {
        found.replace("`", "").strip()
        for found in re.findall(r"^#+ (.+)$|^\| (`[^|]+?`) \|", text, re.M)
        for found in found
        if found
    }


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, neural_plasticity; dir(neural_plasticity); print([m for m in {HEAVY!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "room",
    [
        "errors",
        "heads",
        "settings",
        "record",
        "selection.pruning",
        "selection.growth",
        "trackers.console",
        "environment.host",
        "figures.of_run",
        "dashboard.server",
        "dashboard.standing",
        "plugins",
        "student",
    ],
)
def test_rooms_that_show_do_not_load_torch_by_any_way(room):
    code = f"import sys, neural_plasticity.{room}; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("name", neural_plasticity.__all__)
def test_every_public_name_is_there(name):
    assert getattr(neural_plasticity, name) is not None


def test_the_surface_is_what_the_docs_say():
    assert {name.split("(")[0] for name in headings("api.md") if " " not in name.split("(")[0]} == set(neural_plasticity.__all__)
    assert set(dir(neural_plasticity)) == {*neural_plasticity.__all__, "__version__"}


def test_types_are_declared_for_every_public_name():
    import ast

    (block,) = [node for node in tree(ROOT / "src/neural_plasticity/__init__.py").body if isinstance(node, ast.If)]
    imported = {name.asname for node in block.body if isinstance(node, ast.ImportFrom) for name in node.names}
    declared = {node.target.id for node in block.body if isinstance(node, ast.AnnAssign)}
    assert imported | declared == set(neural_plasticity.__all__)


def test_a_name_that_is_not_there_says_where_the_names_are():
    with pytest.raises(AttributeError, match=r"docs/api\.md"):
        _ = neural_plasticity.no_such_name


def test_every_error_descends_from_one_and_stands_in_the_tree():
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    defined = [name for name, value in vars(errors).items() if isinstance(value, type) and value is not errors.PlasticityError]
    assert sorted(drawn) == sorted(defined)
    assert all(issubclass(getattr(errors, name), errors.PlasticityError) for name in defined)


# Every registry of the package: its entries, the page that describes each, and the rows that enrol each in a test.
REGISTRIES = {
    "commands": (set(SUMMARIES), "commands.md", "plasticity {}", {path.stem for path in (PACKAGE / "cli").glob("[!_]*.py")}),
    "events": (set(KINDS), "record.md", "{}", set(EXAMPLES)),
    "signals": (set(signals()), "signals.md", "{}", set(SIGNAL_TESTS)),
    "strategies": (set(strategies()), "selection.md", "{}", set(PRUNING)),
    "growth strategies": (set(growth_strategies()), "selection.md", "{}", set(GROWTH)),
    "schedules": (set(SCHEDULES), "selection.md", "{}", set(SHARES)),
    "objectives": (set(OBJECTIVES), "signals.md", "{}", {"own", "next_token", "self_distillation"}),
    "readers": (set(READERS), "inputs.md", "{}", {".txt", ".md", ".rst", ".py", ".jsonl", ".csv", ".parquet"}),
}


@pytest.mark.parametrize("registry", REGISTRIES)
def test_every_entry_of_a_registry_is_described_and_enrolled(registry):
    entries, page, form, rows = REGISTRIES[registry]
    assert {form.format(entry) for entry in entries} <= headings(page)
    assert entries == rows


@pytest.mark.parametrize("name", SIGNAL_TESTS)
def test_every_signal_is_held_to_a_truth_of_its_own(name):
    assert f'"{name}"' in (ROOT / "tests" / SIGNAL_TESTS[name]).read_text()
