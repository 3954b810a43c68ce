"""`plasticity run`, `resume` and `runs`, within this process: what is given reaches its setting, what is printed can be read."""

import json
import sys

import pytest
from typer.testing import CliRunner

from neural_plasticity import launch
from neural_plasticity.cli import app, main
from neural_plasticity.errors import RunLocked
from neural_plasticity.record import Compared, Failed, Finished, Metrics, PhaseStarted, RunStarted, Writer
from neural_plasticity.settings import Settings
from tests.experiment.runs import Recorder, little, small
from tests.experiment.test_resume import in_step


def plasticity(*arguments):
    """What a command printed, in the process of the test."""
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def place(tiny, tmp_path_factory):
    """A folder with a small model, a text, and settings of which everything is little."""
    folder = tmp_path_factory.mktemp("cli")
    small().save_pretrained(folder / "model")
    tiny.tokenizer.save_pretrained(folder / "model")
    (folder / "a.txt").write_text("def f(x):\n    return x\n" * 100)
    settings = little(
        folder / "runs", model=str(folder / "model"), text=str(folder / "a.txt"), device="cpu", cycles=1, speed_tokens=8
    )
    settings.save(folder / "settings.yaml")
    return folder


@pytest.fixture
def asked(monkeypatch):
    """The settings that a command asks for, in place of a run."""
    found = []

    def keep(settings, **options):
        found.append(settings)
        raise RunLocked("enough")

    monkeypatch.setattr(launch, "run", keep)

    def settings_of(*arguments) -> Settings:
        with pytest.raises(RunLocked):
            plasticity("run", *arguments)
        return found[-1]

    return settings_of


FLAGS = {
    "text": "notes.txt",
    "text_config": "small",
    "text_split": "test",
    "text_column": "body",
    "strategy": "entropy",
    "level": 0.7,
    "cycles": 3,
    "schedule": "cubic",
    "mode": "gate",
    "unit": "kv_group",
    "min_heads": 2,
    "growth": "random",
    "exchange": 0.2,
    "warmup_steps": 7,
    "steps": 8,
    "learning_rate": 0.5,
    "batch_size": 3,
    "accumulation": 4,
    "precision": "bf16",
    "max_length": 64,
    "eval_tokens": 9,
    "measure_tokens": 11,
    "prompt": "class ",
    "seed": 12,
    "device": "cpu",
    "dtype": "float32",
    "out": "elsewhere",
}


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@pytest.mark.parametrize("name", FLAGS)
def test_every_flag_reaches_its_setting_and_no_other(name, asked):
    assert asked(flag(name), FLAGS[name]) == Settings(**{name: FLAGS[name]})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["some/model"], {"model": "some/model"}),
        (["--uniform"], {"uniform": True}),
        (["--no-save-model"], {"save_model": False}),
    ],
)
def test_so_do_the_others(arguments, expected, asked):
    assert asked(*arguments) == Settings(**expected)


def test_no_flag_was_forgotten_here():
    from neural_plasticity.cli.run import app as command

    (made,) = command.registered_commands
    names = set(made.callback.__annotations__) & set(Settings.__dataclass_fields__)
    assert names == {*FLAGS, "model", "uniform", "save_model"}


