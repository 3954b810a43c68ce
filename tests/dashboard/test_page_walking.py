"""Going about the page: views, cycles, heads, tables, links, themes; by mouse, by keyboard and by address."""

import csv
import io
import json
import re

import pytest

from neural_plasticity.dashboard.report import report
from tests.dashboard.browsing import VIEWS, visiting
from tests.dashboard.stories import CYCLES, HEADS, LAYERS, told

UNMARKED = """(all) => all.map((each) =>
  [...each.childNodes].filter((part) => part.nodeType === 3).map((part) => part.data).join(" "))"""
FOCUSED = "document.activeElement.dataset.head"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return told(tmp_path_factory.mktemp("runs") / "walked", grows=True)


@pytest.fixture(scope="module")
def path(folder):
    return report(folder, folder.parent / "r.html")


@pytest.fixture(scope="module")
def visit(path):
    with visiting(path.as_uri(), accept_downloads=True) as visit:
        yield visit


def lines(folder, kind):
    return [line for line in map(json.loads, (folder / "events.jsonl").read_text().splitlines()) if line["kind"] == kind]


def place(page):
    return dict(part.split("=") for part in page.url.partition("#")[2].split("&") if part)


def kept(visit, locator):
    """The rows of the CSV that this button gives."""
    with visit.page.expect_download() as download:
        locator.click()
    return list(csv.reader(io.StringIO(download.value.path().read_text())))


def states(page, grid):
    return page.evaluate(f"[...document.querySelectorAll('#map-{grid} [data-head]')].map((cell) => cell.dataset.state)")


def test_every_view_opens_by_its_link_and_the_way_back_leads_back(visit):
    page = visit.see("view=overview")
    for name, link in zip(VIEWS, page.locator("nav.views a").all(), strict=True):
        link.click()
        visit.settle()
        assert place(page).get("view", "overview") == name
        assert page.locator("nav.views a[aria-current=page]").inner_text() == link.inner_text()
        assert page.locator("main .panels > *").count() > 0
    page.go_back()
    visit.settle()
    assert place(page)["view"] == "cycles"


def test_the_slider_scrubs_every_map_and_the_address_goes_along(visit, folder):
    page = visit.see("view=pruning")
    asleep = 0
    for cycle in range(CYCLES + 1):
        page.locator("input[type=range]").fill(str(cycle))
        visit.settle()
        done = [line for line in lines(folder, "operation") if line["cycle"] <= cycle]
        asleep = sum(len(line["heads"]) * (1 if line["action"] == "prune" else -1) for line in done)
        assert states(page, "after").count("dormant") == asleep
        assert place(page)["cycle"] == str(cycle)
    assert asleep > 0
    page.get_by_role("button", name="latest").click()
    visit.settle()
    assert "cycle" not in place(page)


def test_play_goes_through_all_cycles_and_stops_at_the_last(visit):
    page = visit.see("view=analysis")
    page.clock.install()
    page.get_by_role("button", name="play the cycles").click()
    seen = []
    for _ in range(CYCLES + 2):
        seen.append(place(page)["cycle"])
        page.clock.run_for(900)
    assert seen == ["0", "1", "2", "3", "3"]
    page.clock.run_for(500)
    assert page.get_by_role("button", name="play the cycles").count() == 1
    page.clock.resume()


def test_a_click_on_a_head_opens_its_life_with_why_and_when(visit, folder):
    page = visit.see("view=analysis&cycle=2")
    page.locator("#map-analysis [data-head='0.2']").click()
    visit.settle()
    life = page.locator("#life")
    text = life.inner_text()
    decisions = [line for line in lines(folder, "decision") if line["head"] == [0, 2]]
    assert [line["action"] for line in decisions] == ["prune", "revive"]
    for line in decisions:
        assert line["reason"] in text
        shown = life.locator(f"data[data-seq='{line['seq']}']")
        assert [each.get_attribute("data-field") for each in shown.all()] == ["score", "rank", "threshold"]
    turns = [
        re.split(": ", each)
        for each in life.locator(".life-line button").evaluate_all("(all) => all.map((each) => each.ariaLabel)")
    ]
    assert turns == [["start", "active"], ["cycle 1", "dormant"], ["cycle 2", "revived"], ["cycle 3", "revived"]]
    assert life.locator(".chart").count() == 3  # signals that were measured more than once: while it was awake
    life.get_by_role("button", name="close").click()
    visit.settle()
    assert page.evaluate(FOCUSED) == "0.2"


def test_attention_of_a_watched_head_follows_the_slider(visit):
    page = visit.see("view=analysis&head=3.4&cycle=1")
    assert page.locator("#life .attention h4").text_content() == "fine tuned, cycle 1"
    page.locator("input[type=range]").fill("3")
    visit.settle()
    assert page.locator("#life .attention h4").text_content() == "fine tuned, cycle 3"
    page.locator("#life .attention canvas").hover(position={"x": 5, "y": 5})
    assert "0 def → 0 def: > 0.99" in page.locator("#life .pointed").inner_text()


def test_arrow_keys_walk_over_the_heads_and_the_life_follows(visit):
    page = visit.see("view=analysis&cycle=1")
    page.locator("#map-analysis [data-head='0.0']").focus()
    for key, head in [
        ("ArrowRight", "0.1"),
        ("ArrowDown", "1.1"),
        ("End", f"1.{HEADS - 1}"),
        ("PageDown", f"{LAYERS - 1}.{HEADS - 1}"),
    ]:
        page.keyboard.press(key)
        assert page.evaluate(FOCUSED) == head
    page.keyboard.press("Control+Home")
    assert page.evaluate(FOCUSED) == "0.0"
    page.keyboard.press("ArrowUp")
    assert page.evaluate(FOCUSED) == "0.0"
    assert page.locator("#life").count() == 0
    page.keyboard.press("Enter")
    visit.settle()
    assert page.locator("#h-life").inner_text().strip() == "Head 0.0"
    page.keyboard.press("ArrowRight")
    visit.settle()
    assert page.locator("#h-life").inner_text().strip() == "Head 0.1"
    assert page.evaluate("document.querySelectorAll('#map-analysis [tabindex=\"0\"]').length") == 1
    page.keyboard.press("Escape")
    visit.settle()
    assert page.locator("#life").count() == 0
    assert page.evaluate(FOCUSED) == "0.1"


