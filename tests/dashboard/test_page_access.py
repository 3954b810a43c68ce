"""Whoever looks at the page, and however: names, headings, tables, contrast, focus, narrow and wide screens."""

from pathlib import Path

import pytest

from neural_plasticity.dashboard.report import report
from tests.dashboard.browsing import VIEWS, visiting
from tests.dashboard.stories import told

HERE = Path(__file__).parent
CHECKS = (HERE / "access.js").read_text()
CONTRAST = (HERE / "contrast.js").read_text()
STEP = """() => {
  const now = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(now);
  return [now === document.body, now.outerHTML.slice(0, 140), outlineStyle, parseFloat(outlineWidth), now.offsetWidth > 1];
}"""


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    path = report([told(root / "one", grows=True), told(root / "two", mode="gate")], root / "r.html")
    with visiting(path.as_uri()) as visit:
        yield visit


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_can_be_told_read_and_aimed_at(visit, scheme):
    visit.page.emulate_media(color_scheme=scheme)
    for view in VIEWS:
        page = visit.see(f"view={view}&head={'' if view == 'compare' else '3.4'}&cycle=2")
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        visit.settle()
        assert page.evaluate(CHECKS) == [], view
        texts, weak = page.evaluate(CONTRAST)
        assert texts > 20
        assert weak == [], view
    visit.page.emulate_media(color_scheme="light")


def test_no_view_is_wider_than_a_telephone(visit):
    visit.page.set_viewport_size({"width": 360, "height": 740})
    for view in VIEWS:
        page = visit.see(f"view={view}")
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, view
    page = visit.see("view=analysis&head=1.1")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert page.locator("#life").bounding_box()["height"] < 0.6 * 740 + 5
    visit.page.set_viewport_size({"width": 1280, "height": 800})


def test_a_very_wide_screen_is_used_and_lines_stay_readable(visit):
    visit.page.set_viewport_size({"width": 3840, "height": 2160})
    page = visit.see("view=overview")
    assert page.evaluate("parseFloat(getComputedStyle(document.documentElement).fontSize)") >= 18
    assert page.locator("main").bounding_box()["width"] > 1800
    visit.page.set_viewport_size({"width": 1280, "height": 800})


def test_the_tab_key_reaches_everything_and_shows_where_it_is(visit):
    page = visit.see("view=analysis&cycle=1")
    page.evaluate("document.activeElement.blur()")
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        is_body, html, style, width, shown = page.evaluate(STEP)
        if is_body:
            break
        seen.append(html)
        assert style != "none", html
        assert width >= 2, html
        assert shown, html
    everything = " ".join(seen)
    for part in ("skip to the content", 'type="range"', "play", 'role="radio"', 'role="gridcell"', 'type="search"', "as CSV"):
        assert part in everything, part
    assert sum('role="gridcell"' in each for each in seen) == 1  # a map is one stop; the arrows walk inside it


def test_a_choice_of_signals_is_walked_with_the_arrow_keys(visit):
    page = visit.see("view=analysis&cycle=1")
    page.locator(".signal[aria-checked=true]").focus()
    before = page.locator(".signal[aria-checked=true]").inner_text()
    page.keyboard.press("ArrowRight")
    visit.settle()
    now = page.locator(".signal[aria-checked=true]")
    assert now.inner_text() != before
    assert now.evaluate("(each) => each === document.activeElement")


def test_a_run_that_goes_on_leaves_focus_scrolling_and_opened_tables_alone(visit):
    page = visit.see("view=analysis&head=3.4&cycle=2")
    page.locator("#p-numbers .scroll").evaluate("(each) => { each.scrollTop = 40; }")
    page.locator("#life summary").first.click()
    page.locator("#p-numbers input").focus()
    for _ in range(3):
        page.evaluate("dispatchEvent(new Event('hashchange'))")  # draws anew, as every event of a run does
        visit.settle()
    assert page.locator("#p-numbers .scroll").evaluate("(each) => each.scrollTop") == 40
    assert page.locator("#life details").first.evaluate("(each) => each.open")
    assert page.evaluate("document.activeElement.type") == "search"


def test_on_paper_everything_is_there_and_controls_are_not(visit):
    page = visit.see("view=pruning")
    page.emulate_media(media="print")
    assert not page.locator("nav.views").is_visible()
    assert page.locator("#p-decisions .scroll").evaluate("(each) => each.clientHeight >= each.scrollHeight - 1")
