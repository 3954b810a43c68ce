"""What the dashboard costs: the size of a report, the time until a page can be used, and being watched.

python benchmarks/dashboard.py
"""

import http.server
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import psutil
from playwright.sync_api import Page, sync_playwright

from neural_plasticity.dashboard.report import report
from neural_plasticity.heads import HeadId
from neural_plasticity.record import (
    Attention,
    DecisionMade,
    Evaluation,
    Finished,
    HeadsMeasured,
    Metrics,
    Operation,
    PhaseStarted,
    Run,
    RunStarted,
    Writer,
)

CYCLES, LAYERS, HEADS, TOKENS, STEPS, WATCHED = 100, 12, 12, 64, 20, 4
SIGNALS = (
    *("entropy", "normalized_entropy", "sink", "previous_token", "self_token", "distance", "output_norm"),
    *("taylor", "fisher", "gradient", "magnitude"),
)
VIEWERS, SECONDS = 50, 20.0
CHROMIUM = "/usr/bin/chromium"
TOKEN = "a-token-for-benchmarks"


def long_run(folder: Path) -> Run:
    """A hundred cycles of a model of 144 heads, with numbers that drift as measured ones do."""
    draw = np.random.default_rng(0)
    with Writer(folder, {"name": folder.name, "settings": {"model": "synthetic", "cycles": CYCLES}}) as writer:
        writer.write(RunStarted(name=folder.name, job="run"))
        grids = {name: np.exp(draw.normal(size=(LAYERS, HEADS))) for name in SIGNALS}
        scores = 2 * draw.normal(size=(WATCHED, TOKENS, TOKENS))
        for cycle in range(1, CYCLES + 1):
            grids = {name: grid * np.exp(0.05 * draw.normal(size=grid.shape)) for name, grid in grids.items()}
            scores = scores + 0.2 * draw.normal(size=scores.shape)
            _one_cycle(writer, cycle, grids, scores, draw)
        writer.write(Finished(summary={"loss_nats": 2.0}))
    return Run(folder)


def _one_cycle(writer: Writer, cycle: int, grids: dict[str, np.ndarray], scores: np.ndarray, draw: np.random.Generator) -> None:
    writer.write(PhaseStarted(phase="analysis", cycle=cycle))
    measured = HeadsMeasured(signals=tuple(grids), cycle=cycle, step=cycle * STEPS)
    writer.write(measured, {name: grid.astype("f4") for name, grid in grids.items()})
    writer.write(PhaseStarted(phase="pruning", cycle=cycle))
    head, score = HeadId(cycle % LAYERS, cycle // LAYERS), float(draw.random())
    reason = f"taylor {score:.3g} nats is rank 1 of 144, below the {2 * score:.3g} of the first head kept"
    decision = DecisionMade(
        head=head, action="prune", score=score, rank=1, threshold=2 * score, reason=reason, strategy="taylor", cycle=cycle
    )
    writer.write(decision)
    writer.write(Operation(action="prune", mode="remove", heads=(head,), after={"parameters": 1e8 - 1e5 * cycle}, cycle=cycle))
    for stage in ("pruned", "fine_tuned"):
        if stage == "fine_tuned":
            writer.write(PhaseStarted(phase="fine-tuning", cycle=cycle, steps=STEPS))
            for step in range(1, STEPS + 1):
                writer.write(Metrics(step=step, values={"train_loss": float(draw.random()), "learning_rate": 3e-4 / step}))
        losses = draw.random(20)
        values = {"loss_nats": float(losses.mean()), "perplexity": float(np.exp(losses.mean()))}
        documents = tuple(f"document {number}" for number in range(20))
        writer.write(Evaluation(stage=stage, values=values, documents=documents, cycle=cycle), {"document_losses": losses})
    weights = np.exp(scores) * np.tril(np.ones((TOKENS, TOKENS)))
    weights = (weights / weights.sum(-1, keepdims=True)).astype("f4")
    heads = tuple(HeadId(number, number) for number in range(WATCHED))
    tokens = tuple(f" token{number}" for number in range(TOKENS))
    shown = Attention(heads=heads, tokens=tokens, stage="fine_tuned", cycle=cycle)
    writer.write(shown, {str(head): weights[number] for number, head in enumerate(heads)})


def usable(page: Page, link: str) -> float:
    """Seconds until the page shows its first heading and answers a key."""
    began = time.perf_counter()
    page.goto(link, wait_until="commit")
    page.locator("html[data-ready]").wait_for(state="attached")
    page.keyboard.press("Tab")
    page.locator(":focus").first.wait_for()
    return time.perf_counter() - began


_PROBE = """<script>
const seen = [];
new PerformanceObserver((list) => list.getEntries().forEach((each) => seen.push([each.startTime, each.duration])))
  .observe({ type: "longtask", buffered: true });
setTimeout(() => fetch("/seen?" + encodeURIComponent(JSON.stringify(seen))), 4000);
</script>"""


def quiet(path: Path) -> tuple[float, float]:
    """The longest that a page blocks, and when its last block of 50 ms is over, in a browser that nobody inspects.

    One that is driven from outside keeps a trace of every call, which makes the drawing library twice as slow to start.
    """
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", path.read_text(encoding="utf-8"))
    page = text.replace("<head>", "<head>" + _PROBE, 1).encode()
    told: queue.Queue[str] = queue.Queue()

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/seen?"):
                told.put(unquote(self.path[6:]))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page if self.path == "/" else b"")

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  the name is the library's
            del format, arguments

    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        browser = subprocess.Popen([CHROMIUM, *options, f"http://127.0.0.1:{server.server_port}/"], **silent)
        blocks = json.loads(told.get(timeout=60))
        browser.kill()
        browser.wait()
        server.shutdown()
    return max(length for _, length in blocks) / 1000, max(start + length for start, length in blocks) / 1000


