"""What somebody in front of a run sees."""

import io

import pytest
from rich.console import Console as Terminal

from neural_plasticity.record import Evaluation, Failed, Metrics, PhaseStarted, Sample
from neural_plasticity.trackers.console import Console, visible
from tests.record.examples import EXAMPLES


def shown(*events, terminal: bool = False) -> str:
    screen = io.StringIO()
    console = Console(Terminal(file=screen, force_terminal=terminal, width=100, _environ={}))
    for event in events:
        console.write(event)
    console.close()
    return screen.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_every_kind_of_event_can_be_shown(terminal):
    assert shown(*EXAMPLES.values(), terminal=terminal)


def test_off_a_terminal_progress_is_a_handful_of_plain_lines():
    steps = [Metrics(step=step, values={"eval_loss": 2.5}) for step in range(1, 101)]
    text = shown(PhaseStarted(phase="evaluation", steps=100), *steps)
    assert text.splitlines() == ["evaluation …", *(f"evaluation {step}/100  eval_loss 2.5" for step in (25, 50, 75, 100))]
    assert "\x1b" not in text


def test_on_a_terminal_there_is_a_bar():
    text = shown(PhaseStarted(phase="evaluation", steps=4), Metrics(step=3, values={"eval_loss": 2.5}), terminal=True)
    assert "━" in text


def test_numbers_are_shown_as_they_are():
    assert "loss_nats 2.302  tokens 66,702" in shown(Evaluation(stage="baseline", values={"loss_nats": 2.3021, "tokens": 66702.0}))


def test_a_model_cannot_steer_the_terminal():
    hostile = "\x1b[2J\x1b]0;title\x07[bold]markup[/bold] \u202eevil\r"
    for terminal in (False, True):
        text = shown(Sample(prompt=hostile, text=hostile, seed=0, stage="a"), Failed(error="E", message=hostile), terminal=terminal)
        assert "[bold]markup[/bold]" in text
        assert not [piece for piece in ("\x1b[2J", "\x1b]0", "\x07", "\u202e", "\r") if piece in text]


def test_ordinary_text_stays_as_it_is():
    assert visible("def f():\n\treturn 'zwölf 🥊'") == "def f():\n\treturn 'zwölf 🥊'"
    assert visible("\x1b[31m\ud800") == "\\x1b[31m\\ud800"


def test_not_a_number_is_shown_too():
    assert "loss nan" in shown(Evaluation(stage="baseline", values={"loss": float("nan"), "perplexity": float("inf")}))
