"""Runs a job's program on ranks, reads its metrics, and collects what a test finds wrong."""
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

failures = []


def check(what, good, found=""):
    if not good:
        failures.append(what)
        print(f"{what}: {found}", flush=True)


class Program:
    def __init__(self, run_ranks, program, seconds=60):
        self.run_ranks, self.program, self.seconds = os.path.abspath(run_ranks), os.path.abspath(program), seconds

    def run(self, ranks, *words, status=0, said=()):
        """Words and dictionaries of options, of which later ones win. Returns what it printed."""
        options = {key: value for some in words if isinstance(some, dict) for key, value in some.items()}
        line = [word for word in words if not isinstance(word, dict)] + [str(word) for key, value in options.items() for word in (f"--{key}", value)]
        done = subprocess.run([self.run_ranks, str(ranks), str(self.seconds), self.program, *line], capture_output=True, text=True, errors="replace")
        name = f"on {ranks}: {' '.join(line)[-200:]}"
        text = done.stdout + done.stderr
        check(f"status {done.returncode}, not {status}, {name}", done.returncode == status, text[-4000:])
        for part in said:
            check(f"not said: {part!r}, {name}", part in text, text[-2000:])
        return text


def values(folder, name):
    with open(Path(folder) / "metrics.csv", newline="") as lines:
        return [float(row["value"]) for row in csv.DictReader(lines) if row["name"] == name]


def state(folder):
    """Checksums of all that the newest checkpoint holds, by name; state/loop has the time that was spent in it."""
    checkpoints = Path(folder) / "checkpoints"
    manifest = json.loads((checkpoints / (checkpoints / "last").read_text().strip() / "manifest.json").read_text())
    return {each["name"]: each["blocks"] for each in manifest["datasets"] if each["name"] != "state/loop"}


def finish(test):
    """Runs it in a folder that is removed. Exits with 1 if a check failed."""
    with tempfile.TemporaryDirectory(prefix="levin_job_test.") as folder:
        os.chdir(folder)
        test()
        os.chdir("/")
    print(f"{len(failures)} failures" if failures else "all good")
    sys.exit(1 if failures else 0)
