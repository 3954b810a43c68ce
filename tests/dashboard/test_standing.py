"""The report that a run keeps: true, seldom written, and never in the way."""

import logging
import shutil

import pytest

from neural_plasticity.dashboard import standing
from neural_plasticity.dashboard.standing import NAME, SHARE, StandingReport
from neural_plasticity.launch import analyze
from neural_plasticity.record import Failed, Finished, Metrics, Notice, RunStarted, Writer
from neural_plasticity.settings import Settings
from tests.dashboard.test_report import told


class Clock:
    """Time that goes by when it is told to: on the wall, and in computing."""

    def __init__(self, monkeypatch, cost=0.5):
        self.now, self.spent, self.cost, self.reports = 100.0, 0.0, cost, []
        monkeypatch.setattr(standing.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(standing.time, "thread_time", lambda: self.spent)
        monkeypatch.setattr(standing, "report", self.report)

    def report(self, folder, path):
        self.spent += self.cost
        self.reports.append((self.now, folder, path))


@pytest.fixture
def begun(tmp_path):
    """A run that begins, and its report."""
    with Writer(tmp_path / "out" / "name", {"name": "name"}) as writer:
        yield writer, StandingReport(tmp_path / "out")


def tell(writer, sink, event):
    writer.write(event)
    sink.write(event)


def test_it_is_written_at_the_end_whichever_end_that_is(begun):
    writer, sink = begun
    tell(writer, sink, RunStarted(name="name", job="run"))
    assert not (writer.folder / NAME).exists()
    tell(writer, sink, Failed(error="KeyboardInterrupt", message="stopped"))
    (run,) = told((writer.folder / NAME).read_text())
    assert [item["kind"] for item in run["items"]] == ["run", "failed"]
    tell(writer, sink, Finished())
    assert len(told((writer.folder / NAME).read_text())[0]["items"]) == 3


def test_it_takes_a_hundredth_of_the_time_at_most(begun, monkeypatch):
    writer, sink = begun
    clock = Clock(monkeypatch)
    sink = StandingReport(writer.folder.parent)
    sink.write(RunStarted(name="name", job="run"))
    for _ in range(10_000):
        clock.now += 0.1
        sink.write(Metrics(step=1, values={}))
    elapsed = 1000
    assert len(clock.reports) > elapsed * SHARE / clock.cost / 2
    assert sink.seconds == clock.spent <= elapsed * SHARE + clock.cost
    gaps = [later[0] - earlier[0] for earlier, later in zip(clock.reports, clock.reports[1:], strict=False)]
    assert min(gaps) >= clock.cost / SHARE


def test_it_finds_the_folder_of_this_run_among_those_of_the_same_second(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    out = tmp_path / "out"
    for name in ("name", "name-2", "name-3"):
        Writer(out / name, {"name": "name"}).close()
    (out / "name-2" / "run.json").write_text('{"schema": 1, "writer": {"pid": 1}}')
    (out / "name-4").mkdir()
    sink = StandingReport(out)
    sink.write(RunStarted(name="name", job="run"))
    sink.write(Finished())
    assert clock.reports == [(100.0, out / "name-3", out / "name-3" / NAME)]


def test_a_resumed_run_has_its_folder_already(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    sink = StandingReport(tmp_path, tmp_path / "there")
    sink.write(RunStarted(name="elsewhere", job="run", resumed=True))
    sink.write(Finished())
    assert [folder for _, folder, _ in clock.reports] == [tmp_path / "there"]


def test_a_report_that_cannot_be_written_does_not_end_the_run(begun, caplog):
    writer, sink = begun
    tell(writer, sink, RunStarted(name="name", job="run"))
    (writer.folder / NAME).mkdir()
    with caplog.at_level(logging.WARNING):
        tell(writer, sink, Finished())
    assert "the run goes on" in caplog.text
    shutil.rmtree(writer.folder)
    sink.write(Notice(message="after the folder went"))
    sink.write(Finished())


def test_without_a_run_nothing_is_written(tmp_path):
    sink = StandingReport(tmp_path)
    sink.write(RunStarted(name="never begun", job="run"))
    sink.write(Finished())
    assert list(tmp_path.iterdir()) == []


def test_a_real_run_leaves_a_report(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("def f(x):\n    return x\n" * 200)
    settings = Settings(
        text=str(text),
        out=str(tmp_path / "runs"),
        max_length=16,
        batch_size=2,
        measure_tokens=64,
        signals=("entropy",),
        device="cpu",
    )
    _, run = analyze(settings, quiet=True)
    (shown,) = told((run.folder / NAME).read_text())
    assert len(shown["items"]) == len(list(run.entries()))
    assert shown["items"][-1]["kind"] == "finished"
