"""What host and limits tell about a machine: this one, and ones made up in a folder."""

import builtins
import json
import os
import platform
import subprocess
import sys
import tomllib
import types
import webbrowser
from pathlib import Path

import numpy
import psutil
import pytest
import tokenizers

import neural_plasticity
from neural_plasticity.environment import host, limits

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's own files")
GIB = 2**30


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("module", ["environment", "environment.host", "environment.limits"])
def test_importing_the_room_or_its_torch_free_half_loads_no_torch(module):
    heavy = "{'torch', 'transformers', 'numpy', 'matplotlib', 'IPython'} & set(sys.modules)"
    assert run_python(f"import sys, neural_plasticity.{module}; print({heavy})") == "set()"


def test_describing_the_host_loads_no_torch():
    code = "import sys; from neural_plasticity.environment import host; host.describe_host(); host.IS_COLAB; host.IS_APPLE_SILICON"
    assert run_python(f"{code}; print('torch' in sys.modules)") == "False"


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [
        ("Darwin", "arm64", True),
        ("Darwin", "x86_64", False),
        ("Linux", "aarch64", False),
        ("Linux", "arm64", False),
        ("Windows", "ARM64", False),
    ],
)
def test_apple_silicon_is_a_mac_with_an_arm_processor(monkeypatch, system, machine, expected):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert host.is_apple_silicon() is expected
    assert expected is host.IS_APPLE_SILICON


