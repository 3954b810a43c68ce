"""Reading a record, also while it is written, cut back, torn or broken."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_plasticity.errors import CorruptRecord, NewerSchema, NotARun, SettingNotUsable
from neural_plasticity.heads import HeadGrid, HeadId
from neural_plasticity.record import Checkpoint, Cursor, HeadsMeasured, Metrics, Run, Sample, Writer, open_run
from tests.record.conftest import DESCRIPTION, metrics
from tests.record.examples import EXAMPLES


def steps(entries) -> list[int]:
    return [entry.event.step for entry in entries]


def test_what_was_written_is_read_in_order(writer, folder):
    for event in EXAMPLES.values():
        writer.write(event)
    assert repr([entry.event for entry in open_run(folder).entries()]) == repr(list(EXAMPLES.values()))
    assert len(Run(folder).events(Metrics)) == 1


def test_a_cursor_gives_only_what_is_new(writer, folder):
    run, cursor = Run(folder), None
    for first in range(0, 12, 3):
        for step in range(first, first + 3):
            writer.write(metrics(step))
        page = run.read(cursor)
        cursor = Cursor.parse(str(page.cursor))
        assert steps(page.entries) == [first, first + 1, first + 2]
        assert not page.restarted
        assert run.read(cursor).entries == []


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(1, 400), max_size=30))
def test_a_reader_that_comes_at_any_moment_sees_whole_events_once(cuts, tmp_path_factory):
    """The file grows by arbitrary pieces of bytes, as a reader of a live file may find it."""
    folder = tmp_path_factory.mktemp("run")
    with Writer(folder / "whole", DESCRIPTION) as writer:
        for step in range(20):
            writer.write(metrics(step))
    raw = (folder / "whole" / "events.jsonl").read_bytes()
    growing = folder / "growing"
    Writer(growing, DESCRIPTION).close()
    run, cursor, seen, position = Run(growing), None, [], 0
    for cut in [*cuts, len(raw)]:
        with (growing / "events.jsonl").open("ab") as file:
            file.write(raw[position : position + cut])
        position += cut
        page = run.read(cursor)
        assert not page.restarted
        seen += steps(page.entries)
        cursor = page.cursor
    assert seen == list(range(20))


def test_a_torn_tail_is_not_there_and_is_cut_when_the_run_goes_on(writer, folder):
    writer.write(metrics(0))
    writer.close()
    with (folder / "events.jsonl").open("ab") as file:
        file.write(b'{"seq":1,"time":1,"kind":"metr')
    assert steps(Run(folder).entries()) == [0]
    with Writer(folder) as again:
        again.write(metrics(1))
    assert steps(Run(folder).entries()) == [0, 1]


def test_a_reader_whose_past_was_cut_back_starts_again(writer, folder):
    for step in range(6):
        writer.write(metrics(step))
    run = Run(folder)
    cursor = run.read().cursor
    writer.close()
    with Writer(folder, keep=3) as again:
        page = run.read(cursor)
        assert (page.restarted, steps(page.entries)) == (True, [0, 1, 2])
        for step in range(3, 9):  # longer than before, so that the old offset lies inside
            again.write(metrics(step))
    page = run.read(cursor)
    assert (page.restarted, steps(page.entries)) == (True, list(range(9)))


def test_tensors_come_back_and_lie_on_disk_before_their_event(writer, folder):
    grid = HeadGrid.from_layers([[0.5, 1.5], [2.5]], "entropy")
    entry = writer.write(HeadsMeasured(signals=("entropy",)), {"entropy": grid.values})
    read = Run(folder).events(HeadsMeasured)[0]
    assert read == entry.event
    np.testing.assert_array_equal(Run(folder).tensors(read)["entropy"], grid.values.astype(np.float32))
    assert Run(folder).tensors(metrics(0)) == {}


def test_cutting_back_takes_the_tensors_of_what_was_cut(writer, folder):
    for _ in range(3):
        writer.write(HeadsMeasured(signals=("a",)), {"a": np.zeros((2, 2))})
    writer.close()
    Writer(folder, keep=1).close()
    assert [path.name[:14] for path in (folder / "tensors").iterdir()] == ["00000000-heads"]


def test_a_missing_tensor_file_is_named(writer, folder):
    writer.write(HeadsMeasured(signals=("a",)), {"a": np.zeros((2, 2))})
    event = Run(folder).events(HeadsMeasured)[0]
    (folder / "tensors" / event.tensors).write_bytes(b"not safetensors")
    with pytest.raises(CorruptRecord, match="00000000-heads"):
        Run(folder).tensors(event)
    (folder / "tensors" / event.tensors).unlink()
    with pytest.raises(CorruptRecord, match="00000000-heads"):
        Run(folder).tensors(event)


@pytest.mark.parametrize("name", ["../run.json", "/etc/passwd", "a/../../run.json", "."])
def test_a_record_cannot_name_files_outside_its_folder(writer, folder, name):
    with pytest.raises(CorruptRecord):
        Run(folder).tensors(HeadsMeasured(signals=(), tensors=name))


def test_sound_events_are_read_before_a_corrupt_line_is_complained_of(writer, folder):
    for step in range(4):
        writer.write(metrics(step))
    path = folder / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"\x00\xffgarbage\n", *lines[2:]]))
    run = Run(folder)
    page = run.read()
    assert steps(page.entries) == [0, 1]
    with pytest.raises(CorruptRecord, match="line 3"):
        run.read(page.cursor)
    with pytest.raises(CorruptRecord, match="line 3"):
        run.events(Metrics)


def test_events_out_of_their_order_are_noticed(writer, folder):
    for step in range(3):
        writer.write(metrics(step))
    path = folder / "events.jsonl"
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + third + second)
    with pytest.raises(CorruptRecord, match="line 2: it carries the number 2"):
        Run(folder).events(Metrics)


def test_what_is_no_run_is_refused_in_words(tmp_path):
    with pytest.raises(NotARun, match="does not exist"):
        Run(tmp_path / "nowhere")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(NotARun, match=r"photo\.jpg"):
        Run(tmp_path)
    with pytest.raises(NotARun, match="is a file"):
        Run(tmp_path / "photo.jpg")
    (tmp_path / "run.json").write_text('{"name": "something else"}')
    with pytest.raises(NotARun, match="schema"):
        Run(tmp_path)
    (tmp_path / "run.json").write_text('{"schema": 1, ')
    with pytest.raises(CorruptRecord, match=r"run\.json"):
        Run(tmp_path)


def test_a_newer_schema_says_how_to_upgrade(tmp_path):
    (tmp_path / "run.json").write_text('{"schema": 2}')
    with pytest.raises(NewerSchema, match=r"schema 2.*pip install --upgrade"):
        Run(tmp_path)


def test_a_foreign_cursor_is_refused():
    with pytest.raises(SettingNotUsable, match="cursor"):
        Cursor.parse("12; drop table")


def test_a_cursor_beyond_the_file_starts_again(writer, folder):
    writer.write(metrics(0))
    page = Run(folder).read(Cursor(10**9, 5, 1))
    assert (page.restarted, steps(page.entries)) == (True, [0])


def test_a_run_without_events_is_empty(writer, folder):
    assert list(Run(folder).entries()) == []
    (folder / "events.jsonl").unlink()
    assert Run(folder).read().entries == []


def test_the_name_is_the_folder_also_by_a_relative_path(writer, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert Run(Path(os.curdir)).name == "run"


def test_checkpoints_and_heads_are_typed(writer, folder):
    writer.write(EXAMPLES["operation"])
    writer.write(Checkpoint(folder="checkpoints/1", step=1))
    entries = list(Run(folder).entries())
    assert entries[0].event.heads == (HeadId(0, 3),)
    assert isinstance(entries[0].event.heads[0], HeadId)
    assert entries[1].event.step == 1


def test_a_reader_notices_a_cut_behind_which_the_same_was_written_again(writer, folder):
    """Only the times differ then, and the loss further back; the checksum must see the times."""
    long = Sample(prompt="p" * 300, text="t", seed=0, stage="s")
    for event in (metrics(0), metrics(1), long):
        writer.write(event)
    cursor = Run(folder).read().cursor
    writer.close()
    with Writer(folder, keep=1) as again:
        again.write(metrics(2))
        again.write(long)
    page = Run(folder).read(cursor)
    assert page.restarted
    assert page.entries[1].event.step == 2


def test_an_event_from_before_a_cut_does_not_find_anothers_arrays(writer, folder):
    old = writer.write(HeadsMeasured(signals=("a",)), {"a": np.ones((1, 1))}).event
    writer.close()
    with Writer(folder, keep=0) as again:
        again.write(HeadsMeasured(signals=("a",)), {"a": np.zeros((1, 1))})
    with pytest.raises(CorruptRecord):
        Run(folder).tensors(old)


@pytest.mark.parametrize("name", ["run.json", "events.jsonl", "tensors"])
def test_links_pipes_and_folders_in_a_run_are_not_followed(writer, folder, name, tmp_path):
    writer.close()
    target = tmp_path / "elsewhere"
    (folder / name).rename(target)
    (folder / name).symlink_to(target)
    with pytest.raises((CorruptRecord, NotARun), match="do not trust"):
        Writer(folder)
    (folder / name).unlink()
    if name != "tensors":
        os.mkfifo(folder / name)
        with pytest.raises(CorruptRecord, match="no plain file"):
            list(Run(folder).entries())


HOSTILE = [b'{"seq":' + b"9" * 5000 + b"}", b"[" * 100_000, b'{"seq":0,"kind":"phase","phase":"a","time":1' + b"0" * 400 + b"}"]


@pytest.mark.parametrize("line", HOSTILE)
def test_hostile_lines_are_corrupt_and_nothing_worse(writer, folder, line):
    (folder / "events.jsonl").write_bytes(line + b"\n")
    with pytest.raises(CorruptRecord, match="line 1"):
        list(Run(folder).entries())


@pytest.mark.parametrize("cursor", ["99999999999999999999999-1-0", "0-5-00000000", "5-0-0", "-4-1-0", "1-1-" + "f" * 5000])
def test_impossible_cursors_are_refused(cursor):
    with pytest.raises(SettingNotUsable, match="cursor"):
        Cursor.parse(cursor)


@settings(deadline=None)
@given(most=st.integers(1, 400), lengths=st.lists(st.integers(0, 300), min_size=1, max_size=12))
def test_a_record_read_in_blocks_of_any_size_is_the_whole_record(tmp_path_factory, most, lengths):
    folder = tmp_path_factory.mktemp("blocks") / "run"
    with Writer(folder, DESCRIPTION) as writer:
        for length in lengths:
            writer.write(Sample(prompt="", text="x" * length, seed=0, stage="baseline"))
    run, cursor, found, more = Run(folder), None, [], True
    while more:
        page = run.read(cursor, most)
        assert page.entries, "a block moves on, also where a single line is longer"
        assert not page.restarted
        found, cursor, more = found + page.entries, page.cursor, page.more
        if more and cursor.seq == len(lengths):  # the block ended where the file does
            break
    assert found == run.read().entries
    assert run.read(cursor, most) == run.read(cursor)
