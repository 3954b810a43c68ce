"""What somebody in front of a run sees."""

import io
import re

import numpy as np
import pytest
from rich.console import Console as Terminal

from neural_plasticity.heads import HeadId, HeadState
from neural_plasticity.record import (
    Checkpoint,
    Compared,
    Evaluation,
    Failed,
    HeadsMeasured,
    Metrics,
    Operation,
    PhaseStarted,
    Run,
    RunStarted,
    Sample,
    Writer,
)
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
    assert text.splitlines() == ["evaluation …", *(f"evaluation {step}/100  held-out loss 2.5" for step in (25, 50, 75, 100))]
    assert "\x1b" not in text


def test_on_a_terminal_there_is_a_bar():
    text = shown(PhaseStarted(phase="evaluation", steps=4), Metrics(step=3, values={"eval_loss": 2.5}), terminal=True)
    assert "━" in text


def test_numbers_are_shown_as_they_are():
    found = Evaluation(stage="fine_tuned", values={"loss_nats": 2.3021, "tokens": 66702.0, "my_own": 0.5}, cycle=2)
    assert shown(found) == "fine tuned in cycle 2: loss 2.302, my own 0.5; over 66,702 predictions\n"


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


QUALITY = {
    "documents": 37.0,
    "mean_difference": 0.0123,
    "low": -0.001,
    "high": 0.0256,
    "overall_difference": 0.01,
    "worse_share": 0.6,
}


def test_a_comparison_of_quality_is_a_sentence():
    event = Compared(before="warm", after="fine_tuned 2", values=QUALITY, documents=("a.py", "b.py", "c.py", "d.py"))
    assert shown(event) == (
        "fine tuned in cycle 2 against the model after its warm-up, document by document: the loss is 0.0123 higher "
        "(95 % between -0.0010 and +0.0256) over 37 documents, 60% of them worse; the worst: a.py, b.py, c.py\n"
    )
    alone = Compared(before="baseline", after="warm", values={"documents": 1.0, "mean_difference": -0.5, "worse_share": 0.0})
    assert shown(alone) == ("warm against the model as it came, document by document: the loss is 0.5000 lower over 1 document\n")


def test_a_comparison_of_speed_is_a_sentence_that_doubts_where_it_should():
    values = {"prefill_ratio": 1.25, "prefill_low": 1.2, "prefill_high": 1.3, "tokens": 512.0}
    more = {"decode_ratio": 1.02, "decode_low": 0.97, "decode_high": 1.1}
    assert shown(Compared(before="all heads", after="final", values=values | more)) == (
        "against all heads: reading 512 tokens is 1.25 times as fast (1.20 to 1.30); writing a token is 1.02 times as fast "
        "(0.97 to 1.10, so perhaps no faster)\n"
    )
    assert "one pass is 1.25 times" in shown(Compared(before="all heads", after="final", values=values | {"tokens": 0.0}))


def test_a_comparison_of_another_kind_still_shows_its_numbers():
    assert shown(Compared(before="a", after="b_c", values={"odd_one": 2.5})) == "b c against a: odd one 2.5\n"


def operation(action: str, *heads, before: float = 1000.0, after: float = 900.0) -> Operation:
    sizes = ({"parameters": before}, {"parameters": after})
    return Operation(action=action, mode="remove", heads=tuple(HeadId(*head) for head in heads), before=sizes[0], after=sizes[1])


def measured(console) -> None:
    console.write(HeadsMeasured(signals=("entropy",)), {"entropy": np.array([[1.0, 2.0, 3.0], [1.0, 2.0, np.nan]])})


@pytest.mark.parametrize("terminal", [False, True])
def test_the_map_has_a_row_for_each_layer_and_says_what_its_letters_are(terminal):
    screen = io.StringIO()
    console = Console(Terminal(file=screen, force_terminal=terminal, width=100, _environ={}, no_color=True))
    measured(console)
    console.write(operation("prune", (0, 1), (1, 0)))
    console.write(operation("revive", (1, 0), before=900.0, after=950.0))
    console.write(PhaseStarted(phase="fine-tuning", steps=4, cycle=1))
    console.write(Metrics(step=1, values={"train_loss": 2.5, "learning_rate": 1e-4, "gradient_norm": 1.0}))
    console.close()
    text = plain(screen.getvalue())
    assert text.splitlines()[:8] == [
        "pruned 2 heads by remove: 1,000 → 900 parameters (-10.0%)",
        "heads by layer: o is awake, . was pruned",
        "    0  o . o",
        "    1  . o",
        "woken 1 head by remove: 900 → 950 parameters (+5.6%)",
        "heads by layer: o is awake, . was pruned, + came back",
        "    0  o . o",
        "    1  + o",
    ]
    if not terminal:
        assert text.splitlines()[8:] == [
            "cycle 1: fine-tuning …",
            "cycle 1: fine-tuning 1/4  loss 2.5, rate 0.0001, gradient 1  pruned 20%",
        ]


def test_heads_that_slept_before_the_run_are_in_the_map_and_in_the_count():
    """A signal has no number for them, as if they were not there."""
    states = {HeadId(layer, head): HeadState.ACTIVE for layer in range(2) for head in range(4)}
    states |= {HeadId(0, 0): HeadState.DORMANT, HeadId(0, 1): HeadState.REMOVED, HeadId(1, 3): HeadState.REVIVED}
    screen = io.StringIO()
    console = Console(Terminal(file=screen, width=100, _environ={}))
    console.meet(states)
    assert screen.getvalue() == ""
    grid = np.array([[np.nan, np.nan, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    console.write(HeadsMeasured(signals=("entropy",)), {"entropy": grid})
    console.write(operation("prune", (1, 0), (1, 1)))
    console.write(operation("revive", (0, 0)))
    console.write(PhaseStarted(phase="fine-tuning", steps=4, cycle=1))
    console.write(Metrics(step=1, values={}))
    lines = screen.getvalue().splitlines()
    assert lines[2:4] == ["    0  . . o o", "    1  . . o +"]
    assert lines[6:8] == ["    0  + . o o", "    1  . . o +"]
    assert lines[-1] == "cycle 1: fine-tuning 1/4  pruned 38%"  # three of eight


def plain(text: str) -> str:
    """What is left of a terminal's output without its codes."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_run_that_goes_on_is_shown_with_the_heads_that_were_pruned_before_and_no_others(tmp_path):
    with Writer(tmp_path / "run", {}) as writer:
        writer.write(HeadsMeasured(signals=("entropy",)), {"entropy": np.ones((1, 4))})
        writer.write(operation("prune", (0, 1)))
        writer.write(Checkpoint(folder="checkpoints/1", step=0))
        writer.write(operation("prune", (0, 2)))  # which was lost, and is to be done again
    screen = io.StringIO()
    console = Console(Terminal(file=screen, width=100, _environ={}))
    console.recall(Run(tmp_path / "run"))
    assert screen.getvalue() == ""
    console.write(RunStarted(name="a", job="run", resumed=True))
    console.write(PhaseStarted(phase="fine-tuning", steps=1))
    console.write(Metrics(step=1, values={}))
    assert screen.getvalue().splitlines() == ["run a, going on", "fine-tuning …", "fine-tuning 1/1  pruned 25%"]


def test_a_long_line_is_one_line_where_there_is_no_terminal():
    name = "x" * 150
    text = shown(PhaseStarted(phase=name, steps=1), Metrics(step=1, values={"train_loss": 1.0}))
    assert text.splitlines()[-1] == f"{name} 1/1  loss 1"
