"""Plugins: what a stranger's module may do as it is imported, and what it may not take."""

from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from neural_plasticity import plugins
from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.plugins import load_plugins
from neural_plasticity.selection.strategies import GROWTH, STRATEGIES, growth_strategy, strategy
from neural_plasticity.signals.base import SIGNALS, signal


@pytest.fixture
def named(tmp_path, monkeypatch):
    """A module with this content under the entry point of this owner; `load` imports it."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(content: str, owner: str) -> None:
        (tmp_path / "strange_plugin.py").write_text(content)
        entry = EntryPoint("strange", "strange_plugin", "group")
        vars(entry)["dist"] = SimpleNamespace(name=owner)
        monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
        load_plugins.__wrapped__("group", "signals")

    return load


@pytest.mark.parametrize("content", ["1 / 0", "import nowhere_to_be_found", "an unknown word", "undefined", "raise ReferenceError"])
def test_a_module_of_a_stranger_that_does_not_load_is_refused_by_name(named, content):
    with pytest.raises(SettingNotUsable, match=r"The signals 'strange' of another-package do not load \(.*\); mend or remove it\."):
        named(content, "another-package")


def test_what_is_wrong_in_our_own_modules_is_shown_as_it_is(named):
    with pytest.raises(ZeroDivisionError):
        named("1 / 0", plugins.OURS)


def test_nobody_takes_the_place_of_a_name_that_is_enrolled():
    def stranger(place):
        """Something else."""

    load_plugins("neural_plasticity.signals", "signals")
    load_plugins("neural_plasticity.strategies", "strategies")
    for enrol, taken in (
        (signal("entropy", unit="nats", needs="attention"), SIGNALS),
        (strategy("taylor", signals=("taylor",), prunes="lowest"), STRATEGIES),
        (growth_strategy(next(iter(GROWTH)), signals=("gradient",), wakes="highest"), GROWTH),
    ):
        before = dict(taken)
        with pytest.raises(SettingNotUsable, match=r"There is a .* already, and .*stranger would take its place; choose another"):
            enrol(stranger)
        assert taken == before
