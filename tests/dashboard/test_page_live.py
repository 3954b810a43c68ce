"""The page on a run that goes on, behind a real server: it keeps up, comes back, and notices when its past was cut away."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from neural_plasticity import record
from neural_plasticity.dashboard.assembly import PAGE
from neural_plasticity.dashboard.server import claim, server_of
from neural_plasticity.dashboard.shelf import Shelf
from neural_plasticity.record import Writer
from tests.dashboard.browsing import VIEWS, visiting
from tests.dashboard.stories import Story, description, told

TOKEN = "a-token-for-browsers"
SHOWN = """(all) => all.filter((each) => !each.dataset.field.startsWith("arrays")).slice(0, 40)
  .map((each) => [each.dataset.seq, each.dataset.field, each.value])"""


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[int]:
    """A server of these runs with the real page; its port."""
    place = claim(port=port, token=TOKEN)
    ready = threading.Event()
    server = server_of(Shelf(folder), place, started=ready.set, page=PAGE)
    thread = threading.Thread(target=server.run, args=([place.listening],))
    thread.start()
    assert ready.wait(10)
    try:
        yield place.port
    finally:
        server.should_exit = True
        thread.join(5)
        assert not thread.is_alive()


@pytest.fixture
def underway(tmp_path):
    """A run that has begun and goes on, and its writer."""
    with Writer(tmp_path / "runs" / "now", description("now")) as writer:
        Story(writer).opening()
        yield tmp_path / "runs", writer


def opened(visit, place=""):
    """The page as one who has the link opens it."""
    page = visit.page
    page.goto(f"{visit.address}?token={TOKEN}#{place}")
    page.wait_for_selector("html[data-ready]", state="attached")
    return page


def caught_up(page, folder):
    """Wait until the page has the last event of the record."""
    last = json.loads((folder / "events.jsonl").read_bytes().splitlines()[-1])["seq"]
    page.wait_for_selector(f"html[data-ready='{last}']", state="attached")


def stands(page, word):
    page.locator(".standing", has_text=word).wait_for()


def test_numbers_come_as_they_are_written_and_nothing_leaves_the_origin(underway):
    folder, writer = underway
    with serving(folder) as port, visiting(f"http://127.0.0.1:{port}/", charts=True) as visit:
        page = opened(visit, "view=warm-up")
        stands(page, "live")
        assert "token" not in page.url
        writer.write(record.PhaseStarted(phase="fine-tuning", cycle=1, steps=400))
        for step in range(1, 30):
            writer.write(record.Metrics(step=step, values={"train_loss": 2.5 / step}))
        caught_up(page, folder / "now")
        assert "fine-tuning · cycle 1 · 29 of 400" in " ".join(page.locator(".doing").inner_text().split())
        story = Story(writer)
        for cycle in (1, 2, 3):
            story.cycle(cycle)
        caught_up(page, folder / "now")
        for view in VIEWS[:-1]:
            visit.page.goto(page.url.partition("#")[0] + f"#view={view}")
            visit.settle()
            for shown in page.locator("main data[data-seq]").evaluate_all(
                "(all) => all.slice(0, 40).map((each) => [each.dataset.seq, each.dataset.field, each.value])"
            ):
                line = json.loads((folder / "now" / "events.jsonl").read_text().splitlines()[int(shown[0])])
                value = line
                for name in [] if "arrays" in shown[1] else shown[1].split("."):
                    value = value[name]
                assert "arrays" in shown[1] or float(shown[2]) == value
        writer.write(record.Finished(summary={"heads": 3}))
        stands(page, "ended")
        assert {each.split("/")[2] for each in visit.requests if each.startswith("http")} == {f"127.0.0.1:{port}"}


def test_the_page_comes_back_after_the_server_was_killed_and_misses_nothing(underway):
    folder, writer = underway
    with serving(folder) as port:
        visitor = visiting(f"http://127.0.0.1:{port}/")
        visit = visitor.__enter__()
        page = opened(visit, "view=warm-up")
        caught_up(page, folder / "now")
    stands(page, "reconnecting")
    writer.write(record.Notice(message="written while nobody served"))
    with serving(folder, port):
        stands(page, "live")
        caught_up(page, folder / "now")
        lines = len((folder / "now" / "events.jsonl").read_bytes().splitlines())
        assert page.locator(".standing data").get_attribute("value") == str(lines)  # none twice, none left out
        visit.complaints.clear()  # the browser tells of connections that were refused
        visitor.__exit__(None, None, None)


def test_where_streams_do_not_get_through_pages_are_asked_for(underway):
    folder, writer = underway
    with serving(folder) as port, visiting(f"http://127.0.0.1:{port}/") as visit:
        visit.page.route("**/stream*", lambda route: route.abort())
        page = opened(visit)
        stands(page, "live (polling)")
        caught_up(page, folder / "now")
        writer.write(record.Notice(message="by a page"))
        caught_up(page, folder / "now")
        assert "by a page" in page.locator("#p-notices").inner_text()
        visit.complaints.clear()  # the streams that were stopped


def test_a_past_that_was_cut_away_goes_from_the_page_too(underway):
    folder, writer = underway
    with serving(folder) as port, visiting(f"http://127.0.0.1:{port}/") as visit:
        writer.write(record.Notice(message="this will not have been"))
        page = opened(visit)
        caught_up(page, folder / "now")
        assert "this will not have been" in page.locator("#p-notices").inner_text()
        writer.close()
        with Writer(folder / "now", keep=4) as again:
            again.write(record.Notice(message="another way"))
            page.locator("#p-notices", has_text="another way").wait_for()
            caught_up(page, folder / "now")
            assert "this will not have been" not in page.locator("#page").inner_text()
            assert page.locator(".standing data").get_attribute("value") == "5"


def test_runs_that_appear_later_can_be_chosen_and_compared(underway):
    folder, _ = underway
    with serving(folder) as port, visiting(f"http://127.0.0.1:{port}/") as visit:
        page = opened(visit, "view=compare")
        told(folder / "later", mode="mask_forward")
        page.locator("#p-runs").get_by_label("later").check()
        page.locator("#p-runs").get_by_label("now").check()
        rows = page.locator("#p-results tbody tr")
        rows.nth(1).wait_for()
        assert "no speed-up" in page.locator("#p-results tr", has_text="mask_forward").inner_text()
        page.locator("#p-results").get_by_role("button", name="later").click()
        caught_up(page, folder / "later")
        stands(page, "ended")


def test_a_run_whose_process_is_gone_says_so_and_how_it_goes_on(underway):
    folder, writer = underway
    writer.close()
    path = folder / "now" / "run.json"
    told_ = json.loads(path.read_text())
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path.write_text(json.dumps(told_ | {"writer": told_["writer"] | {"pid": gone.pid}}))
    contrast = (Path(__file__).parent / "contrast.js").read_text()
    with serving(folder) as port, visiting(f"http://127.0.0.1:{port}/") as visit:
        page = opened(visit)
        stands(page, "stopped without a word")
        assert "plasticity resume goes on with it" in page.locator(".masthead").inner_text()
        assert "goes on with it from its last checkpoint" in page.locator("#p-notices").inner_text()
        assert page.locator(".doing progress").count() == 0  # nothing moves
        page.goto(page.url.partition("#")[0] + "#view=compare&runs=now")
        page.locator("#p-runs .stands.stopped", has_text="stopped without a word").wait_for()
        grounds = set()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(contrast)[1] == []
            grounds.add(page.locator(".standing").evaluate("(each) => getComputedStyle(each).color"))
        assert len(grounds) == 2
        with Writer(folder / "now", keep=4) as again:  # somebody resumes it
            again.write(record.PhaseStarted(phase="fine-tuning", cycle=1, steps=3))
            stands(page, "live")


def test_cycles_are_played_only_where_they_are_seen(underway):
    folder, writer = underway
    story = Story(writer)
    for cycle in (1, 2, 3):
        story.cycle(cycle)
    with serving(folder) as port, visiting(f"http://127.0.0.1:{port}/") as visit:
        page = opened(visit, "view=analysis")
        caught_up(page, folder / "now")
        page.get_by_role("button", name="play the cycles").click()
        page.locator("nav.views a").first.click()
        visit.settle()
        left = page.url
        page.wait_for_timeout(1000)
        assert page.url == left


def test_a_stranger_without_the_token_sees_no_page(underway):
    with serving(underway[0]) as port, visiting(f"http://127.0.0.1:{port}/") as visit:
        assert visit.page.goto(visit.address).status in (401, 403)
        visit.complaints.clear()


# What the module that folds does, asked of it in the browser, without any page around it.
FOLD = """async ([items, cuts]) => {
  const { emptyState, fold } = await import("/page/fold.js");
  const spread = (_, value) => (value instanceof Map || ArrayBuffer.isView(value) ? [...value] : value);
  const plain = (state) => JSON.stringify(state, spread);
  const whole = items.reduce(fold, emptyState({}));
  let twice = emptyState({});
  for (const cut of cuts) twice = items.slice(0, cut).reduce(fold, twice);
  twice = items.reduce(fold, twice);
  return [plain(whole) === plain(twice), items.length, whole.items];
}"""

FLOOD = """async () => {
  const { emptyState, fold } = await import("/page/fold.js");
  const { pointsOf } = await import("/page/series.js");
  let state = emptyState({});
  state = fold(state, { seq: 0, kind: "phase", phase: "warm-up", steps: 300000, time: 0 });
  const began = performance.now();
  for (let seq = 1; seq <= 300000; seq += 1) {
    const train_loss = seq === 123457 ? -77 : seq === 200001 ? 99 : seq === 250000 ? "NaN" : Math.sin(seq / 1000);
    state = fold(state, { seq, kind: "metrics", step: seq, values: { train_loss }, time: seq });
    if (seq % 30 === 0) state = fold(state, { seq: seq + 0.5, kind: "notice", message: `notice ${seq}`, time: seq });
  }
  const points = pointsOf(state.courses[0].series.train_loss);
  const rising = points.every((point, place) => place === 0 || points[place - 1].x <= point.x);
  const where = (fits) => points.find(fits)?.x;
  return {
    took: performance.now() - began, points: points.length, notices: state.notices.length, thinned: state.thinned.notices,
    rising, low: where(({ y }) => y === -77), high: where(({ y }) => y === 99), broken: where(({ y }) => Number.isNaN(y)),
    last: points.at(-1).x,
  };
}"""


def test_folding_is_the_same_in_one_go_and_in_pieces_that_overlap(underway):
    folder, _ = underway
    told(folder / "whole", grows=True)
    with serving(folder) as port, visiting(f"http://127.0.0.1:{port}/") as visit:
        page = opened(visit)
        items = page.evaluate("fetch('/api/runs/whole/events?cursor=').then((answer) => answer.json()).then((page) => page.items)")
        assert page.evaluate(FOLD, [items, [1, 7, 40, 41, 90]]) == [True, len(items), len(items)]


def test_a_flood_of_metrics_is_kept_small_with_its_extremes_and_breaks(underway):
    with serving(underway[0]) as port, visiting(f"http://127.0.0.1:{port}/") as visit:
        page = opened(visit)
        found = page.evaluate(FLOOD)
    assert (found["low"], found["high"], found["broken"], found["last"]) == (123457, 200001, 250000, 300000)
    assert found["rising"]
    assert found["points"] < 4000
    assert found["notices"] <= 300
    assert found["thinned"] == 10_000 - found["notices"]
    assert found["took"] < 10_000  # milliseconds, on a slow machine that has other things to do


def test_every_event_that_there_is_can_be_shown(tmp_path):
    from tests.record.examples import EXAMPLES

    with Writer(tmp_path / "runs" / "all", description("all")) as writer:
        for event in EXAMPLES.values():
            writer.write(event)
    with serving(tmp_path / "runs") as port, visiting(f"http://127.0.0.1:{port}/") as visit:
        page = opened(visit)
        caught_up(page, tmp_path / "runs" / "all")
        for view in VIEWS:
            page.goto(page.url.partition("#")[0] + f"#view={view}&head=0.3")
            visit.settle()
            assert page.locator("main .panels > *").count() > 0, view
