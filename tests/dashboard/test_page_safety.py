"""What a hostile record can do to the page: nothing. And what the page asks of the world: nothing either."""

import json
import re

import numpy as np
import pytest

from neural_plasticity import record
from neural_plasticity.dashboard.report import report
from neural_plasticity.heads import HeadId
from neural_plasticity.record import Writer
from tests.dashboard.browsing import VIEWS, visiting
from tests.dashboard.stories import LAYERS, Story, description, told

EVIL = "<script>window.caught = 1</script><img src=x onerror='window.caught = 2'><a href='javascript:window.caught=3'>x</a>"
BIDI = "abc\u202egpj.exe\u2066\u200b"
ANSI = "\x1b[31mred\x1b[0m\x07\x00"
HUGE = 10_000_000
OWN = {"__proto__": 1.0, "constructor": 2.0}  # names that objects of the page's language have anyway
GOT_IN = "#page script, #page img, #page a[href^=javascript], #page [onerror]"
WATCH = """window.broken = [];
addEventListener('securitypolicyviolation', (event) => window.broken.push(event.violatedDirective))"""


def hostile(folder):
    """A run whose every text is an attack, and whose numbers are none."""
    said = description(f"{EVIL}{BIDI}")
    said["settings"] |= {"prompt": EVIL + ANSI, "strategy": EVIL, "model": "=HYPERLINK(1)"}
    said["anatomy"]["model"] = EVIL
    with Writer(folder, said) as writer:
        story = Story(writer)
        writer.write(record.RunStarted(name=EVIL + BIDI, job=EVIL))
        writer.write(record.PhaseStarted(phase=EVIL, cycle=1, steps=3))
        for step, loss in enumerate((np.nan, np.inf, 2.5), 1):
            writer.write(record.Metrics(step=step, values={"train_loss": loss, EVIL: -np.inf, **OWN}))
        story.judge(EVIL, 1, 2.5)
        writer.write(
            record.Evaluation(
                stage="baseline", values={"loss_nats": np.nan, "perplexity": np.inf, EVIL: 1.0}, documents=(EVIL, BIDI)
            ),
            {"document_losses": np.array([1.0, np.inf])},
        )
        writer.write(record.Sample(prompt=EVIL, text=ANSI + BIDI + EVIL + "x" * HUGE, seed=0, stage="baseline"))
        grid = np.array([[np.nan, np.inf], [-np.inf, 1.0]], dtype=np.float32)
        writer.write(record.HeadsMeasured(signals=(EVIL, "entropy"), cycle=1, path=EVIL), {EVIL: grid, "entropy": grid})
        told_ = {"rank": 1, "threshold": np.inf, "reason": EVIL + BIDI + ANSI, "strategy": EVIL, "cycle": 1}
        writer.write(record.DecisionMade(head=HeadId(0, 1), action=EVIL, score=np.nan, **told_))
        writer.write(record.DecisionMade(head=HeadId(0, 1), action="prune", score=np.nan, **told_))
        writer.write(
            record.Operation(action="prune", mode=EVIL, heads=(HeadId(0, 1),), before={EVIL: np.nan}, after={EVIL: 1.0}, cycle=1)
        )
        writer.write(
            record.Attention(heads=(HeadId(1, 1),), tokens=(EVIL, ANSI), stage=EVIL, cycle=1), {"1.1": np.eye(2, dtype=np.float16)}
        )
        writer.write(
            record.Compared(
                before=EVIL, after=BIDI, values={"mean_difference": np.nan, "low": -np.inf}, documents=(EVIL,), method=EVIL
            )
        )
        writer.write(record.Notice(message=EVIL + ANSI + BIDI))
        writer.write(record.Request(name=EVIL, wish={EVIL: [EVIL]}, granted=False, answer=EVIL))
        writer.write(record.Failed(error=EVIL, message=EVIL + BIDI, phase=EVIL))
    return folder


def test_a_hostile_run_shows_harmlessly_in_every_view(tmp_path):
    with visiting(report(hostile(tmp_path / "evil"), tmp_path / "r.html").as_uri(), charts=True) as visit:
        for view in VIEWS:
            page = visit.see(f"view={view}&head=0.1")
            page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
            visit.settle()
            assert page.evaluate("window.caught") is None, view
            assert page.locator(GOT_IN).count() == 0
            text = page.locator("#page").inner_text()
            assert len(text) < 400_000, view
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text), view
        assert "window.caught = 1" in visit.see("view=overview").locator("#p-notices").inner_text()  # as text
        assert "⟨U+202E⟩" in text or "⟨U+202E⟩" in page.locator("#page").inner_text()
        sample = visit.see("view=evaluation&stages=baseline,baseline").locator("#p-texts pre").first
        assert "␛[31mred" in sample.inner_text()
        assert "more characters in the record" in sample.inner_text()


