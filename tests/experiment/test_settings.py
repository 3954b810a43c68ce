"""Settings: plain values, checked once, written and read as YAML."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.selection.strategies import PruningStrategy
from neural_plasticity.settings import Settings
from neural_plasticity.surgery.modes import PruningMode


@given(
    level=st.floats(0, 1),
    learning_rate=st.none() | st.floats(0, 1e3),
    cycles=st.integers(0, 2**62),
    prompt=st.text(st.characters(exclude_categories=["Cs"])),
    signals=st.lists(st.sampled_from(["taylor", "entropy"])),
    protect=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99))),
    device=st.none() | st.just("no"),  # which YAML would take for false
)
def test_settings_come_back_from_yaml_as_they_were(tmp_path_factory, **values):
    path = tmp_path_factory.mktemp("settings") / "settings.yaml"
    chosen = Settings(**values)
    chosen.save(path)
    assert Settings.load(path) == chosen


def test_members_of_enumerations_are_their_names(tmp_path):
    chosen = Settings(mode=PruningMode.REMOVE, strategy=PruningStrategy.ENTROPY)
    assert type(chosen.mode) is type(chosen.strategy) is str
    chosen.save(tmp_path / "settings.yaml")
    assert Settings.load(tmp_path / "settings.yaml") == chosen


@pytest.mark.parametrize(("written", "rate"), [("5e-5", 5e-5), ("5.0e-5", 5e-5), ("1E-3", 1e-3), (".5e1", 5.0), ("0.1", 0.1)])
def test_a_number_is_read_as_everybody_takes_it(written, rate, tmp_path):
    (tmp_path / "settings.yaml").write_text(f"learning_rate: {written}\n")
    assert Settings.load(tmp_path / "settings.yaml").learning_rate == rate


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ("levle: 0.3", "There is no setting 'levle'; did you mean level?"),
        ("1: 2", "There is no setting '1'; there are model"),
        ("- level", "holds a list; write one `name: value` a line"),
        ("0.3", "holds a float"),
        ("", "holds nothing"),
        ("# a comment", "holds nothing"),
        ("level: [0.3", "is not YAML"),
        ("level: !!python/object:os.system ls", "is not YAML"),
        ("[" * 2000, "is not YAML"),
        ("\x00", "is not YAML"),
        ("level: high", "The setting level is 'high'; it must be a number of at least 0 and at most 1"),
        ("level: .nan", "The setting level is nan"),
        ("steps: 1.5", "The setting steps is 1.5; it must be a whole number"),
        ("steps: yes", "The setting steps is True"),
        ("steps:", "The setting steps is None"),
        ("uniform: 1", "The setting uniform is 1; it must be true or false"),
        ("device: 3", "The setting device is 3; it must be a text, or nothing"),
        ("precision: [bf16]", "The setting precision is"),
        ("model: 7", "The setting model is 7; it must be a text."),
        ("signals: taylor", "The setting signals is 'taylor'; it must be a list of names"),
        ("signals: 5", "The setting signals is 5"),
        ("signals: [1]", "The setting signals is"),
        ("protect: [[0.5, 1]]", "The setting protect is"),
        ("protect: all", "The setting protect is 'all'; it must be a list of"),
        ("protect: 3", "The setting protect is 3"),
    ],
)
def test_what_is_no_setting_is_refused_in_a_sentence(content, seen, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(content)
    with pytest.raises(SettingNotUsable) as refusal:
        Settings.load(path)
    assert seen in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_cannot_be_read_or_written_is_refused(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(SettingNotUsable, match="cannot be read"):
            Settings.load(path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(SettingNotUsable, match="cannot be read"):
        Settings.load(tmp_path / "binary")
    with pytest.raises(SettingNotUsable, match="cannot be written"):
        Settings().save(tmp_path / "nowhere" / "settings.yaml")


@pytest.mark.parametrize(
    "wrong",
    [{"max_length": 1}, {"batch_size": 0}, {"batch_size": 2.5}, {"seed": -1}, {"eval_tokens": "many"}, {"checkpoint_every": 0}],
)
def test_numbers_outside_what_they_may_be_are_refused(wrong):
    ((name, _),) = wrong.items()
    with pytest.raises(SettingNotUsable, match=name):
        Settings(**wrong)


def test_every_setting_is_in_the_documentation():
    from pathlib import Path

    told = (Path(__file__).parents[2] / "docs" / "experiment.md").read_text()
    assert [field.name for field in dataclasses.fields(Settings) if f"`{field.name}`" not in told] == []
