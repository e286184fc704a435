"""lightning_names_test.py FROM_LIGHTNING PROGRAM: what docs/from-lightning.md says of the real Lightning's names. Run by
tools/peers-python.

Its tables name every argument of Lightning's Trainer, every callback and every strategy, and nothing that Lightning lacks. PROGRAM has the
options, defaults and names that the tables promise. Lightning's sources are read: to import them takes longer than all the rest.
"""
import ast
import importlib.util
import itertools
import subprocess
import sys
from pathlib import Path

import yaml

guide, program = Path(sys.argv[1]).read_text(), sys.argv[2]
lightning = Path(importlib.util.find_spec("lightning").origin).parent / "pytorch"
ABSTRACT = {"BaseFinetuning", "BasePredictionWriter", "LambdaCallback"}  # for code, not for a list of names
OPTIONS = {"GradientAccumulationScheduler": "scheduling: {0: 2}", "RichModelSummary": "max_depth: 2", "TQDMProgressBar": "style: lines",
           "RichProgressBar": "style: bar"}  # that it needs, or that keep two names of one callback apart
failures = []


def parsed(file):
    return ast.walk(ast.parse((lightning / file).read_text()))


def trainer_arguments():
    """Their defaults, by name."""
    trainer = next(node for node in parsed("trainer/trainer.py") if isinstance(node, ast.ClassDef) and node.name == "Trainer")
    arguments = next(node for node in trainer.body if isinstance(node, ast.FunctionDef) and node.name == "__init__").args
    return {argument.arg: ast.literal_eval(default) for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults)}


def callback_names():
    listed = next(node for node in parsed("callbacks/__init__.py") if isinstance(node, ast.Assign) and node.targets[0].id == "__all__")
    return set(ast.literal_eval(listed.value)) - {"Callback"}


def strategy_names():
    """What the classes register: a name as the first argument of a call, or as the first of a tuple in a list of them."""
    names = set()
    for file in (lightning / "strategies").glob("*.py"):
        for function in parsed(file):
            if not (isinstance(function, ast.FunctionDef) and function.name == "register_strategies"):
                continue
            for node in ast.walk(function):
                call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "register"
                values = node.args if call else node.elts if isinstance(node, ast.Tuple) else []
                if values and isinstance(values[0], ast.Constant):
                    names.add(values[0].value)
    return names


def check(good, *found):
    if not good:
        failures.append(" ".join(map(str, found)))


def table(heading):
    """The rows of the first table below a heading, as lists of cells."""
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), guide.split(f"\n{heading}\n", 1)[1].splitlines())
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows][2:]


def config(*words):
    printed = subprocess.run([program, "--print_config", *words], capture_output=True, text=True, timeout=200)
    check(printed.returncode == 0, *words, printed.stderr[-300:])
    return yaml.safe_load(printed.stdout) if printed.returncode == 0 else None


def name_of(value):
    return value["name"] if isinstance(value, dict) else value


arguments, callbacks, strategies = trainer_arguments(), callback_names(), strategy_names()
check(len(arguments) == 41, len(arguments), "arguments of Trainer")
check({"ddp", "ddp_notebook", "fsdp", "deepspeed_stage_2", "xla_debug"} <= strategies, "strategies that were read:", strategies)
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
check(callbacks <= set(rows), "no row for", callbacks - set(rows))
check({name for name in rows if name.isidentifier()} <= callbacks, "not of Lightning:", set(rows) - callbacks)
chosen = [name for name, ours_ in rows.items() if name in callbacks and not ours_.startswith("no:") and name not in ABSTRACT]
listed = config("--trainer.callbacks", "[" + ", ".join(f"{{name: {name}, {OPTIONS[name]}}}" if name in OPTIONS else name for name in chosen) + "]")
check(listed is None or len(listed["trainer"]["callbacks"]) == len(chosen) > 20, "callbacks by Lightning's names:", listed)

missing = {name for row in table("## Strategies") if row[1].startswith("no") for name in row[0].split(", ")}
families = {"ddp", "zero1", "zero2", "fsdp", "zero1_offload", "zero2_offload", "fsdp_cpu_offload"}
for name in sorted(strategies - missing):
    printed = config("--trainer.strategy", name)
    check(printed is None or name_of(printed["trainer"]["strategy"]) in families, "the strategy", name, "is another one")
print("\n".join(failures) or f"{len(arguments)} arguments, {len(chosen)} callbacks, {len(strategies)} strategies")
sys.exit(bool(failures))
