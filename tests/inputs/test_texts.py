"""Texts by name, and every way in which one can be wrong."""

import json

import pandas
import pytest
from datasets import Dataset

from neural_plasticity.errors import TextNotUsable
from neural_plasticity.inputs.texts import load_text


def refused(text: str, **options: str) -> str:
    with pytest.raises(TextNotUsable) as refusal:
        load_text(str(text), **options)
    message = str(refusal.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def texts_of(documents) -> list[str]:
    return [document.text for document in documents]


def test_the_standard_library_has_source_and_reference_and_two_sides():
    everything, train, held_out = (load_text("stdlib", side) for side in ("all", "train", "held_out"))
    assert len(everything) == len(train) + len(held_out)
    assert {"stdlib/os.py", "reference/lambda"} <= {document.name for document in everything}
    assert not any("test" in document.name.split("/") for document in everything)
    assert sum(len(document.text) for document in held_out) > 300_000


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.rst", "a.py", "a.unknown", "README"])
def test_a_file_is_one_document(tmp_path, name):
    (tmp_path / name).write_text("zwölf Boxkämpfer\n", encoding="utf-8")
    (document,) = load_text(str(tmp_path / name))
    assert (document.name, document.text) == (name, "zwölf Boxkämpfer\n")


def test_a_byte_order_mark_is_not_text(tmp_path):
    (tmp_path / "a.txt").write_text("words", encoding="utf-8-sig")
    assert texts_of(load_text(str(tmp_path / "a.txt"))) == ["words"]


def test_a_folder_gives_its_files_by_name_without_hidden_and_foreign_ones(tmp_path):
    for name in ("b.txt", "a/c.md", ".git/x.txt", "a/__pycache__/y.py", "photo.jpg", "empty.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if name == "empty.txt" else f"text of {name}")
    assert [document.name for document in load_text(str(tmp_path))] == ["a/c.md", "b.txt"]


def test_lines_of_json_are_rows(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "text": "one"}\n\n{"id": 2, "text": "two"}\n{"id": 3}\n"three"\n')
    assert texts_of(load_text(str(path))) == ["one", "two", "three"]
    path.write_text("".join(json.dumps({"id": "x", "body": f"{number}"}) + "\n" for number in range(3)))
    assert texts_of(load_text(str(path))) == ["0", "1", "2"]
    assert texts_of(load_text(str(path), column="id")) == ["x", "x", "x"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_give_their_text_column(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    frame = pandas.DataFrame({"score": [1.5, 2.5, 3.5], "prose": ["one", None, "a, b\nc"]})
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    assert texts_of(load_text(str(path))) == ["one", "a, b\nc"]
    assert "no column 'nope'; it has score, prose" in refused(path, column="nope")


def test_a_csv_loses_nothing(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,label\nNA,1\n"hello, world",2\nnull,3\n')
    assert texts_of(load_text(str(path))) == ["NA", "hello, world", "null"]
    path.write_text("text,label\nhello, world,1\n")
    assert "row 1, has more fields than the header" in refused(path)


def test_a_line_of_json_may_hold_any_character(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one\u2028two\u0085three"}\n', encoding="utf-8")
    assert texts_of(load_text(str(path))) == ["one\u2028two\u0085three"]


@pytest.mark.parametrize("name", ["", "  ", "hub:", "hub:/", "x" * 300, "~nobody-of-this-name/x", "a\0b"])
def test_names_that_name_nothing_are_refused(name):
    refused(name)


def test_a_table_with_several_texts_asks_for_the_column(tmp_path):
    path = tmp_path / "a.csv"
    pandas.DataFrame({"question": ["q"], "answer": ["a"]}).to_csv(path, index=False)
    assert "question, answer" in refused(path)
    assert texts_of(load_text(str(path), column="answer")) == ["a"]


def test_a_single_file_has_a_held_out_side(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("".join(f"line {number}\n" for number in range(100)))
    train, held_out = load_text(str(path), "train"), load_text(str(path), "held_out")
    assert train[0].text + held_out[0].text == path.read_text()


def test_what_is_not_there_is_named(tmp_path):
    assert "does not exist" in refused("./nowhere")
    assert "does not exist" in refused(tmp_path / "nowhere.txt")
    assert "does not exist" in refused("notes.txt")


def test_empty_and_blank_texts_are_named(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "blank.txt").write_text(" \n\n")
    (tmp_path / "rows.jsonl").write_text('{"text": ""}\n')
    assert "0 bytes" in refused(tmp_path / "empty.txt")
    assert "is empty" in refused(tmp_path / "blank.txt")
    assert "is empty" in refused(tmp_path / "rows.jsonl")
    (tmp_path / "folder").mkdir()
    assert "no files" in refused(tmp_path / "folder")


def test_binary_and_wrongly_encoded_files_say_where_and_how_to_mend(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc\0def")
    assert "zero byte at position 3" in refused(path)
    path.write_bytes("Müller".encode("latin-1"))
    assert "0xfc at position 1" in refused(path)
    path.write_text("words", encoding="utf-16")
    assert "UTF-16" in refused(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", b'{"text": "one"}\n{"text": \n'), ("a.csv", b'a,"b\n1'), ("a.csv", b"\n\n"), ("a.parquet", b"PAR1 no PAR1")],
)
def test_broken_tables_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert name in refused(tmp_path / name)


def test_a_folder_without_text_lists_what_it_has(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert ".jpg" in refused(tmp_path)


def test_a_dataset_that_cannot_be_reached_is_refused_in_one_sentence():
    assert "as a dataset of the hub" in refused("nobody/nothing")


@pytest.fixture
def dataset(tmp_path):
    """A dataset as `load_dataset` finds one: a folder with a file for each split."""
    for split in ("train", "test"):
        Dataset.from_dict({"text": [f"{split} {number}" for number in range(30)]}).to_parquet(tmp_path / f"{split}.parquet")
    return f"hub:{tmp_path}"


def test_a_datasets_own_held_out_split_is_used(dataset):
    assert texts_of(load_text(dataset, "train"))[:2] == ["train 0", "train 1"]
    assert texts_of(load_text(dataset, "held_out"))[:2] == ["test 0", "test 1"]
    assert texts_of(load_text(dataset, hub_split="train[:3]")) == ["train 0", "train 1", "train 2"]
    sides = [texts_of(load_text(dataset, side, hub_split="train")) for side in ("train", "held_out")]
    assert not set(sides[0]) & set(sides[1])


def test_a_dataset_without_one_is_split_by_us(tmp_path):
    Dataset.from_dict({"text": [f"row {number}" for number in range(200)]}).to_parquet(tmp_path / "train.parquet")
    train, held_out = (texts_of(load_text(f"hub:{tmp_path}", side)) for side in ("train", "held_out"))
    assert len(train) + len(held_out) == 200
    assert 5 <= len(held_out) <= 40


def test_a_wrong_split_or_config_is_refused(dataset):
    assert "nonsense" in refused(dataset, hub_split="nonsense")
    assert "config" in refused(dataset, config="nonsense")
