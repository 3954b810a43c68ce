"""Fifty runs side by side: their numbers, their order, their address, and how little is asked of the server for them."""

import json
import time
from collections import Counter
from urllib.parse import unquote

import pytest

from neural_plasticity.dashboard.report import report
from tests.dashboard.browsing import visiting
from tests.dashboard.stories import HOSTILE, crowd
from tests.dashboard.test_page_access import CHECKS, CONTRAST
from tests.dashboard.test_page_live import opened, serving

ROWS = """(all) => all.map((row) => [row.querySelector("th").innerText.trim(),
  [...row.querySelectorAll("data")].map((each) => [each.dataset.seq ?? each.dataset.rule, Number(each.value)])])"""
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return crowd(tmp_path_factory.mktemp("fifty") / "runs")


def said(folder):
    """What a row of results has to say of a run, from the lines of its record."""
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    kinds = {kind: [line for line in lines if line["kind"] == kind] for kind in ("evaluation", "operation", "comparison")}
    asleep = {tuple(head) for line in kinds["operation"] for head in line["heads"]}
    numbers = [("awake", 24 - len(asleep)), ("heads", 24)]
    judged = kinds["evaluation"]
    numbers += [(str(line["seq"]), line["values"]["perplexity"]) for line in (judged[-1:] + judged[:1])]
    for line in kinds["comparison"]:
        numbers += [
            (str(line["seq"]), line["values"][name]) for name in ("mean_difference", "low", "high") if name in line["values"]
        ]
    if kinds["operation"]:
        last = kinds["operation"][-1]
        numbers.append((str(last["seq"]), last["after"]["parameters"]))
    for line in kinds["comparison"]:
        names = ("prefill_ratio", "decode_ratio")
        numbers += [(str(line["seq"]), line["values"][name]) for name in names if name in line["values"]]
    return [[place, pytest.approx(value)] for place, value in numbers]


def shown(page, count):
    page.locator("#p-results tbody tr").nth(count - 1).wait_for(timeout=30_000)
    return {name.replace("⟨U+202E⟩", "\u202e"): numbers for name, numbers in page.locator("#p-results tbody tr").evaluate_all(ROWS)}


def test_fifty_runs_of_a_report_are_told_rightly_sorted_filtered_and_fit_a_telephone(folders, tmp_path):
    with visiting(report(folders, tmp_path / "r.html").as_uri()) as visit:
        page = visit.see("view=compare")
        assert shown(page, 50) == {folder.name: said(folder) for folder in folders}
        page.locator("#p-results").get_by_role("button", name="perplexity").click()
        visit.settle()
        values = [dict(numbers) for _, numbers in page.locator("#p-results tbody tr").evaluate_all(ROWS)]
        known = [list(each.values())[2] for each in values if len(each) > 3]
        assert known == sorted(known)
        assert page.get_by_label("colours by").locator("option").all_inner_texts() == ["strategy", "mode", "level"]
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(CONTRAST)[1] == []
        assert page.evaluate(CHECKS) == []
        page.set_viewport_size({"width": 360, "height": 740})
        visit.settle()
        assert page.evaluate(WIDER) <= 0
        widths = [
            page.locator(f"#p-results {each}").first.evaluate("(each) => each.offsetWidth") for each in ("tbody th", ".scroll")
        ]
        assert widths[0] < 0.6 * widths[1]  # something stands beside each name
        page.get_by_label("filter runs").fill("stopped early")
        visit.settle()
        assert page.locator("#p-runs li").count() == 1
        page.get_by_role("button", name="none").click()
        visit.settle()
        assert page.locator("#p-results").count() == 0  # also in a report, where an address without names means all


def test_fifty_runs_of_a_server_come_with_two_requests_each_and_no_more(folders):
    with serving(folders[0].parent) as port, visiting(f"http://127.0.0.1:{port}/") as visit:
        page = opened(visit, "view=compare")
        page.locator("#p-runs li").nth(49).wait_for()
        page.get_by_role("button", name="all", exact=True).click()
        assert shown(page, 50) == {folder.name: said(folder) for folder in folders}
        time.sleep(1)
        asked = [unquote(each).partition("/api/runs/")[2] for each in visit.requests if "/api/runs/" in each]
        assert len({each.partition("?")[0] for each in asked if "/events" in each}) == 49  # and the one shown by its stream
        assert [each for each, times in Counter(asked).items() if times > 1] == []  # no page of events twice
        assert len(asked) < 200
        assert len(page.url) < 2000
        again = page.url
        page.goto("about:blank")
        page.goto(again)
        assert HOSTILE in shown(page, 50)  # commas, signs of percent and all


def test_a_run_that_cannot_be_read_is_told_and_asked_for_with_pauses(folders):
    lost = folders[3].name
    with serving(folders[0].parent) as port, visiting(f"http://127.0.0.1:{port}/") as visit:
        visit.page.route(f"**/api/runs/{lost}/events*", lambda route: route.fulfill(status=500, body="broken"))
        page = opened(visit, f"view=compare&runs={','.join(folder.name for folder in folders[:5])}")
        page.locator(".awaited", has_text=f"{lost} cannot be read").wait_for()
        assert len(shown(page, 4)) == 4
        time.sleep(2)
        assert sum(f"{lost}/events" in each for each in visit.requests) == 1
        visit.page.unroute_all()
        assert len(shown(page, 5)) == 5  # some seconds later it is tried again
        visit.complaints.clear()  # the browser tells of the answers that were broken


def test_who_is_no_longer_compared_is_read_no_further(folders):
    with serving(folders[0].parent) as port, visiting(f"http://127.0.0.1:{port}/") as visit:
        names = ",".join(folder.name for folder in folders if folder.name != HOSTILE)
        held = []
        visit.page.route("**/api/runs/*/events*", lambda route: held.append(route))
        page = opened(visit, f"view=compare&runs={names}")
        page.locator(".awaited").wait_for()
        page.wait_for_timeout(300)
        assert len(held) == 4
        page.locator("nav.views a").first.click()
        for route in held:
            route.continue_()
        page.wait_for_timeout(500)
        assert len(held) == 4


def test_two_runs_ticked_at_once_are_both_chosen(folders):
    with serving(folders[0].parent) as port, visiting(f"http://127.0.0.1:{port}/") as visit:
        page = opened(visit, "view=compare")
        page.locator("#p-runs li").nth(49).wait_for()
        page.evaluate("for (const each of [...document.querySelectorAll('#p-runs input[type=checkbox]')].slice(0, 3)) each.click()")
        assert len(shown(page, 3)) == 3
