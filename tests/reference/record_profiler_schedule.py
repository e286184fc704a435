"""record_profiler_schedule.py [--check]: what torch.profiler.schedule does at the first 24 steps, for tests/profilers to compare with.

Run by tools/peers-python. A line of profiler_schedule.txt has skip_first, wait, warmup, active, repeat, and a letter for each step.
N: nothing, W: warm-up, R: record, S: record and save. --check records again and compares.
"""
import pathlib
import sys

from torch.profiler import ProfilerAction, schedule

LETTERS = {
    ProfilerAction.NONE: "N",
    ProfilerAction.WARMUP: "W",
    ProfilerAction.RECORD: "R",
    ProfilerAction.RECORD_AND_SAVE: "S",
}
ARGUMENTS = [
    (0, 1, 1, 3, 1), (0, 1, 1, 3, 0), (0, 0, 0, 1, 0), (0, 0, 1, 1, 2),
    (5, 2, 0, 3, 0), (3, 0, 2, 4, 2), (10, 1, 1, 1, 1), (0, 0, 0, 4, 3),
]

lines = []
for skip_first, wait, warmup, active, repeat in ARGUMENTS:
    action = schedule(skip_first=skip_first, wait=wait, warmup=warmup, active=active, repeat=repeat)
    actions = "".join(LETTERS[action(step)] for step in range(24))
    lines.append(f"{skip_first} {wait} {warmup} {active} {repeat} {actions}\n")
file = pathlib.Path(__file__).with_name("profiler_schedule.txt")
if "--check" not in sys.argv:
    file.write_text("".join(lines))
elif file.read_text() != "".join(lines):
    sys.exit("torch.profiler.schedule differs from profiler_schedule.txt")
