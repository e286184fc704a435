"""tensorboard_plugin_test.py RUN_RANKS TOY_JOB: traces open in TensorBoard's plug-in for PyTorch's profiles, torch-tb-profiler, under a real
TensorBoard server: every operator counts as often as it was recorded, and the trace view has every rank. Run by tools/services-python.
"""
import collections
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

run_ranks, toy_job = map(os.path.abspath, sys.argv[1:])
LIMIT = 180  # seconds, for a server that starts and reads the traces on a busy machine


def train(ranks):
    words = ["fit", "--trainer.max_epochs", "2", "--trainer.profiler", "pytorch", "--trainer.profiler.pytorch.active", "2", "--trainer.enable_checkpointing",
             "false", "--run_dir", f"runs/on{ranks}"]
    subprocess.run([run_ranks, str(ranks), "60", toy_job, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return json.loads(Path(f"runs/on{ranks}/fit-trace.pt.trace.json").read_text())["traceEvents"]


class Server:
    """TensorBoard on a free port, which it prints."""

    def __init__(self, folder):
        self.log = open("tensorboard.log", "w+")
        self.process = subprocess.Popen([sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--port", "0", "--host", "127.0.0.1"],
                                        stdout=self.log, stderr=subprocess.STDOUT)

    def __enter__(self):
        deadline = time.monotonic() + LIMIT
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/", Path("tensorboard.log").read_text())):
            assert time.monotonic() < deadline and self.process.poll() is None, Path("tensorboard.log").read_text()[-2000:]
            time.sleep(0.1)
        self.address = f"http://127.0.0.1:{found[1]}/data/plugin/pytorch_profiler/"
        while len(runs := self.get("runs")["runs"]) < 2 or self.get("runs")["loading"]:
            assert time.monotonic() < deadline, (runs, Path("tensorboard.log").read_text()[-2000:])
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()

    def get(self, what, **query):
        with urllib.request.urlopen(f"{self.address}{what}?{urllib.parse.urlencode(query)}", timeout=LIMIT) as answer:
            text = answer.read()
            return json.loads(gzip.decompress(text) if answer.headers["Content-Encoding"] == "gzip" else text)


def calls(events):
    """Of each operator that does not call itself: of those the plug-in merges some."""
    spans = collections.defaultdict(list)
    for event in events:
        if event.get("cat") == "cpu_op":
            spans[event["name"]].append((event["pid"], event["tid"], event["ts"], event["ts"] + event["dur"]))

    def nests(all_):
        return any(a != b and a[:2] == b[:2] and a[2] <= b[2] and b[3] <= a[3] for a in all_ for b in all_)

    return {name: len(all_) for name, all_ in spans.items() if not nests(all_)}


def check_views(server, ranks, events):
    run = f"on{ranks}"
    assert {"Overview", "Operator", "Trace"} <= set(server.get("views", run=run)), server.get("views", run=run)
    assert server.get("workers", run=run, view="Operator") == ["fit-trace"]
    place = {"run": run, "worker": "fit-trace", "span": "default", "view": "Operator"}
    recorded = calls(events)
    rows = server.get("operation/table", **place, group_by="Operation")["data"]
    counted = {row["name"]: row["calls"] for row in rows}
    differ = {name: (counted.get(name), number) for name, number in recorded.items() if counted.get(name) != number}
    assert not differ and recorded["aten::addmm"] == 2 * ranks, differ or recorded
    steps = [row[0] for row in server.get("overview", **{**place, "view": "Overview"})["steps"]["rows"]]
    assert [int(step) for step in steps] == [2] * ranks + [3] * ranks, steps
    shown = server.get("trace", **{**place, "view": "Trace"})["traceEvents"]
    assert {event["pid"] for event in shown if event.get("cat") == "cpu_op"} == set(range(ranks))


with tempfile.TemporaryDirectory(prefix="tensorboard_plugin_test.") as scratch:
    os.chdir(scratch)
    try:
        events = {ranks: train(ranks) for ranks in (1, 2)}
        with Server("runs") as server:
            for ranks in (1, 2):
                check_views(server, ranks, events[ranks])
    finally:
        os.chdir("/")
print("the plug-in shows traces of 1 and 2 ranks")
