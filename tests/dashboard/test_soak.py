"""A minute of a run that writes a thousand metrics a second behind ten thousand events, as one keeps its page open."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import psutil
import pytest

from tests.dashboard.browsing import browser
from tests.dashboard.test_page_live import TOKEN, caught_up, serving

PAST, RATE, SECONDS, PARTS = 10_000, 1_000, 60, 6

WRITER = textwrap.dedent("""
    import sys, time
    from neural_plasticity import record
    from tests.dashboard.stories import Story, description
    folder, past, rate, seconds = sys.argv[1], *map(int, sys.argv[2:])
    with record.Writer(folder, description("flood")) as writer:
        story, written = Story(writer), 0
        story.opening()
        for cycle in (1, 2, 3):
            story.cycle(cycle)
        for number in range(past):
            writer.write(record.Notice(message=f"said before, number {number}"))
        writer.write(record.PhaseStarted(phase="fine-tuning", cycle=4, steps=rate * seconds))
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.time()
        print(began, flush=True)
        while written < rate * seconds:
            due = min(rate * seconds, int((time.time() - began) * rate))
            for step in range(written + 1, due + 1):
                writer.write(record.Metrics(step=step, values={"train_loss": 1 / step, "learning_rate": 1e-4}))
                if step % 6 == 0:
                    writer.write(record.Notice(message=f"said after step {step}"))
            written = max(written, due)
            time.sleep(0.002)
""")

# How old the step is that the page shows, looked at forty times a second.
WATCH = """([began, rate]) => {
  window.behind = [];
  setInterval(() => {
    const shown = document.querySelector(".masthead [data-field=step]");
    if (shown) window.behind.push(Date.now() - 1000 * (began + Number(shown.value) / rate));
  }, 25);
}"""


def renderers() -> Iterator[psutil.Process]:
    """The processes of the browser that hold pages."""
    for child in psutil.Process().children(recursive=True):
        if "--type=renderer" in child.cmdline():
            yield child


@pytest.mark.soak
@pytest.mark.parametrize("view", ["overview", "recovery"])
def test_a_page_keeps_up_for_a_minute_and_does_not_grow(tmp_path, view):
    arguments = [tmp_path / "flood", PAST, RATE, SECONDS]
    command = [sys.executable, "-c", WRITER, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writing, serving(tmp_path) as port:
        assert writing.stdin is not None
        assert writing.stdout is not None
        assert writing.stdout.readline() == "ready\n"
        page = browser().new_page(viewport={"width": 1280, "height": 800})
        faults: list[object] = []
        page.on("pageerror", lambda fault: faults.append(fault))
        page.goto(f"http://127.0.0.1:{port}/?token={TOKEN}#view={view}")
        caught_up(page, tmp_path / "flood")
        page.wait_for_timeout(3000)  # the charts are there
        inspector = page.context.new_cdp_session(page)
        writing.stdin.write("\n")
        writing.stdin.flush()
        page.evaluate(WATCH, [float(writing.stdout.readline()), RATE])
        rows = []
        for _ in range(PARTS):
            page.wait_for_timeout(1000 * (SECONDS / PARTS - 0.5))
            behind = sorted(page.evaluate("window.behind.splice(0)"))
            inspector.send("HeapProfiler.collectGarbage")
            heap = inspector.send("Runtime.getHeapUsage")["usedSize"] / 1e6
            held = max(each.memory_full_info().uss for each in renderers()) / 1e6
            rows.append((behind[len(behind) // 2], behind[int(0.95 * len(behind))], behind[-1], heap, held))
            print(
                f"\n{view}: behind, median {rows[-1][0]:.0f}, 95 % {rows[-1][1]:.0f}, worst {rows[-1][2]:.0f} ms; "
                f"heap {heap:.1f} MB, process {held:.0f} MB",
                end="",
            )
        page.wait_for_timeout(5000)
        shown = page.locator(".masthead [data-field=step]").first
        assert shown.get_attribute("value") == str(RATE * SECONDS)
        page.close()
    assert not faults, json.dumps([str(fault) for fault in faults])
    assert max(row[1] for row in rows) <= 150
    assert max(row[4] for row in rows) <= 200
    assert rows[-1][3] <= rows[1][3] + 5
