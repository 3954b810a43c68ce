"""Early stopping, held to a loop over all losses."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.training.stopping import EarlyStopping

LOSSES = st.lists(st.integers(0, 8).map(float), max_size=30)


@given(losses=LOSSES, patience=st.integers(1, 5), least=st.sampled_from([0.0, 1.0, 2.5]))
def test_it_stops_where_so_many_in_a_row_were_no_better(losses, patience, least):
    stopping = EarlyStopping(patience, least)
    best, waited = math.inf, 0
    for loss in losses:
        best, waited = (loss, 0) if loss < best - least else (best, waited + 1)
        assert stopping.add(loss) == (waited >= patience)
        assert stopping.best == best
        assert losses[stopping.best_at - 1] == best


@given(losses=LOSSES, cut=st.integers(0, 30))
def test_it_goes_on_from_its_state_as_if_it_had_never_stopped(losses, cut):
    whole, first, second = EarlyStopping(3), EarlyStopping(3), EarlyStopping(3)
    verdicts = [whole.add(loss) for loss in losses]
    found = [first.add(loss) for loss in losses[:cut]]
    second.restore(json.loads(json.dumps(first.state())))
    assert found + [second.add(loss) for loss in losses[cut:]] == verdicts
    assert second.should_stop == whole.should_stop


def test_what_means_nothing_is_refused():
    for arguments in ((0,), (1.5,), (1, -1.0), (1, math.nan)):
        with pytest.raises(SettingNotUsable):
            EarlyStopping(*arguments)
    with pytest.raises(SettingNotUsable, match="nan"):
        EarlyStopping(1).add(math.nan)
