"""At what rate each head learned: the map, the line where all learned alike, and the head's own view, against the record."""

import json

import numpy as np
import pytest

from neural_plasticity import record
from neural_plasticity.dashboard.report import report
from neural_plasticity.record import Run, Writer
from tests.dashboard.browsing import visiting
from tests.dashboard.stories import HEADS, LAYERS, Story, description, told

CELLS = """(all) => all.map((each) => [each.dataset.head, each.ariaLabel, each.querySelector("data")?.value ?? null,
  each.querySelector("data")?.dataset.seq ?? null])"""


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    folder = told(tmp_path_factory.mktemp("runs") / "grown", grows=True)
    with visiting(report(folder, folder.parent / "r.html").as_uri()) as visit:
        yield folder, visit


def recorded(folder):
    """The one event that brought rates, and its grid."""
    ((seq, grid),) = [
        (entry.seq, Run(folder).tensors(entry.event)["rates"])
        for entry in Run(folder).entries()
        if isinstance(entry.event, record.PhaseStarted) and entry.event.tensors
    ]
    return seq, grid


def test_the_map_has_every_heads_rate_as_it_was_recorded(grown):
    folder, visit = grown
    seq, grid = recorded(folder)
    cells = visit.see("view=recovery&cycle=2").locator("#map-rates [role=gridcell]").evaluate_all(CELLS)
    assert [each[0] for each in cells] == [f"{layer}.{head}" for layer in range(LAYERS) for head in range(HEADS)]
    for name, spoken, value, source in cells:
        times = grid[tuple(map(int, name.split(".")))]
        if np.isnan(times):
            assert value is None
            assert "not learning" in spoken
        else:
            assert (float(value), int(source)) == (times, seq)
            assert f"learning rate {3e-4 * times:.2g}, {times:.0f}×" in spoken.replace("e-04", "e-4")
    words = " ".join(visit.page.locator("#p-rates .legend").first.inner_text().split())
    assert f"1× is 0.0003 {int((grid == 1).sum())} heads" in words
    assert "3× is 0.0009 1 head" in words


def test_a_cycle_in_which_all_learned_alike_says_so_in_one_line(grown):
    page = grown[1].see("view=recovery&cycle=1")
    assert page.locator("#p-rates p").all_inner_texts() == ["All heads learned at the same rate: 0.0003 at its peak."]
    assert page.locator("#map-rates").count() == 0


def test_a_heads_life_names_its_rate_in_each_cycle(grown):
    _, visit = grown
    said = visit.see("view=recovery&head=0.2").locator("#life .rates li").all_inner_texts()
    assert said == ["cycle 1: 0.0003, as all heads", "cycle 2: 0.0009, 3× the run's rate", "cycle 3: 0.0003, as all heads"]
    said = visit.see("view=recovery&head=1.0").locator("#life .rates li").all_inner_texts()
    assert said[1] == "cycle 2: not learning: it is not in the model"


def test_rates_that_are_gone_are_not_taken_for_equal_ones(tmp_path):
    folder = told(tmp_path / "run", grows=True)
    for line in map(json.loads, (folder / "events.jsonl").read_text().splitlines()):
        if line["kind"] == "phase" and "tensors" in line:
            (folder / "tensors" / line["tensors"]).unlink()
    with visiting(report(folder, tmp_path / "r.html").as_uri()) as visit:
        assert "cannot be read" in visit.see("view=recovery&cycle=2").locator("#p-rates").inner_text()
        assert "cannot be read" in visit.see("view=recovery&cycle=2&head=0.2").locator("#life .rates").inner_text()


def test_a_run_without_a_known_rate_shows_multiples_alone(tmp_path):
    with Writer(tmp_path / "run", description("run", learning_rate=None)) as writer:
        Story(writer, grows=True).whole()
    with visiting(report(tmp_path / "run", tmp_path / "r.html").as_uri()) as visit:
        page = visit.see("view=recovery&cycle=2&head=0.2")
        assert "learning rate 3× the run's" in str(page.locator("#map-rates [data-head='0.2']").get_attribute("aria-label"))
        assert "0.0003" not in page.locator("#p-rates").inner_text()
        assert page.locator("#life .rates li").nth(1).inner_text() == "cycle 2: 3× the run's rate"