def test_a_hash_from_a_stranger_does_nothing_but_lead_somewhere(tmp_path):
    with visiting(report(told(tmp_path / "run"), tmp_path / "r.html").as_uri()) as visit:
        for place in (
            f"view={EVIL}&head={EVIL}&filter={EVIL}&signal={EVIL}",
            "view=__proto__&head=constructor&sort=constructor",
            "%%%&=&view=",
            "runs=%25%25&view=compare",
        ):
            page = visit.see(place.replace(" ", "%20"))
            assert page.evaluate("window.caught") is None
            assert page.locator("main").count() == 1


def test_a_report_asks_nobody_for_anything(tmp_path):
    path = report([told(tmp_path / "a", grows=True), told(tmp_path / "b")], tmp_path / "r.html")
    with visiting(path.as_uri(), offline=True, charts=True) as visit:
        page = visit.see("view=overview")
        page.evaluate(WATCH)
        for view in VIEWS:
            visit.see(f"view={view}&head=0.2&cycle=2")
            page.evaluate("for (const each of document.querySelectorAll('.plot')) each.scrollIntoView()")
            visit.settle()
        assert page.evaluate("window.broken") == []
        assert page.locator(".js-plotly-plot").count() > 0
        assert {each for each in visit.requests if not each.startswith(("data:", "blob:"))} == {path.as_uri()}


def test_the_policy_of_the_page_holds_against_what_would_get_in(tmp_path):
    path = report(told(tmp_path / "a"), tmp_path / "r.html")
    with visiting(path.as_uri()) as visit:
        page = visit.see()
        outcome = page.evaluate("""async () => {
            const broken = [];
            addEventListener("securitypolicyviolation", (event) => broken.push(event.effectiveDirective));
            const script = document.createElement("script");
            script.textContent = "window.caught = 1";
            document.body.append(script);
            const answer = await fetch("https://example.invalid/").then(() => "sent", () => "stopped");
            await new Promise((done) => setTimeout(done, 50));
            return [window.caught ?? null, answer, broken];
        }""")
        assert outcome[:2] == [None, "stopped"]
        assert {"script-src-elem", "connect-src"} <= set(outcome[2])
        visit.complaints.clear()  # the browser told of both, as it should


def test_a_csv_holds_no_formula(tmp_path):
    with Writer(tmp_path / "run", description("run")) as writer:
        for reason in ("=1+1", "+cmd", "@x", "-2", 'plain, "quoted"'):
            writer.write(
                record.DecisionMade(
                    head=HeadId(0, 0), action="prune", score=-1.5, rank=1, threshold=0.0, reason=reason, strategy="s"
                )
            )
    with visiting(report(tmp_path / "run", tmp_path / "r.html").as_uri(), accept_downloads=True) as visit:
        page = visit.see("view=pruning")
        with page.expect_download() as download:
            page.get_by_label("download decisions as CSV").click()
        lines = download.value.path().read_text().splitlines()[1:]
    assert [line.partition(",s,")[2] for line in lines] == ["'=1+1", "'+cmd", "'@x", "'-2", '"plain, ""quoted"""']
    assert all(",-1.5," in line for line in lines)  # a number stays one


@pytest.mark.parametrize("events", [0, 1])
def test_a_run_that_has_hardly_begun_says_what_will_come(tmp_path, events):
    with Writer(tmp_path / "run", description("run")) as writer:
        if events:
            writer.write(record.RunStarted(name="run", job="run"))
    with visiting(report(tmp_path / "run", tmp_path / "r.html").as_uri()) as visit:
        for view in VIEWS:
            assert visit.see(f"view={view}").locator("main .empty").count() >= 1, view


def test_an_analysis_alone_shows_its_maps(tmp_path):
    with Writer(tmp_path / "run", description("run")) as writer:
        writer.write(record.RunStarted(name="run", job="analyze"))
        writer.write(record.HeadsMeasured(signals=("entropy",)), {"entropy": np.full((LAYERS, 6), 1.5, dtype=np.float32)})
        writer.write(record.Finished(summary={"heads": 24}))
    with visiting(report(tmp_path / "run", tmp_path / "r.html").as_uri()) as visit:
        page = visit.see("view=analysis")
        assert page.locator("#map-analysis data").count() == 24
        assert page.locator(".scrubber").count() == 0  # there are no cycles to scrub


def test_a_corrupt_record_and_missing_arrays_are_told(tmp_path):
    folder = told(tmp_path / "run")
    path = folder / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    gone = next(json.loads(line) for line in lines if json.loads(line)["kind"] == "heads")
    (folder / "tensors" / gone["tensors"]).unlink()
    path.write_bytes(b"".join(lines[: gone["seq"] + 5]) + b"nonsense\n" + b"".join(lines[gone["seq"] + 6 :]))
    with visiting(report(folder, tmp_path / "r.html").as_uri()) as visit:
        notices = visit.see("view=overview").locator("#p-notices").inner_text()
        assert "cannot be read" in notices
        assert f"line {gone['seq'] + 6}" in notices
        assert gone["tensors"] in notices
