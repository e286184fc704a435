"""What the tests of this folder read of a run of tests/cli/resumed_job, and how they report."""
import csv
import json
import os
import tempfile
import time
from pathlib import Path

STEPS = 18  # 44 samples, 8 a step, 3 epochs
FIT = {"--trainer.max_epochs": 3, "--trainer.log_every_n_steps": 1, "--trainer.enable_progress_bar": "false"}
MACHINE = float(os.environ.get("TEST_TIME_FACTOR", "1"))


def fit_words(folder, *words):
    """The command line of a fit; of an option that is given twice the last one counts."""
    options = {**FIT, "--run_dir": folder, **dict(zip(words[::2], words[1::2]))}
    return ["fit", *(str(word) for pair in options.items() for word in pair)]


def check(good, *found):
    if not good:
        raise AssertionError(" ".join(str(each) for each in found))


def wait_for(what, ready, seconds=40):
    """The first true value of ready()."""
    end = time.monotonic() + seconds * MACHINE
    while not (value := ready()):
        check(time.monotonic() < end, f"no {what} after {seconds} s")
        time.sleep(0.05)
    return value


def record(folder):
    path = Path(folder) / "run.json"
    return json.loads(path.read_text()) if path.exists() else {}


def exit_codes(folder):
    return [attempt["exit"]["code"] for attempt in record(folder).get("attempts", [])]


def logged_steps(folder):
    path = Path(folder) / "metrics.csv"
    if not path.exists():
        return []
    with open(path, newline="") as lines:
        return sorted({int(row["step"]) for row in csv.DictReader(lines) if row["name"] == "train_loss_step"})


def last(folder):
    return Path(folder) / "checkpoints" / (Path(folder) / "checkpoints/last").read_text().strip()


def last_step(folder):
    return int(last(folder).name.removeprefix("step="))


def manifest(checkpoint):
    return json.loads((checkpoint / "manifest.json").read_text())


def state(folder):
    """Checksums of all that the newest checkpoint holds, by name; state/loop has the time that was spent in it."""
    return {each["name"]: each["blocks"] for each in manifest(last(folder))["datasets"] if each["name"] != "state/loop"}


def check_same(one, other):
    """Bit for bit, the metrics file included."""
    check((Path(one) / "metrics.csv").read_text() == (Path(other) / "metrics.csv").read_text(), "the metrics differ")
    check(state(one) == state(other), "the states differ")


def run_all(tests):
    """Each in its own folder; the exit status."""
    failures, began = [], time.monotonic()
    for name, test in tests:
        with tempfile.TemporaryDirectory(prefix="levin_cluster_test.") as scratch:
            os.chdir(scratch)
            start = time.monotonic()
            try:
                test()
            except AssertionError as error:
                failures.append(name)
                print(f"{name}: {error}", flush=True)
            print(f"{'FAIL' if name in failures else 'ok  '} {name}: {time.monotonic() - start:.1f} s", flush=True)
            os.chdir("/")
    print(f"{len(failures)} failures: {failures}" if failures else f"all good in {time.monotonic() - began:.0f} s")
    return 1 if failures else 0