def test_the_decisions_are_filtered_sorted_and_kept_as_csv(visit, folder):
    page = visit.see("view=pruning")
    decisions = lines(folder, "decision")
    rows = page.locator("#p-decisions tbody tr")
    assert rows.count() == len(decisions)
    page.get_by_label("filter by head or reason").fill("wake")
    visit.settle()
    assert rows.count() == sum("wake" in line["reason"] for line in decisions)
    page.get_by_label("filter by head or reason").fill("")
    visit.settle()
    for order, reverse in (("ascending", False), ("descending", True)):
        page.locator("#p-decisions th").get_by_role("button", name="score").click()
        visit.settle()
        assert page.locator("#p-decisions th[aria-sort]").get_attribute("aria-sort") == order
        values = [
            float(each)
            for each in page.locator("#p-decisions data[data-field=score]").evaluate_all("(all) => all.map((each) => each.value)")
        ]
        assert values == sorted((line["score"] for line in decisions), reverse=reverse)
    page.get_by_label("action").select_option("revive")
    visit.settle()
    table = kept(visit, page.get_by_label("download decisions as CSV"))
    revived = [line for line in decisions if line["action"] == "revive"]
    assert table[0] == ["seq", "cycle", "layer", "head", "action", "score", "rank", "threshold", "strategy", "reason"]
    assert [[int(row[0]), float(row[5]), row[9]] for row in table[1:]] == [
        [line["seq"], line["score"], line["reason"]] for line in revived
    ]


def test_a_chart_gives_its_numbers_as_csv_and_its_picture_as_png(visit, folder):
    page = visit.see("view=warm-up")
    table = kept(visit, page.get_by_label("download warm-up loss as CSV"))
    losses = [line["values"]["train_loss"] for line in lines(folder, "metrics") if "train_loss" in line["values"]][:12]
    assert [float(row[1]) for row in table[1:]] == losses
    with page.expect_download() as download:
        page.get_by_label("download warm-up loss as PNG").click()
    assert download.value.path().read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    page = visit.see("view=analysis")
    with page.expect_download() as download:
        page.get_by_label("download the map of taylor as PNG").click()
    assert download.value.path().read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_texts_of_two_stages_stand_side_by_side_with_what_differs_marked(visit):
    page = visit.see("view=evaluation&stages=baseline,fine_tuned+2")
    assert page.locator("#p-texts del").count() > 0
    before, after = page.locator("#p-texts pre").all_inner_texts()
    assert before == "def return the sum of a list"
    assert after == "def return a list of 2 sums"
    plain = page.locator("#p-texts pre").evaluate_all(UNMARKED)
    assert plain[0].split() == plain[1].split()  # what is not marked is the same on both sides
    assert {"return", "of"} <= set(plain[0].split())


def test_an_address_brings_a_colleague_to_the_same_sight(path):
    with visiting(path.as_uri()) as visit:
        page = visit.see("view=analysis&signal=entropy&cycle=2&head=1.3&sort=-entropy")
        assert page.locator("#h-map").inner_text().lower() == "map: entropy"
        assert page.locator(".cycle-word").inner_text() == "cycle 2 of 3"
        assert page.locator("#h-life").inner_text().strip() == "Head 1.3"
        assert page.locator("#p-numbers th[aria-sort=descending]").inner_text().startswith("entropy")
        page.goto(f"{visit.address}#view=nowhere&cycle=abc&head=99.99&signal=none&sort=no")
        visit.settle()
        assert page.locator("main .tiles").count() == 1  # what is not there leads to the overview


def test_the_theme_follows_the_system_until_one_is_chosen_and_that_is_remembered(path):
    ground = "getComputedStyle(document.body).backgroundColor"
    with visiting(path.as_uri(), scheme="dark") as visit:
        page = visit.see()
        dark = page.evaluate(ground)
        page.emulate_media(color_scheme="light")
        light = page.evaluate(ground)
        assert dark != light
        page.get_by_label("theme").select_option("dark")
        assert page.evaluate(ground) == dark
        page.reload()
        visit.settle()
        assert page.evaluate(ground) == dark
        page.get_by_label("theme").select_option("system")
        assert page.evaluate(ground) == light


def test_runs_are_chosen_and_compared(tmp_path):
    folders = [
        told(tmp_path / name, seed=seed, mode=mode)
        for seed, (name, mode) in enumerate([("a", "remove"), ("b", "remove"), ("c", "gate")])
    ]
    with visiting(report(folders, tmp_path / "r.html").as_uri()) as visit:
        page = visit.see("view=compare")
        rows = page.locator("#p-results tbody tr")
        assert rows.count() == 3
        page.locator("#p-runs").get_by_label("b").uncheck()
        visit.settle()
        assert rows.count() == 2
        assert place(page)["runs"] == "a,c"
        assert page.locator("#p-different tbody tr th").all_inner_texts() == ["mode"]
        page.get_by_label("run", exact=True).select_option("c")
        visit.settle()
        assert place(page)["run"] == "c"
        page.locator("nav.views a").first.click()
        visit.settle()
        assert "no speed-up" in page.locator(".tiles").inner_text()
