"""Zips of runs: what is a run comes out, and nothing an archive says leads anywhere else."""

import stat
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity.errors import NotARun
from neural_plasticity.record import Run, Writer
from neural_plasticity.record.archive import unpacked
from tests.record.examples import EXAMPLES


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with Writer(tmp_path_factory.mktemp("runs") / "told", {}) as writer:
        for event in EXAMPLES.values():
            arrays = {"taylor": np.arange(6, dtype=np.float32).reshape(2, 3)} if event.kind in ("heads", "attention") else None
            writer.write(event, arrays)
    return Run(writer.folder)


def packed(run, path, root="told/", **more):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in run.folder.rglob("*"):
            if each.is_file():
                archive.write(each, f"{root}{each.relative_to(run.folder)}")
        for name, content in more.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("root", ["", "told/", "deep/er/told/"])
def test_a_packed_run_is_the_run(run, tmp_path, root):
    with unpacked(packed(run, tmp_path / "x y.zip", root)) as folder:
        again = Run(folder)
        assert [entry.event for entry in again.entries()] == [entry.event for entry in run.entries()]
        for entry in run.entries():
            assert again.tensors(entry.event).keys() == run.tensors(entry.event).keys()
        assert folder.name == "x_y"
    assert not folder.exists()


NAMES = st.text(st.sampled_from(list("./\\ax:\x00\n")) | st.characters(codec="utf-8"), min_size=1, max_size=30)


@given(st.lists(NAMES, max_size=5), st.sampled_from(["", "told/", "../", "/etc/", "../../x/"]))
def test_nothing_leaves_the_folder_whatever_the_names(tmp_path_factory, names, root):
    place = tmp_path_factory.mktemp("zips")
    path = place / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in dict.fromkeys([f"{root}run.json", f"{root}events.jsonl", *(f"{root}tensors/{name}" for name in names), *names]):
            archive.writestr(zipfile.ZipInfo(name), '{"schema": 1}')
    with unpacked(path) as folder:
        there = {each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()}
        assert {"run.json", "events.jsonl"} <= there
        assert all(name in ("run.json", "events.jsonl") or name.startswith("tensors/") for name in there)
        assert [each.name for each in folder.parent.iterdir()] == [folder.name]
    assert [each.name for each in place.iterdir()] == ["x.zip"]


def test_links_are_not_followed_and_not_made(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("run.json")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(NotARun, match=r"holds no run\.json"), unpacked(path):
        pass


def test_what_would_fill_the_disk_is_refused_before_anything_is_written(run, tmp_path):
    path = packed(run, tmp_path / "x.zip", **{"told/tensors/bomb.safetensors": bytes(3_000_000)})
    assert path.stat().st_size < 100_000
    with pytest.raises(NotARun, match="more than the 1,000,000"), unpacked(path, most=1_000_000):
        pass


def test_an_archive_that_lies_about_its_size_is_stopped(run, tmp_path):
    path = packed(run, tmp_path / "x.zip", **{"told/tensors/bomb.safetensors": bytes(3_000_000)})
    raw = path.read_bytes()
    true, false = (3_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    assert raw.count(true) == 2
    path.write_bytes(raw.replace(true, false))
    with pytest.raises(NotARun), unpacked(path, most=1_000_000):
        pass


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 torn"])
def test_what_is_no_zip_is_refused(tmp_path, content):
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with pytest.raises(NotARun, match="pack the run folder anew"), unpacked(path):
        pass


def test_a_zip_of_something_else_is_refused(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "")
    with pytest.raises(NotARun, match=r"holds no run\.json but readme\.txt"), unpacked(path):
        pass


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_was_damaged_on_its_way_is_refused(tmp_path, method):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("run.json", '{"schema": 1}')
        archive.writestr("events.jsonl", "".join(f"{number}\n" for number in range(3000)))
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2
    raw[middle - 200 : middle + 200] = bytes(400)
    path.write_bytes(raw)
    with pytest.raises(NotARun, match="pack the run folder anew"), unpacked(path):
        pass


def test_of_two_runs_in_one_zip_none_is_chosen(run, tmp_path):
    path = packed(run, tmp_path / "x.zip", **{"other/run.json": '{"schema": 1}'})
    with pytest.raises(NotARun, match=r"holds 2 runs \(other, told\); pack one of them alone"), unpacked(path):
        pass
    nested = packed(run, tmp_path / "y.zip", **{"told/other/run.json": '{"schema": 1}'})
    with unpacked(nested) as folder:
        assert len(Run(folder).events(type(EXAMPLES["run"]))) == 1
