"""levin_ckpt_test.py RUN_RANKS LEVIN_CKPT RESUMED_JOB: the tool on checkpoints of a real job, with h5py and Python's safetensors as witnesses.

Run by tools/tests-python.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import h5py
import numpy
import safetensors.numpy
from safetensors import safe_open

run_ranks, tool, job = (os.path.abspath(word) for word in sys.argv[1:4])
failures = []


def check(good, what):
    if not good:
        raise AssertionError(what)


class Ckpt:
    """levin-ckpt, with its exit code."""

    def __init__(self, *words, expected=0):
        done = subprocess.run([tool, *map(str, words)], capture_output=True, text=True, timeout=60)
        self.out, self.err, self.code = done.stdout, done.stderr, done.returncode
        check(self.code == expected, f"{words}: exit code {self.code}, not {expected}\n{self.out}\n{self.err}")
        if expected not in (0, 1):
            check(self.err.startswith("[checkpoint] ") and "; " in self.err, f"{words}: no message: {self.err}")

    def says(self, *parts):
        for part in parts:
            check(part in self.out + self.err, f"{part!r} is not in: {self.out}{self.err}")
        return self


def run(*words, ranks="1"):
    done = subprocess.run([run_ranks, ranks, "90", job, *map(str, words)], capture_output=True, text=True, timeout=100)
    check(done.returncode in (0, 75), f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def fit(folder, *words, ranks="1"):
    run("fit", "--run_dir", folder, "--trainer.max_epochs", 2, "--trainer.enable_model_summary", "false", *words, ranks=ranks)
    return sorted(path for path in Path(folder, "checkpoints").glob("[!.]*/"))


def weights(checkpoint):
    with h5py.File(checkpoint / "state.h5") as file:
        return {name: file["model"][name][()] for name in file["model"]}


def all_tensors(checkpoint):
    found = {}
    with h5py.File(checkpoint / "state.h5") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) and item.dtype.kind != "S" else None)
    return found


def flip(path, byte):
    data = bytearray(path.read_bytes())
    data[byte] ^= 4
    path.write_bytes(data)


def test_inspect(made):
    checkpoint = made[0]
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    shown = Ckpt("inspect", checkpoint).says(f"step {manifest['step']}, epoch 0", "model/\n  first.bias", "8x4 float32, 128 B", "monitor: val_loss",
                                             "optimizer/\n  adamw/\n    exp_avg/\n      first.bias", "text, ", "scalar int64, 8 B").out
    check(all(name.rpartition("/")[2] in shown for name in all_tensors(checkpoint)), shown)
    newest = checkpoint.parent / "last"
    Ckpt("inspect", newest).says(newest.read_text().strip())
    Ckpt("diff", newest, newest.parent / newest.read_text().strip()).says("0 differ")
    Ckpt("export", newest, "newest.safetensors").says("newest.safetensors: ")
    about = json.loads(Ckpt("inspect", checkpoint, "--json").out)
    tensors = all_tensors(checkpoint)
    check({one["name"]: (one["dtype"], tuple(one["shape"]), one["bytes"]) for one in about["tensors"]} ==
          {name: (str(value.dtype), value.shape, value.nbytes) for name, value in tensors.items()}, about["tensors"])
    check(about["step"] == manifest["step"] and about["fields"] == manifest["fields"] and about["saved_at"].startswith("20"), about)
    check(about["totals"]["bytes"] == sum(value.nbytes for value in tensors.values()) and
          about["totals"]["file_bytes"] == os.path.getsize(checkpoint / "state.h5"), about["totals"])
    check({one["name"] for one in about["texts"]} | set(tensors) == {one["name"] for one in manifest["datasets"]}, about["texts"])
    Ckpt("inspect", "none", expected=65).says("none")


def test_verify(made):
    folder = made[0].parent
    shutil.copytree(folder, "copy")
    check(Ckpt("verify", "copy").out.count(": good, step") == len(made), "not all are good")
    names = [path.name for path in made]
    manifest = json.loads((made[0] / "manifest.json").read_text())
    data = {one["name"]: one for one in manifest["datasets"]}
    flip(Path("copy", names[0], "state.h5"), data["model/first.weight"]["offset"] + 5)
    told = Ckpt("verify", "copy", expected=65).says('"model/first.weight" is corrupt')
    check(told.out.count(": good, step") == len(made) - 1, told.out)
    Ckpt("verify", *(Path("copy", name) for name in names[1:]))
    check(Ckpt("verify", "copy/last").out.startswith("copy/step="), "the checkpoint that last names")
    Path("copy/last").write_text("step=999\n")
    Ckpt("verify", "copy/last", expected=65).says("copy/last names no checkpoint of its folder")
    Ckpt("verify", Path("copy", names[1]), Path("copy", names[0]), expected=65).says(f"{names[1]}: good", "is corrupt")
    flip(Path("copy", names[1], "state.h5"), 20)
    Ckpt("verify", Path("copy", names[1]), expected=65).says("metadata is corrupt")
    os.truncate(Path("copy", names[2], "state.h5"), 5000)
    Ckpt("verify", Path("copy", names[2]), expected=65).says("has 5000 bytes")
    Path("copy", names[3], "manifest.json").unlink()
    Ckpt("verify", "copy", expected=65).says(f"{names[3]}/manifest.json is missing")
    os.mkdir("nothing")
    Ckpt("verify", "nothing", expected=65).says("nothing/manifest.json is missing")


def test_diff(made):
    first, last = made[0], made[-1]
    Ckpt("diff", first, first).says("0 differ")
    told = Ckpt("diff", first, last, expected=1).out
    listed = re.findall(r"^  (\S+) \(.*\): (\S+)$", told, re.M)
    ours, theirs = all_tensors(first), all_tensors(last)
    expected = {name: numpy.abs(ours[name].astype("f8") - theirs[name].astype("f8")).max() for name in ours
                if name in theirs and ours[name].shape == theirs[name].shape and ours[name].size}
    check(dict(listed).keys() == {name for name in expected if expected[name] > 0}, told)
    check(all(float(value) == float(f"{expected[name]:.6g}") for name, value in listed), told)
    check(sorted((float(value) for _, value in listed), reverse=True) == [float(value) for _, value in listed], "they are not sorted")
    numbers = {"a": numpy.array([1, float("nan"), float("inf")]), "b": numpy.array([1 << 62, 7]), "c": numpy.array([True, False]),
               "d": numpy.zeros((2, 3), "f4"), "e": numpy.zeros(2, "f4"), "f": numpy.array([2.0], "f2"), "i": numpy.array([250], "u1")}
    safetensors.numpy.save_file(numbers, "one")
    Ckpt("diff", "one", "one").says("7 tensors are the same, 0 differ")
    safetensors.numpy.save_file({**numbers, "a": numpy.array([1, 2, float("inf")]), "b": numpy.array([(1 << 62) + 1, 7]),
                                 "c": numpy.array([True, True]), "d": numpy.zeros((3, 2), "f4"), "e": numpy.zeros(2), "f": numpy.array([2.5], "f2"),
                                 "g": numpy.zeros(1), "i": numpy.array([1], "u1")}, "other")
    told = Ckpt("diff", "other", "one", expected=1).says("d is 3x2 float32 and 2x3 float32", "e is 2 float64 and 2 float32",
                                                         "g (1 float64) is in ", "other alone", "0 tensors are the same, 8 differ").out
    check(told.split("largest differences:\n")[1].splitlines()[:5] ==
          ["  a (3 float64): nan", "  i (1 uint8): 249", "  b (2 int64): 1", "  c (2 bool): 1", "  f (1 float16): 0.5"], told)


def test_export_and_import(made):
    checkpoint, step = made[1], json.loads((made[1] / "manifest.json").read_text())["step"]
    Ckpt("export", checkpoint, "--format", "safetensors", "out.safetensors").says("out.safetensors: ")
    read, expected = safetensors.numpy.load_file("out.safetensors"), weights(checkpoint)
    check(read.keys() == expected.keys() and all(read[name].dtype == expected[name].dtype and (read[name] == expected[name]).all() and
                                                 read[name].shape == expected[name].shape for name in read), f"{read} is not {expected}")
    with safe_open("out.safetensors", "numpy") as file:
        check(file.metadata() == {"format": "pt", "step": str(step), "epoch": "0"}, file.metadata())
    Ckpt("export", checkpoint, "moments.safetensors", "--prefix", "optimizer/adamw/exp_avg/")
    check("first.weight" in safetensors.numpy.load_file("moments.safetensors"), "the moments")
    Ckpt("export", checkpoint, "none.safetensors", "--prefix", "nothing/", expected=78).says("no tensor whose name begins with")
    check(not Path("none.safetensors").exists(), "a file of nothing")

    Ckpt("diff", "out.safetensors", checkpoint).says("0 differ")
    safetensors.numpy.save_file(read, "python.safetensors", {"step": "41"})
    Ckpt("import", "python.safetensors", "some/where/imported/").says("step 41")
    check(os.listdir("some/where") == ["imported"], os.listdir("some/where"))
    Ckpt("verify", "some/where/imported").says("good, step 41")
    Ckpt("diff", "some/where/imported", "python.safetensors")
    Ckpt("import", "python.safetensors", "imported", "--step", "7").says("step 7")
    loss = [re.search(r"^test_loss (\S+)$", run("test", "--ckpt_path", path), re.M).group(1) for path in (checkpoint, Path("imported").resolve())]
    check(loss[0] == loss[1], loss)
    Ckpt("import", "python.safetensors", "imported", expected=78).says("exists")
    Ckpt("import", checkpoint / "state.h5", "another", expected=65).says("is an HDF5 file, not a safetensors file")
    safetensors.numpy.save_file({"a": numpy.zeros(1), "a/b": numpy.zeros(1)}, "groups.safetensors")
    Ckpt("import", "groups.safetensors", "another", expected=65).says("is both a tensor or text and a group; rename")
    safetensors.numpy.save_file({"a/../b": numpy.zeros(1)}, "outside.safetensors")
    Ckpt("import", "outside.safetensors", "another", expected=65).says("is not a valid name")
    check(not [name for name in os.listdir() if "another" in name or "partial" in name], os.listdir())


def test_prune(made):
    shutil.copytree(made[0].parent, "copy")
    scores = {path.name: float(fields["score"]) for path in made if "score" in (fields := json.loads((path / "manifest.json").read_text())["fields"])}
    check(len(scores) >= 4, scores)
    def left():
        return sorted(path.name for path in Path("copy").glob("[!.]*/"))
    best, worst = sorted(scores, key=scores.get)[:2], sorted(scores, key=scores.get, reverse=True)[:1]
    names = [path.name for path in made]
    told = Ckpt("prune", "copy", "--keep", 1, "--best", 2, "--dry_run").out
    check(left() == names, left())
    kept = sorted({names[-1], *best})
    check(sorted(re.findall("would remove (.*)", told)) == sorted(set(names) - set(kept)), told)
    shutil.copytree("copy", "other")
    Ckpt("prune", "copy", "--keep", 1, "--best", 2)
    check(left() == kept, f"{left()} is not {kept}")
    check(Path("copy/last").read_text().strip() in kept, "last")
    Ckpt("verify", "copy")
    shutil.rmtree("copy")
    os.rename("other", "copy")
    Ckpt("prune", "copy", "--keep", 2, "--best", 1, "--mode", "max")
    check(left() == sorted({*names[-2:], *worst}), left())
    Ckpt("prune", "copy", "--keep", 1)
    check(left() == names[-1:], left())
    for words, part in ((["--keep", 0], "keep at least 1"), ([], "--keep"), (["--keep", 1, "--best", 1, "--mode", "most"], "allowed: min, max"),
                        (["--keep", "x"], "--keep"), (["--keep", "1.0"], "allowed: integer"), (["--keep", ".5"], "allowed: integer")):
        Ckpt("prune", "copy", *words, expected=78).says(part)
    Ckpt("prune", "nowhere", "--keep", 1, expected=78).says("has no checkpoints")


def test_several_files(made):
    """A file for each of two hosts, and one file of the same state."""
    one = "{name: model_checkpoint, save_top_k: -1, every_n_train_steps: 5, dirpath: one}"
    fit("run", "--trainer.callbacks", f"[{one}, {{name: model_checkpoint, save_top_k: -1, every_n_train_steps: 5, nodes_per_file: 1}}]", "--trainer.strategy", "fsdp",
        "--data.samples", 48, ranks="2+1")
    several, whole = sorted(Path("run/checkpoints").glob("[!.]*/"))[0], sorted(Path("one").glob("[!.]*/"))[0]
    check(sorted(os.listdir(several)) == ["manifest.json", "state.0.h5", "state.1.h5"], os.listdir(several))
    check(sorted(os.listdir(whole)) == ["manifest.json", "state.h5"], os.listdir(whole))
    Ckpt("diff", several, whole).says("0 differ")
    Ckpt("verify", "run/checkpoints")
    shown, other = (json.loads(Ckpt("inspect", path, "--json").out) for path in (several, whole))
    check(sorted(map(str, shown["tensors"])) == sorted(map(str, other["tensors"])) and shown["totals"]["files"] == 2, shown)
    Ckpt("inspect", several).says("the 2 files have")
    Ckpt("export", several, "several.safetensors")
    Ckpt("diff", "several.safetensors", whole).says("0 differ")
    manifest = json.loads((several / "manifest.json").read_text())
    part = [one for one in manifest["datasets"] if one["file"] == 1 and "elements" in one][0]
    run("fit", "--run_dir", "run", "--trainer.max_epochs", 3)  # on one rank
    shutil.copytree(several, "damaged")
    flip(Path("damaged/state.1.h5"), part["offset"])
    Ckpt("verify", "damaged", expected=65).says("state.1.h5", f'"{part["name"]}" is corrupt')
    os.unlink("damaged/state.1.h5")
    Ckpt("verify", "damaged", expected=65).says("state.1.h5 is missing")
    Ckpt("prune", "run/checkpoints", "--keep", 1)
    check(len(list(Path("run/checkpoints").glob("[!.]*/"))) == 1, "one is left")


def test_version_2(made):
    """A checkpoint of manifest version 2, which fsdp wrote on two hosts after 3 of 6 steps; and the weights after the sixth."""
    fixture = Path(__file__).resolve().parent / "fixtures/version_2.tar.gz"
    subprocess.run(["tar", "-xzf", fixture], check=True)
    old = Path("step=000003").resolve()
    manifest = json.loads((old / "manifest.json").read_text())
    check(manifest["version"] == 2 and any("elements" in one for one in manifest["datasets"]), manifest)
    Ckpt("verify", old).says("good, step 3")
    whole = {}
    for one in manifest["datasets"]:
        if one["name"].startswith("state/"):
            continue
        begin, end = one.get("elements", (None, None))
        with h5py.File(old / manifest["files"][one["file"]]["name"]) as file:
            values = file[one["name"] if begin is None else f"{one['name']}/{begin}-{end}"][()]
        if begin is None:
            whole[one["name"]] = values
        else:
            whole.setdefault(one["name"], numpy.full(one["shape"], numpy.nan, values.dtype)).reshape(-1)[begin:end] = values
    Ckpt("export", old, "all.safetensors", "--prefix", "")
    read = safetensors.numpy.load_file("all.safetensors")
    check(read.keys() == whole.keys() and len(read) == 36, read.keys())
    for name, values in whole.items():
        check(read[name].dtype == values.dtype and numpy.array_equal(read[name], values), name)

    weights_after = safetensors.numpy.load_file("step=000006.safetensors")
    for ranks in ("1", "2", "3", "1+1"):
        run("fit", "--run_dir", f"on {ranks}", "--ckpt_path", old, "--trainer.max_epochs", 1, "--trainer.precision", "64-true", "--trainer.strategy", "fsdp",
            "--trainer.enable_model_summary", "false", "--model.middle", "true", "--data.samples", 48, ranks=ranks)
        Ckpt("export", Path(f"on {ranks}/checkpoints/step=000006"), f"{ranks}.safetensors")
        found = safetensors.numpy.load_file(f"{ranks}.safetensors")
        check(found.keys() == weights_after.keys(), found.keys())
        if ranks in ("2", "1+1"):  # dropout and batch norm depend on the samples of a rank
            # The gradient of a bias before a batch normalization is what rounding leaves, which differs between processors, and Adam scales it up.
            rounded = ("first.bias", "norm.running_mean")
            for name, values in weights_after.items():
                check(numpy.allclose(found[name], values, rtol=1e-9, atol=1e-6 if name in rounded else 1e-12), f"{name} on {ranks}")


def test_boxes(made):
    """A matrix 6x10 of 0, 1, … that two ranks wrote by columns, in one file."""
    os.mkdir("boxes")
    subprocess.run(["tar", "-xzf", Path(__file__).resolve().parent / "fixtures/boxes.tar.gz", "-C", "boxes"], check=True)
    Ckpt("verify", "boxes").says("good, step 0, 1 tensors")
    Ckpt("inspect", "boxes").says("manifest version 3", "6x10 float64, 480 B, 4 parts")
    about = json.loads(Ckpt("inspect", "boxes", "--json").out)
    check(about["manifest_version"] == 3 and about["tensors"] == [{"name": "model/w", "dtype": "float64", "shape": [6, 10], "bytes": 480}], about)
    check(sorted((one["offset"], one["extent"]) for one in about["parts"]) == [([0, 0], [6, 2]), ([0, 2], [6, 3]), ([0, 5], [6, 2]), ([0, 7], [6, 3])], about)
    Ckpt("export", "boxes", "boxes.safetensors")
    matrix = safetensors.numpy.load_file("boxes.safetensors")["w"]
    check(numpy.array_equal(matrix, numpy.arange(60.0).reshape(6, 10)), matrix)
    Ckpt("import", "boxes.safetensors", "whole")
    Ckpt("diff", "boxes", "whole").says("1 tensors are the same, 0 differ")
    flip(Path("boxes/state.h5"), json.loads(Path("boxes/manifest.json").read_text())["datasets"][2]["offset"])
    Ckpt("verify", "boxes", expected=65).says('"model/w" is corrupt')


def test_the_guides_python_loads_a_model_with_batch_norm(made):
    """With what it needs of PyTorch, which is not installed here: from_numpy is strict, as PyTorch's, and as_tensor takes scalars, too."""
    guide = (Path(__file__).resolve().parent / "../../docs/checkpoints.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)

    class Torch(types.ModuleType):
        @staticmethod
        def from_numpy(array):
            if not isinstance(array, numpy.ndarray):
                raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
            return array

        @staticmethod
        def as_tensor(value):
            return numpy.asarray(value)

    class Module:
        def load_state_dict(self, names):
            self.names = names

    module, names = Module(), {}
    sys.modules["torch"] = Torch("torch")
    try:
        exec(code, names)
        names["load"](module, made[0])
    finally:
        del sys.modules["torch"]
    expected = weights(made[0])
    check(module.names.keys() == expected.keys() and "norm.num_batches_tracked" in expected, module.names.keys())
    for name, value in expected.items():
        its = module.names[name]
        check(its.shape == numpy.shape(value) and its.dtype == value.dtype and numpy.array_equal(its, value), name)
    check(module.names["norm.num_batches_tracked"].shape == () and module.names["norm.num_batches_tracked"] > 0, "the counter")


def test_mistakes(made):
    Ckpt("--help").says("inspect: what is in a checkpoint")
    check(Ckpt("--version").out.startswith("levin-ckpt "), "the version")
    for name in ("inspect", "verify", "diff", "export", "import", "prune"):
        Ckpt(name, "--help").says("levin-ckpt " + name)
        Ckpt(name, expected=78)
        Ckpt(name, "a", "b", "c", "--nothing", expected=78)
    Ckpt("inspekt", expected=78).says('"inspekt" is not a subcommand; choose one of: inspect, verify')
    Ckpt("diff", made[0], expected=78).says("1 names given, 2 needed", "levin-ckpt diff A B")
    Ckpt("inspect", made[0], made[1], expected=78).says("is one argument too many")
    os.symlink("step=9", "dangling")
    Ckpt("inspect", "dangling", expected=65).says("dangling links to step=9, which is missing")
    Ckpt("export", made[0], "--format", "pickle", "a", expected=78).says("allowed: safetensors")
    Ckpt("export", made[0], "no/where.safetensors", expected=74).says("cannot create")
    with open("/dev/full", "w") as full:
        check(subprocess.run([tool, "inspect", made[0]], stdout=full, stderr=subprocess.DEVNULL).returncode == 74, "a full disk")


with tempfile.TemporaryDirectory(prefix="levin_ckpt_test.") as scratch:
    callback = "[{name: model_checkpoint, monitor: val_loss, save_top_k: -1, every_n_train_steps: 2}]"
    made = fit(f"{scratch}/run", "--trainer.val_check_interval", 2, "--trainer.callbacks", callback)
    check(len(made) >= 5, made)
    for current in [name for name in globals() if name.startswith("test_")]:
        os.makedirs(f"{scratch}/{current}")
        os.chdir(f"{scratch}/{current}")
        try:
            globals()[current](made)
        except AssertionError as error:
            failures.append(current)
            print(f"{current}: {error}")
        print(f"{'FAIL' if current in failures else 'ok  '} {current}", flush=True)
        os.chdir("/")
sys.exit(1 if failures else 0)
