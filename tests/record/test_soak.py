"""A hundred thousand events, read by a second process while they are written."""

import json
import subprocess
import sys
import textwrap
import time

import pytest

from neural_plasticity.record import Metrics, Writer

EVENTS = 100_000

READER = textwrap.dedent("""
    import json, sys, time
    from neural_plasticity.record import Run
    run, cursor, seen, behind, reads = Run(sys.argv[1]), None, 0, [], 0
    print("ready", flush=True)
    while seen < int(sys.argv[2]):
        page = run.read(cursor)
        now = time.time()
        reads += 1
        assert not page.restarted
        for entry in page.entries:
            assert entry.seq == seen == entry.event.step, (entry.seq, seen)
            seen += 1
            behind.append(now - entry.time)
        cursor = page.cursor
        time.sleep(0.01)
    behind.sort()
    late = {"median": behind[seen // 2], "p99": behind[int(0.99 * seen)], "worst": behind[-1]}
    print(json.dumps({"seen": seen, "reads": reads, **late}))
""")


@pytest.mark.soak
def test_a_live_reader_tears_nothing_and_stays_within_a_tenth_of_a_second(tmp_path):
    with Writer(tmp_path / "run", {}) as writer:
        reader = subprocess.Popen([sys.executable, "-c", READER, writer.folder, str(EVENTS)], stdout=subprocess.PIPE, text=True)
        with reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
            began = time.monotonic()
            for step in range(EVENTS):
                writer.write(Metrics(step=step, values={"loss": 1.0, "accuracy": 0.5}))
                if step % 50 == 0:
                    time.sleep(0.01)
            seconds = time.monotonic() - began
            report = json.loads(reader.stdout.readline())
    print(f"\n{EVENTS} events in {seconds:.1f} s; reader behind, in seconds: {report}")
    assert report["seen"] == EVENTS
    assert report["worst"] <= 0.1
