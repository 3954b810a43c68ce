"""`plasticity env` as people and scripts meet it."""

import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from neural_plasticity.cli import app, env
from neural_plasticity.environment import survey

FOUND = {
    "device": "cuda",
    "dtype": "float32",
    "gpu_names": ["Card A", "Card [red]B[/red]"],
    "gpu_memory_bytes": [80 * 2**30, 24 * 2**30],
    "threads": 8,
    "matmul_path": "torch",
    "platform": "A-platform-with-a-name-that-is-longer-than-any-terminal-would-ever-be-" + "x" * 60,
    "is_apple_silicon": False,
    "is_colab": True,
    "is_notebook": False,
    "browser": False,
    "python_version": "3.11.7",
    "cores": 8,
    "memory_total_bytes": 16 * 2**30,
    "memory_available_bytes": 5 * 2**30,
    "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
    "extras": {"wandb": True, "ray": False},
}


@pytest.fixture
def found(monkeypatch):
    monkeypatch.setattr(survey, "get_environment_info", lambda: FOUND)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["env", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_json_is_all_that_the_flag_prints(found):
    assert json.loads(run("--json")) == FOUND


def test_off_a_terminal_every_value_stands_whole_on_a_plain_line(found):
    lines = run().splitlines()
    values = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines if line and not line.startswith("gpu"))
    assert values["platform"] == FOUND["platform"]
    assert values["memory"] == "16.0 GiB, 5.0 GiB available"
    assert values["Colab"] == "yes"
    assert values["transformers"] == "5.23.0"
    assert values["wandb"] == "installed"
    assert values["ray"] == 'not installed; pip install "neural-plasticity[ray]"'
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("gpu")] == [
        "Card A, 80.0 GiB",
        "Card [red]B[/red], 24.0 GiB",
    ]
    assert all(line.isascii() and line == line.rstrip() for line in lines)


def test_on_a_terminal_a_table_folds_long_values_and_cuts_none(found, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "50")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", run()).splitlines()
    assert max(map(len, lines)) <= 50
    assert "…" not in "".join(lines)
    text = "".join(line.split("│")[2].strip() for line in lines if "│" in line)
    assert FOUND["platform"] in text
    assert "Card [red]B[/red], 24.0 GiB" in text


def test_without_a_gpu_the_line_says_none(monkeypatch):
    monkeypatch.setattr(survey, "get_environment_info", lambda: {**FOUND, "gpu_names": [], "gpu_memory_bytes": []})
    assert re.search(r"^gpu +none$", run(), re.MULTILINE)


def test_the_command_tells_of_this_machine_and_prints_nothing_else():
    command = [sys.executable, "-m", "neural_plasticity", "env", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(result.stdout)
    assert told["python_version"] == ".".join(map(str, sys.version_info[:3]))
    assert result.stderr == ""


def test_help_has_an_example_and_loads_nothing_heavy():
    code = (
        "import sys\nfrom neural_plasticity.cli import app\n"
        "try:\n    app(['env', '--help'])\n"
        "finally:\n    print({'torch', 'numpy', 'psutil', 'rich', 'transformers'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "plasticity env --json > environment.json" in output
    assert output.endswith("set()\n")


def test_the_module_offers_one_command():
    assert len(env.app.registered_commands) == 1
