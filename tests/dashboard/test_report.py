"""The report: one file, with everything inside and nothing that reaches out."""

import base64
import gzip
import hashlib
import html
import json
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import neural_plasticity
from neural_plasticity.dashboard.assembly import PAGE, bound, live_page, one_script, plotly_source, script_json
from neural_plasticity.dashboard.report import page_of, report
from neural_plasticity.errors import NotARun, SettingNotUsable
from neural_plasticity.record import Metrics, Notice, Run, Writer
from tests.dashboard.test_feed import strict


def feed_of(text):
    return strict(re.search(r'<script type="application/json" id="feed">(.*?)</script>', text, re.S)[1])


def told(text):
    return strict(gzip.decompress(base64.b64decode(feed_of(text)["gz"])))["runs"]


def policy_of(text):
    return html.unescape(re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)[1])


def hashed(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_a_report_holds_every_event_of_every_run(runs, tmp_path):
    with Writer(runs / "second", {"name": "second"}) as writer:
        writer.write(Metrics(step=1, values={"loss": 1.0}))
    path = neural_plasticity.report([runs / "first", Run(runs / "second")], tmp_path / "deep" / "r.html")
    first, second = told(path.read_text())
    lines = (runs / "first" / "events.jsonl").read_bytes().splitlines()
    assert [item["seq"] for item in first["items"]] == [json.loads(line)["seq"] for line in lines]
    assert first["described"]["settings"]["level"] == 0.5
    assert second["items"][0]["values"] == {"loss": 1.0}


def test_one_run_by_its_path_is_enough(runs, tmp_path):
    (run,) = told(report(str(runs / "first"), str(tmp_path / "r.html")).read_text())
    assert run["described"]["folder"] == "first"


def test_no_run_and_what_is_none_are_refused(tmp_path):
    with pytest.raises(SettingNotUsable, match="No run is named"):
        report([], tmp_path / "r.html")
    with pytest.raises(NotARun):
        report(tmp_path, tmp_path / "r.html")


def test_the_report_of_a_run_that_goes_on_ends_where_the_run_is(tmp_path):
    with Writer(tmp_path / "run", {}) as writer:
        for step in range(3):
            writer.write(Metrics(step=step, values={}))
            with (tmp_path / "run" / "events.jsonl").open("ab") as file:
                file.write(b'{"seq":9')  # a torn line, as a live writer has it under way
            assert len(told(page_of([Run(tmp_path / "run")]))[0]["items"]) == step + 1


def test_a_corrupt_line_ends_the_run_and_is_told(runs):
    path = runs / "first" / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"\x00\xff not ours\n", *lines[4:]]))
    (run,) = told(page_of([Run(runs / "first")]))
    assert len(run["items"]) == 3
    assert "line 4" in run["described"]["corrupt"]
    assert str(runs) not in run["described"]["corrupt"]


def test_modules_are_bound_in_the_order_of_their_imports_without_imports_and_exports(page):
    assert one_script(page, "main.js") == (
        "const ONE = 1;\nasync function two() {\n  return ONE + 1;\n}\n\nconst three = 3;\nclass Four {}\n\ntwo();\n"
    )


def test_modules_that_go_in_circles_are_refused(page):
    (page / "low.js").write_text('import { three } from "./mid.js";\n')
    with pytest.raises(ValueError, match=r"low\.js -> mid\.js -> low\.js"):
        one_script(page, "low.js")


def test_a_policy_allows_exactly_what_is_inside(page):
    text = bound({"mode": "offline"}, page)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    (script,) = re.findall(r'<script type="module">(.*?)</script>', text, re.S)
    ((proof, packed),) = re.findall(
        r'<script type="application/octet-stream" id="plotly" data-proof="(.*?)">(.*?)</script>', text, re.S
    )
    plotly = gzip.decompress(base64.b64decode(packed)).decode()
    assert plotly == plotly_source()
    assert f"'{proof}'" == hashed(plotly)
    rules = dict(rule.split(" ", 1) for rule in policy_of(text).split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"].split() == [hashed(script), hashed(plotly)]
    assert rules["style-src-elem"].split() == [hashed(style), hashed("")]
    assert "connect-src" not in rules
    assert not re.search(r"https?:|'unsafe-eval'|\*", policy_of(text))
    assert text.index("Content-Security-Policy") < text.index("<style>") < text.index('id="feed"')


@pytest.mark.parametrize("sort", ["real", "small"])
def test_nothing_in_the_file_is_loaded_from_anywhere(page, sort):
    """Neither the small page nor the real one."""
    text = bound({"mode": "offline"}, PAGE if sort == "real" else page)
    outside = re.sub(r"<script.*?</script>|<style>.*?</style>", "", text, flags=re.S)
    assert not re.search(r"\bsrc=|@import|<link(?![^>]*href=\"data:)|<base|<iframe|<img", outside)
    assert 'src="' not in "".join(re.findall(r"<script[^>]*>", text))
    script = re.search(r'<script type="module">(.*?)</script>', text, re.S)[1]
    assert not re.search(r"^(import|export)\b", script, re.M)


def test_what_would_end_a_script_is_refused_in_the_page(page):
    (page / "low.js").write_text('export const A = "</script>";\n')
    with pytest.raises(ValueError, match="would end it"):
        bound({}, page)


TEXT = st.text(st.characters()) | st.sampled_from(["</script>", "<!--<script>", "]]>", "\u2028\u2029", "&lt;", "\ud800"])


@given(
    st.recursive(
        TEXT | st.floats(allow_nan=False, allow_infinity=False), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)
    )
)
def test_json_in_a_script_is_inert_and_means_the_same(content):
    text = script_json(content)
    assert "<" not in text
    assert text.isascii()
    assert json.loads(text) == content


def test_the_live_page_knows_the_names_of_the_runs(page):
    assert feed_of(live_page(["a", "</script>"], page)) == {"mode": "live", "runs": ["a", "</script>"]}


def test_a_report_takes_the_place_of_the_last_in_one_step(runs, tmp_path, monkeypatch):
    path = report(runs / "first", tmp_path / "r.html")
    before = path.read_bytes()

    def fails(*_):
        raise OSError(28, "No space left on device")

    with Writer(runs / "second", {}) as writer:
        writer.write(Notice(message="x"))
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(neural_plasticity.PlasticityError, match="disk is full"):
        report(runs / "second", path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.glob("r.html*")] == ["r.html"]
