"""What is recorded comes back as it was."""

import json
import math
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity.heads import HeadId
from neural_plasticity.record import DecisionMade, Metrics
from neural_plasticity.record.coding import decode, encode
from neural_plasticity.record.events import KINDS
from tests.record.examples import EXAMPLES


def test_every_kind_has_an_example():
    assert set(EXAMPLES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_survives_its_line(kind):
    line = encode(3, 1.5, EXAMPLES[kind])
    seq, time, event = decode(line)
    assert (seq, time) == (3, 1.5)
    assert repr(event) == repr(EXAMPLES[kind])  # repr, since NaN equals nothing
    assert line.count(b"\n") == 1


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_is_strict_json_that_browsers_take(kind):
    json.loads(encode(0, 0.0, EXAMPLES[kind]), parse_constant=refuse)


@given(st.floats(), st.floats(), st.text(), st.integers(0, 10**6), st.integers(0, 10**6))
def test_numbers_and_text_of_any_sort_survive(score, threshold, reason, layer, head):
    event = DecisionMade(
        head=HeadId(layer, head), action="prune", score=score, rank=0, threshold=threshold, reason=reason, strategy="s"
    )
    assert repr(decode(encode(0, 0.0, event))[2]) == repr(event)


def test_not_a_number_stands_as_text_and_comes_back_as_a_number():
    line = encode(0, 0.0, Metrics(step=0, values={"a": math.nan, "b": -math.inf}))
    assert json.loads(line)["values"] == {"a": "NaN", "b": "-Infinity"}
    assert decode(line)[2].values["b"] == -math.inf


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"seq":0,"time":0,"kind":"nonsense"}',
        b'{"seq":0,"time":0,"kind":"metrics"}',
        b'{"seq":0,"time":0,"kind":"metrics","step":true,"values":{}}',
        b'{"seq":0,"time":0,"kind":"metrics","step":"1","values":{}}',
        b'{"seq":0,"time":0,"kind":"metrics","step":1,"values":{"a":"x"}}',
        b'{"seq":0,"time":0,"kind":"metrics","step":1,"values":{"a":true}}',
        b'{"seq":0,"time":0,"kind":"metrics","step":1,"values":[],"extra":1}',
        b'{"seq":0,"time":0,"kind":"operation","action":"a","mode":"b","heads":[[1]]}',
        b'{"seq":0,"time":0,"kind":"operation","action":"a","mode":"b","heads":[5]}',
        b"\xff\xfe",
    ],
)
def test_a_line_that_is_not_ours_is_refused(line):
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode(line)


@pytest.mark.parametrize("kind", KINDS)
def test_events_are_frozen(kind):
    event = EXAMPLES[kind]
    with pytest.raises(AttributeError):
        setattr(event, fields(event)[0].name, None)
