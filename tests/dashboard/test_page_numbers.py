"""Every number that the page shows is the record's, or follows from it as it says."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from neural_plasticity.dashboard.report import report
from neural_plasticity.record import Run
from tests.dashboard.browsing import VIEWS, visiting
from tests.dashboard.stories import told

TOLD = "(all) => all.map((each) => ({text: each.textContent, value: each.value, ...each.dataset}))"
SCALES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
NAMES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf, "∞": math.inf, "−∞": -math.inf}


class Truth:
    """The record, read without the page's code: lines of events.jsonl, and the tensors that they name."""

    def __init__(self, folder: Path) -> None:
        run = Run(folder)
        self.lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
        self.arrays = {entry.seq: run.tensors(entry.event) for entry in run.entries() if entry.event.tensors}

    def at(self, seq: int, field: str) -> float:
        array = re.fullmatch(r'arrays\["(.+?)"\]((?:\[\d+\])+)', field)
        if array:
            place = tuple(int(index) for index in re.findall(r"\d+", array[2]))
            value = float(self.arrays[seq][array[1]][place])
            return round(value * 255) / 255 if self.lines[seq]["kind"] == "attention" else value
        held = self.lines[seq]
        for name in field.split("."):
            held = held[name]
        return NAMES[held] if isinstance(held, str) else float(held)

    def count(self, rule: str, about: str) -> float:
        """What is counted over many events, counted again."""
        heads, done = 24, [line for line in self.lines if line["kind"] == "operation"]
        asleep: set[tuple[int, ...]] = set()
        for line in done:
            if not rule.endswith("-at") or line["cycle"] <= int(about):
                changed = {tuple(head) for head in line["heads"]}
                asleep = asleep | changed if line["action"] == "prune" else asleep - changed
        values = [array[about] for array in self.arrays.values() if about in array] if rule in ("lowest", "highest") else []
        moved = [
            sum(len(line["heads"]) for line in done if (line["action"] == "prune") == prune and str(line["cycle"]) == about)
            for prune in (True, False)
        ]
        return {
            "heads": heads,
            "awake": heads - len(asleep),
            "awake-at": heads - len(asleep),
            "sparsity": len(asleep) / heads,
            "sparsity-at": len(asleep) / heads,
            "pruned-in": moved[0],
            "revived-in": moved[1],
            "events": len(self.lines),
            "decisions": sum(line["kind"] == "decision" for line in self.lines),
            "decisions-shown": sum(line["kind"] == "decision" for line in self.lines),
            "comparisons": sum(line["kind"] == "comparison" and "low" in line["values"] for line in self.lines),
            "steps": sum(line["kind"] == "metrics" and "train_loss" in line["values"] for line in self.lines),
            "course": 12,
            "lowest": float(np.nanmin(values)) if values else math.nan,
            "highest": float(np.nanmax(values)) if values else math.nan,
        }[rule]

    def follows(self, rule: str, sources: list[float]) -> float:
        if rule == "difference":
            return sources[1] - sources[0]
        if rule == "reduction":
            return 1 - sources[1] / sources[0]
        assert rule == "recovery"
        return (sources[1] - sources[2]) / (sources[1] - sources[0])


def read(text: str, unit: str) -> float:
    """The number that these letters say to a human."""
    plain = text.replace("−", "-").replace(",", "").replace("+", "").strip()
    if text.lstrip("+") in NAMES:
        return NAMES[text.lstrip("+")]
    number, _, rest = plain.rstrip("×").partition(" ")
    scale = SCALES[rest.removesuffix("B")] if unit in ("bytes", "count") else 0.01 if unit in ("share", "percent") else 1.0
    return float(number) * scale


def check(shown: dict[str, str], truth: Truth) -> None:
    raw = NAMES.get(shown["value"])
    value = float(shown["value"]) if raw is None else raw
    if "seq" in shown:
        expected = truth.at(int(shown["seq"]), shown["field"])
    elif "from" in shown:
        sources = [truth.at(int(seq), field) for seq, _, field in (each.partition(":") for each in shown["from"].split(" "))]
        expected = truth.follows(shown["rule"], sources)
    else:
        expected = truth.count(shown["rule"], shown["about"])
    exact = "arrays" not in shown.get("field", "") + shown.get("from", "") and shown.get("rule") not in ("lowest", "highest")
    assert value == pytest.approx(expected, rel=1e-12 if exact else 1e-6, abs=1e-15 if exact else 3e-7, nan_ok=True), shown
    if shown.get("unit") == "shade":  # one of 256: two places, and an end is never claimed
        assert shown["text"] == ("< 0.01" if value < 0.005 else "> 0.99" if value > 0.995 else f"{value:.2f}"), shown
        return
    assert read(shown["text"], shown.get("unit", "")) == pytest.approx(value, rel=6e-3, abs=1e-9, nan_ok=True), shown


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    folder = told(tmp_path_factory.mktemp("runs") / "grown", grows=True)
    with visiting(report(folder, folder.parent / "r.html").as_uri()) as visit:
        yield Truth(folder), visit


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "compare"])
def test_every_number_of_a_view_is_the_records(grown, view):
    truth, visit = grown
    seen = 0
    for place in ("", "&cycle=2&head=3.4", "&cycle=1&head=0.2&sort=-score"):
        page = visit.see(f"view={view}{place}")
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        visit.settle()
        for each in (shown := page.locator("data").evaluate_all(TOLD)):
            if not place or each.get("rule") != "decisions-shown":  # which the tests of the table count
                check(each, truth)
        seen += len(shown)
    assert seen > 20


def test_numbers_of_two_runs_compared_are_those_of_either(tmp_path):
    folders = [
        told(tmp_path / name, mode=mode, seed=seed) for seed, (name, mode) in enumerate([("a", "remove"), ("b", "mask_forward")])
    ]
    with visiting(report(folders, tmp_path / "r.html").as_uri()) as visit:
        page = visit.see("view=compare")
        for folder in folders:
            truth = Truth(folder)
            shown = page.locator(f"[data-run='{folder.name}'] data").evaluate_all(TOLD)
            assert len(shown) >= 7
            for each in shown:
                check(each, truth)
        assert "no speed-up" in page.locator("#p-results tr", has_text="mask_forward").inner_text()


def test_a_masked_model_says_no_speed_up_and_one_with_heads_removed_what_was_measured(tmp_path):
    masked = report(told(tmp_path / "m", mode="mask_forward"), tmp_path / "m.html")
    with visiting(masked.as_uri()) as visit:
        assert "no speed-up" in visit.see("view=overview").locator(".tiles").inner_text()
        assert "no speed-up" in visit.see("view=evaluation").locator("#p-speed").inner_text()
        assert "no speed-up" in visit.see("view=pruning").locator("#p-size").inner_text()
    removed = report(told(tmp_path / "r"), tmp_path / "r.html")
    with visiting(removed.as_uri()) as visit:
        tiles = visit.see("view=overview").locator(".tiles").inner_text()
        assert "no speed-up" not in tiles
        assert "1.248×" in tiles
        assert "perhaps no faster" in tiles  # writing: 1 lies within its bounds
