"""Writing a record under two writers, kills, full and read-only disks, deleted folders and Ctrl-C."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from neural_plasticity.errors import CorruptRecord, NotARun, RecordNotWritable, RunLocked
from neural_plasticity.record import HeadsMeasured, Metrics, Run, Writer
from tests.record.conftest import DESCRIPTION, metrics
from tests.record.test_run import steps

OTHER_WRITER = textwrap.dedent("""
    import sys, time
    from neural_plasticity.record import Metrics, Writer
    writer = Writer(sys.argv[1], {"settings": {}})
    for step in range(int(sys.argv[2])):
        writer.write(Metrics(step=step, values={"loss": 1.0}))
    print("ready", flush=True)
    time.sleep(600)
""")


@pytest.fixture
def other(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has written five events and holds the run."""
    with subprocess.Popen([sys.executable, "-c", OTHER_WRITER, folder, "5"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_a_second_process_is_told_who_writes(other, folder):
    with pytest.raises(RunLocked, match=f"process {other.pid} on"):
        Writer(folder)
    assert steps(Run(folder).entries()) == [0, 1, 2, 3, 4]


def test_a_second_writer_in_the_same_process_is_refused(writer, folder):
    with pytest.raises(RunLocked):
        Writer(folder)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_writer_leaves_its_events_and_no_lock(other, folder, how):
    other.send_signal(how)
    other.wait(10)
    with Writer(folder) as writer:
        writer.write(metrics(5))
    assert steps(Run(folder).entries()) == [0, 1, 2, 3, 4, 5]


def test_a_forked_child_does_not_hold_the_run_of_its_dead_parent(folder):
    code = OTHER_WRITER.replace("import sys, time", "import os, sys, time").replace(
        'print("ready"', 'os.fork() and time.sleep(600)\nprint("ready"'
    )  # the child says it, so that it is past the fork when its parent dies
    with subprocess.Popen([sys.executable, "-c", code, folder, "5"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        process.wait(10)
        with Writer(folder) as writer:
            assert writer.write(metrics(5)).seq == 5


def test_a_new_run_does_not_overwrite_one_that_is_there(writer, folder):
    writer.write(metrics(0))
    writer.close()
    with pytest.raises(RecordNotWritable, match=r"already holds run\.json"):
        Writer(folder, DESCRIPTION)
    assert steps(Run(folder).entries()) == [0]
    Writer(folder).close()  # and the refused one left no lock


def test_going_on_needs_a_run(tmp_path):
    with pytest.raises(NotARun, match="does not exist"):
        Writer(tmp_path / "nowhere")
    with pytest.raises(NotARun, match="holds no"):
        Writer(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fate", ["deleted", "moved", "replaced"])
def test_a_folder_that_goes_away_is_noticed_at_the_next_event(writer, folder, fate):
    writer.write(metrics(0))
    if fate == "moved":
        folder.rename(folder.with_name("elsewhere"))
    else:
        shutil.rmtree(folder)
    if fate == "replaced":
        Writer(folder, DESCRIPTION).close()
    with pytest.raises(RecordNotWritable, match="deleted, moved or replaced"):
        writer.write(metrics(1))


def test_a_closed_writer_says_so(writer, folder):
    writer.close()
    writer.close()
    with pytest.raises(RecordNotWritable, match="closed"):
        writer.write(metrics(0))


def test_a_description_can_grow(writer, folder):
    writer.describe(anatomy={"sites": 4})
    assert Run(folder).description["anatomy"] == {"sites": 4}
    assert Run(folder).description["settings"] == {"model": "tiny"}


@pytest.mark.parametrize("moment", ["half a line", "a whole line"])
def test_ctrl_c_in_the_middle_of_a_write_leaves_whole_events(writer, folder, monkeypatch, moment):
    writer.write(metrics(0))
    write = os.write

    def interrupted(file: int, line: bytes) -> int:
        write(file, line[: 9 if moment == "half a line" else None])
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.write(metrics(1))
    monkeypatch.undo()
    writer.write(metrics(2))
    assert steps(Run(folder).entries()) == [0, 2]


def test_ctrl_c_just_behind_a_write_keeps_the_numbers_right(writer, folder):
    writer.write(metrics(0))
    before = writer._end
    writer.write(metrics(1))
    writer._end = before  # as if the interrupt had struck between the write and the note of it
    writer.write(metrics(2))
    assert steps(Run(folder).entries()) == [0, 1, 2]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root (see QUARANTINES.md)")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_loses_nothing_and_the_run_goes_on_once_there_is_room(small_disk):
    ballast = small_disk / "ballast"
    with Writer(small_disk / "run", DESCRIPTION) as writer:
        for step in range(100):
            writer.write(metrics(step))
        ballast.write_bytes(bytes(220_000))
        written = 100
        with pytest.raises(RecordNotWritable, match="disk is full; free some space"):
            for step in range(100, 10_000):
                writer.write(metrics(step))
                written += 1
        assert steps(Run(writer.folder).entries()) == list(range(written))
        with pytest.raises(RecordNotWritable, match="disk is full"):
            writer.write(HeadsMeasured(signals=("a",)), {"a": np.zeros((200, 200))})
        assert not list((writer.folder / "tensors").iterdir())
        ballast.unlink()
        writer.write(metrics(written))
        assert steps(Run(writer.folder).entries()) == list(range(written + 1))


def test_a_full_disk_refuses_a_new_run_in_words(small_disk):
    with pytest.raises(OSError, match="No space"), (small_disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(RecordNotWritable, match="disk is full"):
        Writer(small_disk / "run", DESCRIPTION)


def test_a_read_only_disk_is_named(small_disk):
    Writer(small_disk / "run", DESCRIPTION).close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(RecordNotWritable, match="read-only"):
        Writer(small_disk / "new", DESCRIPTION)
    with pytest.raises(RecordNotWritable, match="read-only"):
        Writer(small_disk / "run")
    assert list(Run(small_disk / "run").entries()) == []


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RecordNotWritable, match="a file stands where"):
        Writer(tmp_path / "run", DESCRIPTION)


def test_a_denied_folder_is_named(tmp_path, monkeypatch):
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)  # root may write anywhere, so the refusal itself is put in
    with pytest.raises(RecordNotWritable, match="permission is denied"):
        Writer(tmp_path / "run", DESCRIPTION)


@pytest.mark.parametrize("values", [{"ok": True}, {"loss": None}, {"loss": "high"}, [1.0]])
def test_what_no_reader_could_read_is_not_written(writer, folder, values):
    writer.write(metrics(0))
    with pytest.raises(TypeError, match="metrics event cannot be recorded"):
        writer.write(Metrics(step=1, values=values), {"a": np.zeros(2)})
    assert not list((folder / "tensors").iterdir())
    writer.write(metrics(1))
    assert steps(Run(folder).entries()) == [0, 1]


def test_numpy_numbers_are_numbers(writer, folder):
    writer.write(Metrics(step=np.int64(3), values={"loss": np.float32(0.5)}))
    assert Run(folder).events(Metrics) == [Metrics(step=3, values={"loss": 0.5})]


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "tensors").mkdir()
    (tmp_path / "tensors" / "00001-of-00002.safetensors").write_bytes(b"theirs")
    with pytest.raises(RecordNotWritable, match="already holds tensors"):
        Writer(tmp_path, DESCRIPTION)
    Writer(tmp_path / "run", DESCRIPTION).close()
    (tmp_path / "run" / "tensors" / "00001-of-00002.safetensors").write_bytes(b"theirs")
    Writer(tmp_path / "run").close()
    assert (tmp_path / "run" / "tensors" / "00001-of-00002.safetensors").read_bytes() == b"theirs"


def test_a_run_with_a_corrupt_line_does_not_go_on_behind_it(writer, folder):
    for step in range(3):
        writer.write(metrics(step))
    writer.close()
    path = folder / "events.jsonl"
    first, _, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"nonsense\n" + third)
    with pytest.raises(CorruptRecord, match="line 2"):
        Writer(folder)
    Writer(folder, keep=1).close()  # cut before the line, it can
    assert steps(Run(folder).entries()) == [0]


def test_a_second_ctrl_c_leaves_whole_events_too(writer, folder, monkeypatch):
    writer.write(metrics(0))
    write = os.write

    def interrupted(file: int, line: bytes) -> int:
        write(file, line[:9])
        raise KeyboardInterrupt

    def also_interrupted(file: int, size: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupted)
    monkeypatch.setattr(os, "ftruncate", also_interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.write(metrics(1))
    monkeypatch.undo()
    writer.write(metrics(2))
    assert steps(Run(folder).entries()) == [0, 2]


def test_threads_take_turns(writer, folder):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda step: writer.write(metrics(step)), range(400)))
    assert sorted(steps(Run(folder).entries())) == list(range(400))


def test_a_forked_child_cannot_write(writer):
    if os.fork() == 0:
        try:
            writer.write(metrics(1))
        except RecordNotWritable:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 7


def test_a_relative_folder_stays_the_same_when_the_process_moves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Writer("run", DESCRIPTION) as writer:
        monkeypatch.chdir("/")
        writer.write(metrics(0))
    assert steps(Run(tmp_path / "run").entries()) == [0]


def test_a_disk_that_fails_at_the_end_is_named_and_the_run_is_let_go(writer, folder, monkeypatch):
    def failing(file: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(RecordNotWritable, match="Input/output error"):
        writer.close()
    monkeypatch.undo()
    Writer(folder).close()