def test_quick_gives_way_to_a_file_and_a_file_to_what_is_given(asked, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("steps: 30\nmodel: from-file\nlevel: 0.9\nprotect: [[0, 1]]\n")
    quick = asked("--quick")
    assert (quick.steps, quick.warmup_steps) == (20, 20)
    filed = asked("--quick", "--settings", path)
    assert (filed.steps, filed.warmup_steps, filed.model, filed.level, filed.protect) == (30, 20, "from-file", 0.9, ((0, 1),))
    given = asked("given", "--quick", "--settings", path, "--steps", 100, "--level", 0.3)
    assert (given.steps, given.warmup_steps, given.model, given.level) == (100, 20, "given", 0.3)  # also where it is what is usual


def refused(monkeypatch, capsys, *arguments) -> str:
    """The one sentence on stderr of a command that exits with 1."""
    monkeypatch.setattr(sys, "argv", ["plasticity", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    shown = capsys.readouterr()
    assert stop.value.code == 1
    assert shown.out == ""
    assert shown.err.startswith("plasticity: ")
    assert len(shown.err.splitlines()) == 1
    return shown.err


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ("levle: 1", "did you mean level?"),
        ("- 1", "holds a list"),
        ("", "holds nothing"),
        ("a: [", "is not YAML"),
        ("steps: x", "steps"),
    ],
)
def test_a_file_of_no_settings_is_refused(content, seen, tmp_path, monkeypatch, capsys):
    (tmp_path / "settings.yaml").write_text(content)
    assert seen in refused(monkeypatch, capsys, "run", "--settings", tmp_path / "settings.yaml")


def test_refusals_of_runs_are_a_sentence_each(tmp_path, monkeypatch, capsys):
    assert "cannot be read" in refused(monkeypatch, capsys, "run", "--settings", tmp_path / "nowhere")
    assert "taylor" in refused(monkeypatch, capsys, "run", "--strategy", "tailor")
    assert "No strategies to compare" in refused(monkeypatch, capsys, "run", "--compare-strategies", ",")
    assert "is not a run" in refused(monkeypatch, capsys, "resume", tmp_path)
    assert "does not exist" in refused(monkeypatch, capsys, "resume", tmp_path / "nowhere")
    assert "holds no runs" in refused(monkeypatch, capsys, "runs", tmp_path)
    assert "is not a folder" in refused(monkeypatch, capsys, "runs", tmp_path / "nowhere")


def test_a_run_prints_what_it_came_to_and_where_it_lies(place, tmp_path):
    shown = plasticity("run", "--settings", place / "settings.yaml", "--out", tmp_path)
    assert shown.exit_code == 0
    (folder,) = tmp_path.iterdir()
    for seen in (
        "perplexity",
        "heads",
        "parameters",
        "prefill, ms",
        "× as fast (",
        f"recorded in {folder}",
        str(folder / "model"),
    ):
        assert seen in shown.stdout
    assert "fine tuned in cycle 1 against the model after its warm-up, document by document" in shown.stdout
    assert "cycle 1: fine-tuning 4/4  loss" in shown.stderr
    assert "\x1b" not in shown.stdout + shown.stderr


def test_json_is_all_that_is_printed(place, tmp_path):
    shown = plasticity("run", "--settings", place / "settings.yaml", "--out", tmp_path, "--json")
    told = json.loads(shown.stdout)
    assert "fine-tuning" not in shown.stderr
    assert told["run"] == str(next(tmp_path.iterdir()))
    assert told["summary"]["heads"] == 5
    listed = json.loads(plasticity("runs", tmp_path, "--json").stdout)
    assert [row["state"] for row in listed] == ["finished"]


def test_strategies_are_compared_in_a_table(place, tmp_path):
    shown = plasticity("run", "--settings", place / "settings.yaml", "--out", tmp_path, "--compare-strategies", "taylor, random")
    assert [line.split()[2] for line in shown.stdout.splitlines()[1:]] == ["taylor", "random"]
    assert "loss nats" in shown.stdout.splitlines()[0]
    rows = json.loads(
        plasticity(
            *("run", "--settings", place / "settings.yaml", "--out", tmp_path, "--steps", 0, "--json"),
            *("--compare-strategies", "taylor,magnitude"),
        ).stdout
    )
    assert [row["strategy"] for row in rows] == ["taylor", "magnitude"]


def test_a_stopped_run_is_resumed_by_its_folder(place, tmp_path):
    settings = Settings.load(place / "settings.yaml")
    with pytest.raises(KeyboardInterrupt):
        launch.run(Settings(**{**settings.as_dict(), "out": str(tmp_path)}), quiet=True, sinks=[Recorder(in_step(5))])
    (folder,) = tmp_path.iterdir()
    assert "stopped: KeyboardInterrupt" in plasticity("runs", tmp_path).stdout
    shown = plasticity("resume", folder)
    assert shown.exit_code == 0
    assert f"run {folder.name}, going on" in shown.stderr
    assert "pruned 38%" in shown.stderr  # of which it was not told, since that was before the stop
    assert json.loads(plasticity("runs", folder, "--json").stdout)[0]["state"] == "finished"


def made(folder, *events, **description):
    with Writer(folder, description) as writer:
        for event in events:
            writer.write(event)


STARTED = RunStarted(name="a", job="run")


def test_runs_are_listed_whatever_became_of_them(tmp_path):
    settings = {"settings": {"strategy": "taylor", "level": 0.5, "cycles": 1}}
    made(tmp_path / "1", STARTED, Finished(summary={"loss_nats": 2.5, "odd": float("nan")}), **settings)
    made(tmp_path / "2", STARTED, Finished(summary={"loss_nats": 1.5}), **settings)
    made(tmp_path / "3", STARTED, PhaseStarted(phase="warm-up"), **settings)
    made(tmp_path / "4", STARTED, Failed(error="Diverged", message="x"), **settings)
    made(tmp_path / "5")
    made(tmp_path / "6", STARTED, Finished())
    (tmp_path / "6" / "run.json").write_text("{")
    made(tmp_path / "7", STARTED, Finished())
    (tmp_path / "7" / "events.jsonl").write_text("nonsense\n")
    made(tmp_path / "[bold]\x1b[2J", STARTED)
    with Writer(tmp_path / "live", settings) as writer:
        writer.write(STARTED)
        writer.write(PhaseStarted(phase="fine-tuning"))
        rows = json.loads(plasticity("runs", tmp_path, "--json").stdout)
        shown = plasticity("runs", tmp_path, "--sort", "loss_nats").stdout
    states = [row["state"] for row in rows]
    assert states[:5] == ["finished", "finished", "in warm-up", "stopped: Diverged", "begun"]
    assert [state[:11] for state in states[5:7]] == ["unreadable:"] * 2
    assert states[-1] == "in fine-tuning"
    assert [line.split()[0] for line in shown.splitlines()[1:3]] == ["2", "1"]
    assert "[bold]\\x1b[2J" in shown
    assert "\x1b" not in shown
    for name in ("strategy", "state", "odd"):  # texts, and what some do not have, or have as no number
        assert len(plasticity("runs", tmp_path, "--sort", name).stdout.splitlines()) == len(rows) + 1
    with pytest.raises(Exception, match="No run has a 'luck' to sort by; choose one of"):
        plasticity("runs", tmp_path, "--sort", "luck")


def test_own_metrics_have_rows_of_their_own(tmp_path):
    from neural_plasticity.cli._summary import print_summary
    from neural_plasticity.record import Run

    summary = {"loss_nats": 1.0, "loss_nats_before": 2.0, "accuracy": 0.75, "accuracy_before": 0.5, "parameter_bytes": 1}
    compared = Compared(before="baseline", after="warm", values={"documents": 1, "mean_difference": -1.0})
    made(tmp_path / "a", STARTED, Metrics(step=1, values={}), compared, Finished(summary=summary))
    runner = CliRunner()
    with runner.isolation() as (out, *_):
        print_summary(Run(tmp_path / "a"), as_json=False)
        shown = out.getvalue().decode()
    assert ["accuracy", "0.5", "0.75", "+50.0%"] in [line.split() for line in shown.splitlines()]
    assert "parameter bytes" not in shown
