"""lightning_names_test.py FROM_LIGHTNING PROGRAM: what docs/from-lightning.md says of the real Lightning's names. Run by
tools/peers-python.

Its tables name every argument of Lightning's Trainer, every callback and every strategy, and nothing that Lightning lacks. PROGRAM has the
options, defaults and names that the tables promise.
"""
import inspect
import re
import subprocess
import sys
from pathlib import Path

import yaml
from lightning.pytorch import Trainer, callbacks
from lightning.pytorch.strategies import StrategyRegistry

guide, program = Path(sys.argv[1]).read_text(), sys.argv[2]
ABSTRACT = {"BaseFinetuning", "BasePredictionWriter", "LambdaCallback"}  # for code, not for a list of names
WITH_OPTIONS = {"GradientAccumulationScheduler": "{name: GradientAccumulationScheduler, scheduling: {0: 2}}"}
failures = []


def check(good, *found):
    if not good:
        failures.append(" ".join(map(str, found)))


def table(heading):
    """The rows of the first table below a heading, as lists of cells."""
    below = guide.split(f"\n{heading}\n", 1)[1].split("\n\n| ", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in ("| " + below).splitlines()[2:]]


def config(*words):
    printed = subprocess.run([program, "--print_config", *words], capture_output=True, text=True, timeout=60)
    check(printed.returncode == 0, *words, printed.stderr[-300:])
    return yaml.safe_load(printed.stdout) if printed.returncode == 0 else None


def name_of(value):
    return value["name"] if isinstance(value, dict) else value


arguments = {name: parameter.default for name, parameter in inspect.signature(Trainer.__init__).parameters.items() if name != "self"}
check(len(arguments) == 41, len(arguments), "arguments of Trainer")
rows = {name: row[1:] for row in table("## Trainer arguments") for name in row[0].split(", ")}
check(set(arguments) <= set(rows), "no row for", set(arguments) - set(rows))
check({name for name in rows if "." not in name and " " not in name} <= set(arguments), "not of Lightning:", set(rows) - set(arguments))
ours = config()
for name, default in arguments.items():
    place, remark = rows.get(name, ["", ""])
    if place == "no":
        check(name not in ours["trainer"], name, "is an option")
    elif place.startswith("--"):
        check(place[2:] in ours, place, "is not an option")
    else:
        check(name in ours["trainer"], name, "is not an option")
        value = name_of(ours["trainer"].get(name))
        check(default is None or value == default or "default" in remark or remark == "a check", name, "is", value, "and", default, "in Lightning")

rows = {name: row[1] for row in table("## Callbacks") for name in row[0].split(", ")}
check(set(callbacks.__all__) - {"Callback"} <= set(rows), "no row for", set(callbacks.__all__) - {"Callback"} - set(rows))
check({name for name in rows if name.isidentifier()} <= set(callbacks.__all__), "not of Lightning:", set(rows) - set(callbacks.__all__))
chosen = [name for name, ours_ in rows.items() if name in callbacks.__all__ and not ours_.startswith("no:") and name not in ABSTRACT]
listed = config("--trainer.callbacks", "[" + ", ".join(WITH_OPTIONS.get(name, name) for name in chosen) + "]")
check(listed is None or len(listed["trainer"]["callbacks"]) == len(chosen) > 20, "callbacks by Lightning's names:", listed)

missing = [name for row in table("## Strategies") if row[1].startswith("no") for name in row[0].split(", ")]
for name in StrategyRegistry.available_strategies():
    if name in missing:
        continue
    check(name_of(config("--trainer.strategy", name)["trainer"]["strategy"]) in ("ddp", "zero1", "zero2", "fsdp", "zero1_offload", "zero2_offload", "fsdp_cpu_offload"),
          "the strategy", name)
print("\n".join(failures) or f"{len(arguments)} arguments, {len(chosen)} callbacks, {len(StrategyRegistry.available_strategies())} strategies")
sys.exit(bool(failures))
