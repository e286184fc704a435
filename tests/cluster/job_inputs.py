"""Small data for the jobs of jobs/, and the settings with which their scripts take six steps in two starts."""
import csv
import json
import random
from pathlib import Path

root = Path(__file__).resolve().parents[2]
JOB_STEPS = 6
SETTINGS = {"trainer.max_steps": JOB_STEPS, "trainer.limit_val_batches": 1, "trainer.log_every_n_steps": 1, "data.global_batch_size": 8,
            "job.stop_after_steps": 4}
METRICS = {"exported": "train_loss", "fashion_mnist": "train_loss", "gan": "generator_loss", "gpt": "train_loss", "surrogate": "train_error"}


def write_inputs():
    """Into the current folder; surrogate's files are written by solver_line()."""
    numbers = random.Random(1)
    rows = [[numbers.uniform(-1, 1) for _ in range(6)] + [numbers.randrange(4)] for _ in range(64)]
    Path("train.csv").write_text("\n".join(["a,b,c,d,e,f,class", *(",".join(map(str, row)) for row in rows)]) + "\n")
    Path("text.txt").write_text(" ".join(numbers.choice(["the", "cat", "sat", "on", "a", "mat"]) for _ in range(4000)))
    Path("exported.yaml").write_text(json.dumps({
        "trainer": {"precision": "64-true"},
        "model": {"name": "exported", "file": str(root / "tests/exported/fixtures/mlp.pt2"), "loss": "loss"},
        "data": {"name": "csv", "train": str(Path("train.csv").absolute()), "val": str(Path("train.csv").absolute()),
                 "batch": {"x": ["a", "b", "c", "d", "e", "f"], "label": ["class"]}, "dtype": {"x": "float64", "label": "int64"}}}))


def solver_line(launch, build):
    """A shell's line that writes surrogate's files into the current folder."""
    solver = f"{launch} {build}/jobs/surrogate/surrogate_solver --cells 8 --ranks_per_solve 1"
    return f"{solver} --samples 48 --seed 1 --file train.h5 && {solver} --samples 8 --seed 2 --file val.h5"


def options_of(job, run_dir):
    """Of the program; the inputs are in the current folder."""
    here = Path.cwd()
    own = {"exported": {}, "fashion_mnist": {}, "gan": {"model.channels": 4, "model.latent": 8, "model.samples": 10},
           "gpt": {"model.layers": 1, "model.width": 16, "model.heads": 2, "data.context": 16, "data.files": [f"{here}/text.txt"],
                   "data.cache": f"{here}/cache"},
           "surrogate": {"model.width": 4, "model.modes": 3, "model.layers": 2, "data.train": f"{here}/train.h5", "data.val": f"{here}/val.h5",
                         "data.test": f"{here}/val.h5"}}
    return {**SETTINGS, **own[job], "run_dir": str(run_dir)}


def variables_of(job):
    """Of the environment, that the job's script reads."""
    return {"CONFIG": str(Path("exported.yaml").absolute())} if job == "exported" else {}


def words_of(options):
    return [word for key, value in options.items() for word in (f"--{key}", value if isinstance(value, str) else json.dumps(value))]


def config_of(options):
    """The same as the text of a configuration."""
    nested = {}
    for key, value in options.items():
        *groups, name = key.split(".")
        group = nested
        for each in groups:
            group = group.setdefault(each, {})
        group[name] = value
    return json.dumps(nested)


def steps_logged(job, run_dir):
    """Of the metric of the job's steps, as often as they are logged."""
    with open(Path(run_dir) / "metrics.csv", newline="") as lines:
        return [int(row["step"]) for row in csv.DictReader(lines) if row["name"] == METRICS[job]]
