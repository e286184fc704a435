"""Run directories for the tests of levin-report, and what they read of its pages."""
import html.parser
import json
import math
import re
import subprocess
from pathlib import Path

PARTS = ["compute", "communication", "data", "validation", "checkpoint", "other"]


def check(good, *found):
    if not good:
        raise AssertionError(" ".join(str(each) for each in found))


def write_run(folder, metrics, timings=(), attempts=(), options=None, **record):
    """A run as Levin's trainer writes it. metrics: (step, name, value); timings: (step, {part: seconds}, samples, learning rate)."""
    folder = Path(folder)
    folder.mkdir(parents=True)

    def cell(text):
        return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text

    def write(name, rows):
        (folder / name).write_text("step,epoch,name,value\n" + "".join(f"{step},0,{cell(key)},{value}\n" for step, key, value in rows))

    write("metrics.csv", metrics)
    rows = []
    for number, (step, parts, samples, rate) in enumerate(timings):
        rows += [(step, "time", 1.7e9 + number), (step, "time/total", sum(parts.values()))]
        rows += [(step, f"time/{part}", parts.get(part, 0)) for part in PARTS]
        rows += [(step, "steps", 10 if parts.get("compute") else 0), (step, "samples", samples), (step, "memory/process_bytes", 2e8 + 1e6 * number), (step, "lr-AdamW", rate)]
    if rows:
        write("timings.csv", rows)
    if attempts:
        full = [{"subcommand": "fit", "started": "2026-01-02T03:04:05Z", "first_step": first, "steps": steps, "seconds": 60.0,
                 "exit": {"code": code, "reason": reason}} for first, steps, code, reason in attempts]
        (folder / "run.json").write_text(json.dumps({"program": "sine", "subcommand": "fit", "ranks": 2, "strategy": "ddp", "accelerator": "cpu",
                                                     "samples_per_second": 812.5, "peak_bytes_per_rank": 2.5e8,
                                                     "config": options or {}, "attempts": full, **record}))
    return folder


def sine_run(folder, steps=400, scale=1.0, restarts=(200,)):
    """A training that looks like one."""
    metrics, timings = [], []
    for step in range(9, steps, 10):
        metrics.append((step, "train_loss", round(scale * (0.05 + math.exp(-step / 90)) * (1 + 0.1 * math.sin(step)), 6)))
        metrics.append((step, "batches", step + 1))
        if (step + 1) % 50 == 0:
            metrics += [(step, "val_loss", round(scale * (0.08 + math.exp(-step / 90)), 6)), (step, "val_acc", round(1 - math.exp(-step / 70), 4))]
        save = 0.9 if (step + 1) % 100 == 0 else 0
        validation = 0.7 if (step + 1) % 50 == 0 else 0
        timings.append((step, {"compute": 3.1 + 0.2 * math.cos(step), "communication": 0.6, "data": 0.35, "validation": validation,
                               "checkpoint": save, "other": 0.08}, 1280, 0.001 * min(1, (step + 1) / 100)))
    firsts = [0, *restarts]
    attempts = [(first, (firsts + [steps])[i + 1] - first, 0 if first == firsts[-1] else 75, "finished" if first == firsts[-1] else "stopped early")
                for i, first in enumerate(firsts)]
    return write_run(folder, metrics, timings, attempts, {"optimizer.lr": str(0.001 * scale), "trainer.max_epochs": "4"})


class Page(html.parser.HTMLParser):
    """The elements of a page, its data, and its text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.words, self.scripts, self.inside = [], [], [], None
        self.feed(text)
        self.close()
        (self.data,) = [json.loads(words) for attributes, words in self.scripts if attributes.get("id") == "report-data"]

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside = tag
        if tag == "script":
            self.scripts.append((dict(attributes), ""))

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, text):
        if self.inside == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + text)
        elif self.inside != "style":
            self.words.append(text)

    def chart(self, title):
        found = [chart for chart in self.data["charts"] if chart["title"] == title]
        check(len(found) == 1, title, [chart["title"] for chart in self.data["charts"]])
        return found[0]

    def curve(self, title, name, run=0):
        """{step: value}"""
        found = [curve for curve in self.chart(title)["curves"] if (curve["name"], curve["run"]) == (name, run)]
        check(len(found) == 1, name, self.chart(title))
        return dict(zip(found[0]["steps"], found[0]["values"]))

    def count(self, tag, css=None):
        return sum(1 for name, attributes in self.elements if name == tag and (css is None or css in (attributes.get("class") or "").split()))


class Tool:
    """levin-report; its last output."""

    def __init__(self, program):
        self.program = program

    def run(self, *words, expected=0, **environment):
        variables = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **environment}
        self.done = subprocess.run([self.program, *map(str, words)], env=variables, capture_output=True, timeout=60)
        self.out, self.err = self.done.stdout.decode(), self.done.stderr.decode()
        check(self.done.returncode == expected, f"exit code {self.done.returncode}, not {expected}", words, self.out[-2000:], self.err)
        return self.out

    def page(self, *folders, expected=0):
        self.run(*folders, "--output", "page.html", expected=expected)
        return Page(Path("page.html").read_text())

    def refused(self, code, *words_and_texts):
        """The exit code, and one line of error that has these texts."""
        words, texts = words_and_texts
        self.run(*words, expected=code)
        check(self.err.startswith("[report] ") and self.err.count("\n") == 1, self.err)
        for text in texts:
            check(text in self.err, f"no {text!r} in", self.err)


def unescaped_inside(text):
    """The page without what may have any character: the style sheet and the scripts."""
    return re.sub(r"<(style|script)[^>]*>.*?</\1>", "", text, flags=re.S)