def served(*arguments: str) -> tuple[subprocess.Popen[str], str, float]:
    """A dashboard in a process of its own, its link, and the seconds until it printed it."""
    command = [sys.executable, "-m", "neural_plasticity", "dashboard", *arguments, "--no-open", "--port", "0", "--token", TOKEN]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline() if process.stdout is not None else ""
    return process, line.split()[-1], time.perf_counter() - began


def stopped(process: subprocess.Popen[str]) -> float:
    """Seconds that it takes to end."""
    began = time.perf_counter()
    process.send_signal(2)
    process.wait()
    return time.perf_counter() - began


def cost_of_viewers(folder: Path, viewers: int) -> tuple[float, float]:
    """CPU seconds of a process that writes a run for a while, and of the server, with so many streams open."""
    code = (
        "import statistics, sys, time\nfrom neural_plasticity.record import Metrics, Writer\n"
        "with Writer(sys.argv[1], {}) as writer:\n"
        f"    end, step, spent = time.monotonic() + {SECONDS}, 0, []\n"
        "    while time.monotonic() < end:\n"
        "        step, began = step + 1, time.process_time()\n"
        "        writer.write(Metrics(step=step, values={'train_loss': 1 / step}))\n"
        "        sum(range(200_000))\n"
        "        spent.append(time.process_time() - began)\n"
        "    print(statistics.median(spent))\n"
    )
    process, link, _ = served(str(folder.parent))
    begun = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    while not (folder / "events.jsonl").exists():
        time.sleep(0.05)
    address = link.partition("?")[0] + f"api/runs/{folder.name}/stream"
    streams = [
        subprocess.Popen(["curl", "-sN", "-H", f"Authorization: Bearer {TOKEN}", address], stdout=subprocess.DEVNULL)
        for _ in range(viewers)
    ]
    told, _ = begun.communicate()
    server = sum(psutil.Process(process.pid).cpu_times()[:2])
    stopped(process)
    for stream in streams:
        stream.wait()
    return float(told), server


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as browsers:
        chromium = browsers.chromium.launch(executable_path=CHROMIUM)
        run, path = long_run(Path(place) / "long"), Path(place) / "report.html"
        spent = []
        for _ in range(3):
            began = time.process_time()
            report(run, path)
            spent.append(time.process_time() - began)
        size = path.stat().st_size
        print(f"report of {CYCLES} cycles × {LAYERS * HEADS} heads: {size / 1e6:.2f} MB")
        print(f"built in {spent[0]:.2f} s of CPU the first time, then in {spent[-1]:.2f} s")
        times = sorted(usable(chromium.new_page(), path.as_uri()) for _ in range(5))
        print(f"opened in the browser, usable after {times[2]:.2f} s (median of 5)")
        blocks = [quiet(path) for _ in range(5)]
        longest, last = (sorted(each)[2] for each in zip(*blocks, strict=True))
        print(f"not inspected, it blocks for {longest:.2f} s at most, and no more after {last:.2f} s (medians of 5)")
        times, firsts = [], []
        for _ in range(3):
            began = time.perf_counter()
            process, link, first = served("--example")
            usable(chromium.new_page(), link)
            times.append(time.perf_counter() - began)
            firsts.append(first)
            ended = stopped(process)
        print(f"dashboard --example: link printed after {sorted(firsts)[1]:.2f} s, usable after {sorted(times)[1]:.2f} s (medians)")
        print(f"ended {ended:.2f} s after Ctrl-C")
        chromium.close()
    for viewers in (0, VIEWERS, 0, VIEWERS):
        with tempfile.TemporaryDirectory() as place:
            step, server = cost_of_viewers(Path(place) / "watched", viewers)
        print(f"{viewers} viewers: {1e3 * step:.4f} ms of the run's CPU a step; the server took {server / SECONDS:.1%} of one core")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
