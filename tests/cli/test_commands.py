"""The command line as a new user meets it."""

import io
import json
import re
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from neural_plasticity.cli import SUMMARIES, main
from neural_plasticity.dashboard.example import EXAMPLE

PLASTICITY = [sys.executable, "-m", "neural_plasticity"]


def plasticity(*arguments: str, stdin: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a shell starts it."""
    return subprocess.run([*PLASTICITY, *arguments], input=stdin, capture_output=True, text=True, check=False, cwd=cwd)


def called(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The same within this process, which has imported already what takes seconds."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["plasticity", *arguments])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@pytest.mark.parametrize("command", SUMMARIES)
def test_every_command_explains_itself_with_an_example_and_without_torch(command):
    code = f"""
import sys
from neural_plasticity.cli import app
try:
    app([{command!r}, "--help"])
finally:
    heavy = {{"torch", "transformers", "matplotlib", "numpy", "pandas"}} & set(sys.modules)
    assert not heavy, heavy
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert f"plasticity {command}" in shown.stdout
    assert re.search(r"Examples?:\s+plasticity", shown.stdout)


def test_the_overview_names_every_command_and_comes_at_once():
    times = []
    for _ in range(5):
        began = time.perf_counter()
        shown = plasticity("--help")
        times.append(time.perf_counter() - began)
    assert shown.returncode == 0
    assert all(command in shown.stdout for command in SUMMARIES)
    assert min(times) < 0.3


def test_the_version_is_the_packages():
    import neural_plasticity

    assert plasticity("--version").stdout == f"neural-plasticity {neural_plasticity.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "seen"), [(["nonsense"], "nonsense"), (["env", "--nope"], "--nope"), (["generate", "tiny"], "--prompt")]
)
def test_misuse_exits_with_2_and_names_what_is_wrong(arguments, seen):
    shown = called(*arguments)
    assert shown.returncode == 2
    assert seen in shown.stderr


def test_a_near_miss_is_met_with_a_suggestion():
    assert "demo" in called("deno").stderr


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        (["generate", "./nowhere", "--prompt", "a"], "'./nowhere' does not exist"),
        (["generate", "tiny", "--prompt", "a", "--device", "abacus"], "abacus"),
        (["generate", "tiny", "--prompt", "a", "--dtype", "float99"], "float99"),
        (["generate", "tiny", "--prompt", "a", "--tokens", "5000"], "takes 1024 at most"),
        (["generate", "tiny", "--prompt", "a", "--temperature", "1e-40"], "too small"),
        (["generate", "tiny", "--prompt", "\udcff"], "characters that are none"),
        (["run", "--text", __file__, "--out", "/dev/null/runs"], "a file stands where"),
    ],
)
def test_a_refusal_is_one_sentence_and_exits_with_1(arguments, seen):
    shown = (plasticity if "./nowhere" in arguments else called)(*arguments)
    assert shown.returncode == 1
    assert seen in shown.stderr
    assert shown.stderr.startswith("plasticity: ")
    assert len(shown.stderr.splitlines()) == 1


def test_generate_writes_the_prompt_and_what_follows_the_same_for_the_same_seed():
    first = plasticity("generate", "tiny", "--prompt", "class A:", "--tokens", "8")
    again = called("generate", "tiny", "--prompt", "-", "--tokens", "8", stdin="class A:")
    assert first.returncode == 0
    assert first.stdout.startswith("class A:")
    assert len(first.stdout) > len("class A:\n")
    assert first.stdout == again.stdout
    assert first.stderr == ""


def test_a_refusal_cannot_steer_the_terminal(tmp_path):
    (tmp_path / "\x1b]0;owned\x07.txt").write_text("x")
    refused = called("dissect", str(tmp_path))
    assert refused.returncode == 1
    assert "owned" in refused.stderr
    assert "\x1b" not in refused.stderr


@pytest.mark.parametrize(
    ("command", "closed"),
    [
        *((f"runs {EXAMPLE}", closed) for closed in ("2>&-", ">&-", "<&-", "> /dev/full", "| true", "2>&1 | head -1")),
        *(("generate tiny --prompt a --tokens 30", closed) for closed in ("2>&-", "> /dev/full")),
    ],
)
def test_closed_and_full_outputs_end_without_a_traceback(command, closed, tmp_path):
    line = f"{sys.executable} -m neural_plasticity {command} {closed}"
    shown = subprocess.run(line, shell=True, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "Traceback" not in shown.stderr + shown.stdout


LITTLE = (
    "run tiny --text a.txt --device cpu --max-length 32 --batch-size 4 --cycles 1 --steps 4 --eval-tokens 200 --measure-tokens 64"
)


@pytest.fixture
def text(tmp_path):
    """A folder with a text in it."""
    (tmp_path / "a.txt").write_text("def f(x):\n    return x\n" * 100)
    return tmp_path


def test_a_viewer_that_leaves_does_not_end_the_run(text):
    from neural_plasticity.record import Finished, Run

    line = f"{sys.executable} -m neural_plasticity {LITTLE} --warmup-steps 2 2>&1 | head -1"
    subprocess.run(line, shell=True, capture_output=True, check=False, cwd=text)
    (folder,) = (text / "runs").iterdir()
    assert len(Run(folder).events(Finished)) == 1


def test_ctrl_c_stops_in_one_line_that_says_how_to_go_on_and_that_is_so(text):
    from neural_plasticity.record import Failed, Finished, Run

    with subprocess.Popen(
        [*PLASTICITY, *LITTLE.split(), "--warmup-steps", "3000"],
        cwd=text,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("warm-up"):
                break
        time.sleep(0.5)
        process.send_signal(2)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in rest
    (folder,) = (text / "runs").iterdir()
    assert rest.splitlines()[-2:] == ["stopped in phase warm-up", f"plasticity: stopped; go on with: plasticity resume {folder}"]
    assert isinstance(list(Run(folder).entries())[-1].event, Failed)
    assert not Run(folder).events(Finished)


def test_dissect_shows_a_table_or_all_of_it_as_json():
    shown = called("dissect", "tiny")
    assert shown.returncode == 0
    assert "48 heads at 6 attention sites, 6 of them separable" in shown.stdout
    whole = json.loads(called("dissect", "tiny", "--json").stdout)
    assert whole["sites"][5]["slices"][0]["indices"][7] == "112:128"
