"""What goes wrong around the page: runs that change under it, a library that does not come, events that nobody could have told."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neural_plasticity import record
from neural_plasticity.dashboard.report import report
from neural_plasticity.heads import HeadId
from neural_plasticity.record import Writer
from tests.dashboard.browsing import VIEWS, visiting
from tests.dashboard.stories import DOCUMENTS, Story, description, told
from tests.dashboard.test_page_live import opened, serving, stands, underway

__all__ = ["underway"]  # a fixture
DRAWN = """() => {
  const plot = document.querySelector("#c-perplexities .plot")?.firstElementChild;
  return plot?.data ? [...plot.data[0].x] : null;
}"""
SAFARI = "delete window.requestIdleCallback; delete Window.prototype.requestIdleCallback;"


def perplexities(folder: Path) -> list[float]:
    """Those of the record, stage by stage."""
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [line["values"]["perplexity"] for line in lines if line["kind"] == "evaluation"]


def drawn(page: Any, expected: list[float]) -> None:
    """Wait until the chart draws these."""
    page.wait_for_function(f"(expected) => JSON.stringify(({DRAWN})()) === JSON.stringify(expected)", arg=expected)


def changed(folder: Path, mend: Any) -> None:
    """Write the record again with every event as this makes it; what comes back as None is left out."""
    path = folder / "events.jsonl"
    lines = [mend(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines if line is not None))


def described_anew(folder: Path, changes: Mapping[str, Any]) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(changes)))


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    """Two runs of one shape, whose events differ by their numbers alone."""
    folders = [tmp_path / "runs" / name for name in ("b", "a")]
    for number, folder in enumerate(folders):
        with Writer(folder, description(folder.name)) as writer:
            Story(writer, shift=number / 2).whole()
    return folders


def test_charts_and_their_pictures_are_those_of_the_run_that_was_chosen(pair, tmp_path):
    with visiting(report(pair, tmp_path / "r.html").as_uri(), charts=True, accept_downloads=True) as visit:
        page = visit.see("view=evaluation&run=b")
        drawn(page, perplexities(pair[0]))
        page.get_by_label("run", exact=True).select_option("a")
        with page.expect_download() as download:
            page.get_by_label("download Perplexity as PNG").click()
        assert download.value.path().stat().st_size > 1000
        assert page.evaluate(DRAWN) == perplexities(pair[1])  # the picture waited for them


def test_a_run_that_is_replaced_under_its_name_shows_its_own_numbers_settings_and_heads(pair, tmp_path):
    with serving(tmp_path / "runs") as port, visiting(f"http://127.0.0.1:{port}/", charts=True) as visit:
        page = opened(visit, "view=evaluation&run=a")
        drawn(page, perplexities(pair[1]))
        described_anew(pair[1], {"settings": {"strategy": "gone to another"}, "anatomy": {"sites": [{"layer": 4, "heads": 6}]}})
        changed(pair[0], lambda line: line | {"time": line["time"] + 1})
        (pair[0] / "events.jsonl").replace(pair[1] / "events.jsonl")
        drawn(page, perplexities(pair[1]))
        page.goto(page.url.partition("#")[0] + "#view=overview&run=a")
        page.locator("#p-settings", has_text="gone to another").wait_for()
        assert page.locator("#map-now tbody tr").count() == 5


def test_a_browser_that_never_tells_of_leisure_draws_charts(pair, tmp_path):
    with visiting(report(pair[0], tmp_path / "r.html").as_uri(), charts=True) as visit:
        visit.page.add_init_script(SAFARI)
        page = visit.see("view=evaluation")
        assert page.evaluate("typeof requestIdleCallback") == "undefined"
        drawn(page, perplexities(pair[0]))


def test_a_library_that_did_not_come_is_asked_for_again_after_a_pause(pair, tmp_path):
    asked = []
    with serving(tmp_path / "runs") as port, visiting(f"http://127.0.0.1:{port}/", charts=True) as visit:

        def answer(route: Any) -> None:
            asked.append(route.request.url)
            if len(asked) == 1:
                route.abort()
            else:
                route.continue_()

        visit.page.route("**/plotly.js", answer)
        page = opened(visit, "view=evaluation&run=b")
        plot = page.locator("#c-perplexities .plot")
        plot.get_by_text("cannot be drawn here").wait_for()
        assert len(asked) == 1  # by all charts together
        drawn(page, perplexities(pair[0]))
        assert len(asked) == 2
        assert "cannot be drawn" not in page.locator("#page").inner_text()
        assert plot.get_attribute("data-fault") is None
        visit.complaints.clear()  # the request that was stopped


def test_a_library_that_the_browser_does_not_run_is_told_of_in_words(pair, tmp_path):
    with serving(tmp_path / "runs") as port, visiting(f"http://127.0.0.1:{port}/", charts=True) as visit:
        visit.page.route("**/plotly.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
        page = opened(visit, "view=evaluation&run=b")
        page.locator("[data-fault]").first.wait_for()
        assert "did not run plotly.js" in str(page.locator("[data-fault]").first.get_attribute("data-fault"))


def test_a_record_that_cannot_be_read_says_so_until_it_is_mended(underway):
    folder, writer = underway
    writer.close()
    path = folder / "now" / "events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b"nonsense\n{}\n")
    with serving(folder) as port, visiting(f"http://127.0.0.1:{port}/") as visit:
        visit.page.route("**/stream*", lambda route: route.abort())
        page = opened(visit)
        stands(page, "cannot be read")
        notices = page.locator("#p-notices")
        notices.locator("li", has_text=path.name).first.wait_for()
        path.write_bytes(whole)
        with Writer(folder / "now") as again:
            again.write(record.Notice(message="mended"))
        notices.locator("li", has_text="mended").wait_for()
        page.wait_for_function("() => !document.querySelector('#p-notices').innerText.includes('events.jsonl')")
        visit.complaints.clear()  # the streams that were stopped


def test_a_run_that_stopped_fits_a_telephone(tmp_path):
    with Writer(tmp_path / "run", description("2026-11-21_074057_tiny")) as writer:
        story = Story(writer)
        story.opening()
        writer.write(record.PhaseStarted(phase="regrowth analysis", cycle=12, steps=12345))
        writer.write(record.Metrics(step=12001, values={"eval_loss": 1.0}))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    wrote = json.loads((tmp_path / "run" / "run.json").read_text())["writer"]
    described_anew(tmp_path / "run", {"writer": wrote | {"pid": gone.pid}})
    path = report(tmp_path / "run", tmp_path / "r.html")
    with visiting(path.as_uri()) as visit:
        visit.page.set_viewport_size({"width": 360, "height": 800})
        page = visit.see()
        assert "plasticity resume" in page.locator(".doing").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_metric_whose_name_has_dots_shows_its_number(tmp_path):
    with Writer(tmp_path / "run", description("run")) as writer:
        writer.write(record.RunStarted(name="run", job="run"))
        for stage, hits in (("baseline", 0.5), ("warm", 0.25)):
            writer.write(record.Evaluation(stage=stage, values={"loss_nats": 2.0, "acc.top1": hits}))
        writer.write(record.Finished(summary={"acc.top1": 0.25}))
    with visiting(report(tmp_path / "run", tmp_path / "r.html").as_uri()) as visit:
        tile = visit.see("view=evaluation").locator(".tile", has_text="acc.top1").inner_text()
        assert [word for word in ("0.25", "0.5 before", "−0.25") if word in tile] == ["0.25", "0.5 before", "−0.25"]
        assert "0.25" in visit.see("view=overview").locator("#p-ending").inner_text()


def test_documents_that_were_never_judged_are_left_out_and_counted(tmp_path):
    with visiting(report(told(tmp_path / "run"), tmp_path / "r.html").as_uri()) as visit:
        page = visit.see("view=evaluation")
        assert page.locator("#p-worst tbody tr").count() == len(DOCUMENTS) - 1  # the story never judges one
        assert DOCUMENTS[3] not in page.locator("#p-worst").inner_text()
        assert "1 document that was never judged is left out" in page.locator("#c-documents").inner_text()


def test_time_in_which_a_run_stood_still_belongs_to_no_phase(tmp_path):
    folder = told(tmp_path / "run")
    began = {"at": 0.0}

    def shifted(line: dict[str, Any]) -> dict[str, Any]:
        seq = line["seq"]
        if seq == 5:  # in the middle of the warm-up the run stops, and goes on ten hours later
            return {"seq": 5, "kind": "run", "name": "run", "job": "run", "resumed": True, "time": began["at"] + 36004}
        began["at"] = line["time"] if seq == 0 else began["at"]
        return line | {"time": began["at"] + seq + (36000 - 1 if seq > 5 else 0)}

    changed(folder, shifted)
    last = json.loads((folder / "events.jsonl").read_text().splitlines()[-1])["seq"]
    with visiting(report(folder, tmp_path / "r.html").as_uri()) as visit:
        page = visit.see()
        minutes, seconds = divmod(last - 1, 60)
        assert f"{minutes} min {seconds} s so far" in page.locator("#p-phases .note").inner_text()
        titles = page.locator(".timeline li").evaluate_all("(all) => all.map((each) => each.title)")
        assert titles
        assert not [title for title in titles if " h " in title]


def test_a_speed_that_is_perhaps_none_is_called_so_in_both_views(tmp_path):
    with visiting(report(told(tmp_path / "run"), tmp_path / "r.html").as_uri()) as visit:
        assert "perhaps no faster" in visit.see("view=overview").locator(".tiles").inner_text()
        note = visit.see("view=evaluation").locator("#c-bought .note").inner_text()
        assert note == "measured: reading 1.248× as fast, writing 1.022× as fast (perhaps no faster)"


LEFT_OUT = "Event {} ({}) cannot be shown and is left out"
HEADS = {"action": "prune", "mode": "m", "before": {}, "after": {}, "cycle": 1}
IMPOSSIBLE = [
    {"kind": "phase", "phase": "pruning", "cycle": 1_000_000_000, "steps": 1},
    {"kind": "phase", "phase": "pruning", "cycle": {"toString": 1}},
    {"kind": "operation", "heads": [[1_000_000_000, 1]], **HEADS},
    {"kind": "operation", "heads": [[9_999, 9_999]], **HEADS},
    {"kind": "operation", "heads": [None], **HEADS},
    {"kind": "decision", "head": "0.0", "action": "prune", "cycle": 1},
    {"kind": "metrics", "step": "one", "values": {"train_loss": 1.0}},
    {"kind": "metrics", "step": 1, "values": [1.0]},
    {"kind": "evaluation", "stage": "warm", "values": "none"},
    {"kind": "finished", "summary": 3},
]


def test_events_that_no_run_could_have_told_are_left_out_and_named(tmp_path):
    source = """async (items) => {
      const { emptyState, fold } = await import("/page/fold.js");
      const { lastCycle } = await import("/page/reading.js");
      const sites = [null, { layer: 0, heads: 4e9 }, { layer: 1, heads: 2 }];
      const state = items.reduce(fold, emptyState({ anatomy: { sites } }));
      return [state.layers, lastCycle(state), state.over, state.notices.map((each) => each.message), state.evaluations.length];
    }"""
    items = [{"seq": seq, "time": 1e9 + seq, **event} for seq, event in enumerate(IMPOSSIBLE)]
    items.append({"seq": len(items), "time": 1e300, "kind": "run"})
    items.append({"seq": len(items), "time": 1e9, "kind": "evaluation", "stage": "baseline", "values": {"perplexity": 2.0}})
    with serving(tmp_path) as port, visiting(f"http://127.0.0.1:{port}/") as visit:
        layers, cycle, over, notices, judged = opened(visit).evaluate(source, items)
    assert (layers, cycle, over, judged) == ([0, 2], 0, None, 1)
    assert [each.partition(":")[0] for each in notices] == [LEFT_OUT.format(each["seq"], each["kind"]) for each in items[:-1]]


@pytest.mark.parametrize(
    "changes",
    [
        {"anatomy": {"model": "M", "sites": [None]}},
        {"anatomy": None, "environment": None},
        {"name": {"toString": 1}},
        {"settings": {"strategy": {"toString": 1}, "mode": [None], "learning_rate": {"toString": 1}}},
        {"anatomy": {"sites": [{"layer": 0, "heads": 4_000_000_000}]}},
    ],
    ids=["a site that is none", "no anatomy", "a name that is none", "settings that are none", "too many heads"],
)
def test_a_description_that_is_none_leaves_its_own_run_and_the_others_shown(changes, pair, tmp_path):
    described_anew(pair[0], changes)
    with visiting(report(pair, tmp_path / "r.html").as_uri()) as visit:
        page = visit.see()
        for view in VIEWS:
            visit.see(f"view={view}")
            assert page.locator("#page select").first.locator("option").count() == 2
            assert "stumbled" not in page.locator("main").inner_text()
        assert page.locator("#p-results tbody tr").count() == 2


def test_weights_of_attention_claim_no_digits_that_were_not_kept(tmp_path):
    with Writer(tmp_path / "run", description("run")) as writer:
        story = Story(writer)
        story.judge("baseline", None, 2.0)
        weights = np.array([[1.0, 0.0], [0.3333, 0.6667]], dtype=np.float16)
        writer.write(record.Attention(heads=(HeadId(0, 0),), tokens=("a", "b"), stage="baseline"), {"0.0": weights})
    with visiting(report(tmp_path / "run", tmp_path / "r.html").as_uri()) as visit:
        page = visit.see("view=evaluation")
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        cells = page.locator("#p-attention td data").evaluate_all("(all) => all.map((each) => each.textContent)")
        assert cells == ["> 0.99", "< 0.01", "0.67", "0.33"]