def test_colab_is_known_by_its_module_in_the_kernel_and_by_its_variable_in_a_command(monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    assert host.is_colab() is False
    with monkeypatch.context() as kernel:
        kernel.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
        assert host.IS_COLAB is True
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20260101")
    assert host.IS_COLAB is True


@pytest.mark.parametrize(
    ("shell", "expected"),
    [(types.SimpleNamespace(kernel=object()), True), (types.SimpleNamespace(), False), (None, False)],
    ids=["a kernel's shell", "a terminal's shell", "IPython imported by a script"],
)
def test_a_notebook_is_an_ipython_shell_with_a_kernel(monkeypatch, shell, expected):
    ipython = types.ModuleType("IPython")
    monkeypatch.setattr(ipython, "get_ipython", lambda: shell, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert host.is_notebook() is expected


def test_without_ipython_there_is_no_notebook(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert host.is_notebook() is False


class Window(webbrowser.BackgroundBrowser):
    """A browser that opens a window of its own."""


@pytest.mark.parametrize(
    ("system", "variables", "browser", "expected"),
    [
        ("Linux", {}, Window("firefox"), False),
        ("Linux", {"DISPLAY": ":0"}, Window("firefox"), True),
        ("Linux", {"WAYLAND_DISPLAY": "wayland-0"}, Window("firefox"), True),
        ("Linux", {"DISPLAY": ":0"}, webbrowser.GenericBrowser("w3m"), False),
        ("Linux", {"DISPLAY": ":0"}, None, False),
        ("Linux", {"BROWSER": "/opt/editor/open-at-home.sh"}, webbrowser.GenericBrowser("open-at-home.sh"), True),
        ("Darwin", {}, Window("open"), True),
        ("Darwin", {"SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}, Window("open"), False),
        ("Windows", {}, Window("start"), True),
    ],
)
def test_a_browser_is_there_when_a_page_would_open_in_a_window(monkeypatch, system, variables, browser, expected):
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def get() -> object:
        if browser is None:
            raise webbrowser.Error("could not locate runnable browser")
        return browser

    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(webbrowser, "get", get)
    assert host.has_browser() is expected


@LINUX
def test_a_process_bound_to_one_processor_has_one_core():
    bind = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    assert run_python(f"{bind}; from neural_plasticity.environment.host import available_cores as c; print(c())") == "1"


def groups(folder: Path, monkeypatch: pytest.MonkeyPatch, membership: str, files: dict[str, str]) -> None:
    """A made-up tree of control groups with `files` in it, and this process as a member."""
    (folder / "membership").write_text(membership)
    for name, content in files.items():
        file = folder / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    monkeypatch.setattr(limits, "MEMBERSHIP", folder / "membership")
    monkeypatch.setattr(limits, "GROUPS", folder / "tree")


QUOTAS = {
    "version 2, own group": ("0::/job\n", {"job/cpu.max": "150000 100000\n"}, 1.5),
    "version 2, a parent is tighter": (
        "0::/slice/job\n",
        {"slice/job/cpu.max": "400000 100000\n", "slice/cpu.max": "200000 100000\n"},
        2.0,
    ),
    "version 2, no quota": ("0::/job\n", {"job/cpu.max": "max 100000\n"}, None),
    "version 2, outside the namespace": ("0::/../../job\n", {"cpu.max": "50000 100000\n"}, 0.5),
    "version 1": ("3:cpu,cpuacct:/job\n0::/\n", {"cpu/job/cpu.cfs_quota_us": "300000", "cpu/job/cpu.cfs_period_us": "100000"}, 3.0),
    "version 1, no quota": ("3:cpu:/job\n", {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000"}, None),
    "version 1, the host's path, not the container's": (
        "3:cpu:/docker/0123\n",
        {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"},
        1.0,
    ),
    "another controller's group": ("3:memory:/job\n", {"memory/job/cpu.max": "100000 100000\n"}, None),
    "no groups": ("", {}, None),
}


@pytest.mark.parametrize(("membership", "files", "share"), QUOTAS.values(), ids=QUOTAS)
def test_the_tightest_quota_is_the_share_of_the_processors(monkeypatch, tmp_path, membership, files, share):
    groups(tmp_path, monkeypatch, membership, files)
    assert limits.processor_share() == share


@pytest.mark.parametrize(("quota", "cores"), [("50000", 1), ("100000", 1), ("150000", 2), ("200000", 2), ("9900000", 6)])
def test_cores_are_the_quota_rounded_up_but_never_more_than_the_affinity(monkeypatch, tmp_path, quota, cores):
    groups(tmp_path, monkeypatch, "0::/\n", {"cpu.max": f"{quota} 100000"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert host.available_cores() == cores


def test_without_control_groups_the_cores_are_those_of_the_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "MEMBERSHIP", tmp_path / "nowhere")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert host.available_cores() == psutil.cpu_count()


MEMORIES = {
    "version 2": (
        "0::/job\n",
        {
            "job/memory.max": "1073741824",
            "job/memory.current": "805306368",
            "job/memory.stat": "anon 1\ninactive_file 268435456\n",
        },
        (GIB, GIB // 2),
    ),
    "version 1": (
        "4:memory:/job\n",
        {
            "memory/job/memory.limit_in_bytes": "1073741824",
            "memory/job/memory.usage_in_bytes": "805306368",
            "memory/job/memory.stat": "inactive_file 1\ntotal_inactive_file 0\n",
        },
        (GIB, GIB // 4),
    ),
    "full": ("0::/\n", {"memory.max": "1073741824", "memory.current": "1073745920"}, (GIB, 0)),
}


@pytest.mark.parametrize(("membership", "files", "expected"), MEMORIES.values(), ids=MEMORIES)
def test_memory_is_what_the_control_group_leaves_file_cache_counted_as_free(monkeypatch, tmp_path, membership, files, expected):
    groups(tmp_path, monkeypatch, membership, files)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(total=8 * GIB, available=6 * GIB))
    assert host.memory_bytes() == expected


@pytest.mark.parametrize("limit", ["max", str(9 * GIB)])
def test_a_limit_above_the_machine_changes_nothing(monkeypatch, tmp_path, limit):
    groups(tmp_path, monkeypatch, "0::/\n", {"memory.max": limit, "memory.current": "0"})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(total=8 * GIB, available=6 * GIB))
    assert host.memory_bytes() == (8 * GIB, 6 * GIB)


def test_memory_of_this_machine_is_positive_and_ordered():
    total, available = host.memory_bytes()
    assert 0 < available <= total <= psutil.virtual_memory().total


def test_versions_are_those_the_libraries_tell_themselves():
    versions = host.installed_versions()
    assert versions["numpy"] == numpy.__version__
    assert versions["tokenizers"] == tokenizers.__version__
    assert versions["neural-plasticity"] == neural_plasticity.__version__
    assert set(versions) <= {*host.LIBRARIES, *(name for names in host.EXTRAS.values() for name in names)}


def install(folder: Path, name: str, number: str) -> None:
    (folder / f"{name}-{number}.dist-info").mkdir()
    (folder / f"{name}-{number}.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")


def test_an_extra_is_installed_when_all_it_needs_is_and_is_never_imported(monkeypatch, tmp_path):
    monkeypatch.setattr(host, "EXTRAS", {"one": ("made-up-a",), "two": ("made-up-a", "made-up-b")})
    monkeypatch.syspath_prepend(tmp_path)
    assert host.installed_extras() == {"one": False, "two": False}
    install(tmp_path, "made_up_a", "1.2")
    assert host.installed_extras() == {"one": True, "two": False}
    install(tmp_path, "made_up_b", "3.4")

    def refuse(name: str, *rest: object, **named: object) -> object:
        assert not name.startswith("made_up"), "an extra was imported"
        return original(name, *rest, **named)

    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", refuse)
    assert host.installed_extras() == {"one": True, "two": True}
    assert host.installed_versions()["made-up-b"] == "3.4"


def test_the_optional_parts_are_those_that_pyproject_declares():
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, names in host.EXTRAS.items():
        if extra in declared:
            assert sorted(name.partition(">")[0].partition("[")[0] for name in declared[extra]) == sorted(names)


def test_the_description_survives_json():
    described = host.describe_host()
    assert json.loads(json.dumps(described)) == described
    assert described["python_version"] == ".".join(map(str, sys.version_info[:3]))


def test_an_unknown_name_is_refused_by_name():
    with pytest.raises(AttributeError, match=r"environment\.host' has no attribute 'IS_TOASTER'"):
        host.IS_TOASTER  # noqa: B018
