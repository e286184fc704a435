"""load_test.py RUN_RANKS RESUMED_JOB LEVIN_CKPT [TEST ...]: levin.load from checkpoints of a real job, and from safetensors files.

Run by tools/peers-python.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import warnings
from pathlib import Path

sys.dont_write_bytecode = True
here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "..", "tools", "python"))
import h5py
import torch
from safetensors.torch import load_file, save_file, save_model
from torch import nn

import levin

run_ranks, job, levin_ckpt = (os.path.abspath(word) for word in sys.argv[1:4])


class Net(nn.Module):
    """The parameters and buffers of resumed_job."""

    def __init__(self, width=8, norm=True):
        super().__init__()
        self.first = nn.Linear(4, width)
        if norm:
            self.norm = nn.BatchNorm1d(width)
        self.last = nn.Linear(width, 1)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("cache", torch.zeros(2), persistent=False)


def fit(folder, *words, ranks="1"):
    done = subprocess.run([run_ranks, ranks, "90", job, "fit", "--run_dir", folder, "--trainer.enable_model_summary", "false", *words],
                          capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


class Case(unittest.TestCase):
    def refused(self, text, *arguments, **options):
        with self.assertRaises(levin.LoadError) as caught:
            levin.load(*arguments, **options)
        self.assertIn(text, str(caught.exception))
        self.assertTrue(str(caught.exception).startswith("[levin.load] "), caught.exception)

    def folder(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return Path(folder.name)


class Runs(Case):
    @classmethod
    def setUpClass(cls):
        cls.made = tempfile.TemporaryDirectory()
        cls.directory = Path(cls.made.name, "run")
        fit(cls.directory, "--trainer.max_epochs", "3", "--trainer.callbacks", "[{name: model_checkpoint, monitor: val_loss, mode: max, save_top_k: 3}]")
        cls.checkpoints = sorted(path.parent for path in cls.directory.glob("checkpoints/*/manifest.json"))

    @classmethod
    def tearDownClass(cls):
        cls.made.cleanup()

    def weights(self, checkpoint):
        with h5py.File(checkpoint / "state.h5") as file:
            return {name: torch.as_tensor(file["model"][name][()]) for name in file["model"]}

    def same(self, model, checkpoint):
        expected = self.weights(checkpoint)
        self.assertEqual(model.state_dict().keys(), expected.keys())
        return all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())

    def test_which(self):
        scores = {path: float(json.loads((path / "manifest.json").read_text())["fields"]["score"]) for path in self.checkpoints}
        best, last = max(scores, key=scores.get), self.checkpoints[-1]
        self.assertEqual(len(scores), 3)
        for which, expected in (("auto", best), ("best", best), ("last", last), (self.checkpoints[0].name, self.checkpoints[0])):
            for place in (self.directory, self.directory / "checkpoints"):
                model = Net()
                self.assertEqual(levin.load(place, model, which=which), expected)
                self.assertTrue(self.same(model, expected))
                self.assertEqual(sum(self.same(model, other) for other in self.checkpoints), 1)
        self.assertEqual(levin.load(self.directory / "checkpoints" / "last", Net()), last)
        self.assertEqual(levin.load(str(self.checkpoints[1]), Net()), self.checkpoints[1])
        self.refused("which is newest; choose auto, best, last or one of step=", self.directory, Net(), which="newest")

    def test_lower_is_better(self):
        copy = self.folder() / "run"
        shutil.copytree(self.directory, copy)
        for score, path in enumerate(sorted(copy.glob("checkpoints/*/manifest.json"))):
            manifest = json.loads(path.read_text())
            path.write_text(json.dumps({**manifest, "fields": {"mode": "min", "score": ["nan", "2", "5"][score]}}))
        self.assertEqual(levin.load(copy, Net()).name, self.checkpoints[1].name)
        for path in copy.glob("checkpoints/*/manifest.json"):
            path.write_text(json.dumps({**json.loads(path.read_text()), "fields": {}}))
        self.assertEqual(levin.load(copy, Net()).name, self.checkpoints[2].name)
        self.refused('has a score; use which="last"', copy, Net(), which="best")

    def test_the_same_as_levin_ckpt_export(self):
        file = self.folder() / "weights.safetensors"
        subprocess.run([levin_ckpt, "export", self.checkpoints[0], file], check=True, capture_output=True, timeout=60)
        model = Net()
        self.assertEqual(levin.load(file, model), file)
        self.assertTrue(self.same(model, self.checkpoints[0]))

    def test_parts_in_several_files(self):
        folder = self.folder() / "run"
        fit(folder, "--trainer.max_epochs", "1", "--model.norm", "false", "--model.width", "50", "--trainer.strategy", "fsdp",
            "--trainer.strategy.share_parameters", "none", "--trainer.callbacks", "[{name: model_checkpoint, nodes_per_file: 1}]", ranks="2+1")
        checkpoint = next(folder.glob("checkpoints/step=*"))
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        self.assertEqual(len(manifest["files"]), 2)
        self.assertTrue(any("elements" in data for data in manifest["datasets"] if data["name"].startswith("model/")))
        file = folder / "weights.safetensors"
        subprocess.run([levin_ckpt, "export", checkpoint, file], check=True, capture_output=True, timeout=60)
        model = Net(50, norm=False)
        levin.load(folder, model)
        expected = load_file(file)
        self.assertEqual(model.state_dict().keys(), expected.keys())
        for name, value in model.state_dict().items():
            self.assertTrue(torch.equal(value, expected[name]), name)

    def test_bf16(self):
        folder = self.folder() / "run"
        fit(folder, "--trainer.max_epochs", "1", "--trainer.precision", "bf16-true")
        model = Net().to(torch.bfloat16)
        checkpoint = levin.load(folder, model)
        file = folder / "weights.safetensors"
        subprocess.run([levin_ckpt, "export", checkpoint, file], check=True, capture_output=True, timeout=60)
        expected = load_file(file)
        self.assertEqual(expected["first.weight"].dtype, torch.bfloat16)
        for name, value in model.state_dict().items():
            self.assertTrue(torch.equal(value, expected[name]), name)

    def test_does_not_fit(self):
        class Other(Net):
            def __init__(self):
                super().__init__(width=9)
                self.more = nn.Parameter(torch.ones(1))
                del self.last

        model = Other()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        self.refused("missing: more; unexpected: last.bias, last.weight; of another shape: first.weight is [8, 4] instead of [9, 4]", self.checkpoints[0], model)
        self.assertTrue(all(torch.equal(value, before[name]) for name, value in model.state_dict().items()))
        net = Net()
        net.more = nn.Parameter(torch.ones(1))
        with self.assertWarnsRegex(UserWarning, "missing: more"):
            levin.load(self.checkpoints[0], net, strict=False)
        self.assertTrue(torch.equal(net.first.weight, self.weights(self.checkpoints[0])["first.weight"]))

    def test_damaged(self):
        copy = self.folder() / "checkpoint"
        shutil.copytree(self.checkpoints[0], copy)
        os.truncate(copy / "state.h5", 3000)
        self.refused("state.h5 has 3000 bytes, the manifest says", copy, Net())
        (copy / "state.h5").unlink()
        self.refused("state.h5 has no bytes", copy, Net())
        for text in ("{", '{"format":"levin-checkpoint","version":9,"step":1}', '{"format":"other","version":1,"step":1}', "[]"):
            (copy / "manifest.json").write_text(text)
            self.refused("manifest.json ", copy, Net())
        manifest = json.loads((self.checkpoints[0] / "manifest.json").read_text())
        manifest["files"][0]["name"] = "../state.h5"
        (copy / "manifest.json").write_text(json.dumps(manifest))
        self.refused("outside of the checkpoint", copy, Net())
        empty = self.folder()
        self.refused("contains no checkpoint", empty, Net())
        self.refused("does not exist", empty / "nothing", Net())
        (empty / "last").write_text("../elsewhere\n")
        self.refused("names no checkpoint", empty / "last", Net())
        (empty / "text").write_text("no weights")
        self.refused("is not a safetensors file", empty / "text", Net())


class Files(Case):
    def test_wrapped(self):
        file, model = self.folder() / "w.safetensors", nn.Linear(2, 1)
        save_file({"weight": torch.ones(1, 2), "bias": torch.ones(1)}, file)
        levin.load(file, torch.compile(model))
        self.assertEqual(model.weight.tolist(), [[1, 1]])

    def test_tied_weights_under_any_name(self):
        wanted = torch.arange(15.0).reshape(5, 3)
        for names in (["embedding.weight"], ["head.weight"], ["embedding.weight", "head.weight"]):
            file, model = self.folder() / "w.safetensors", Tied()
            save_file({name: wanted.clone() for name in names}, file)
            levin.load(file, model)
            self.assertTrue(torch.equal(model.head.weight, wanted))
            self.assertIs(model.head.weight, model.embedding.weight)
        save_file({"embedding.weight": wanted, "head.weight": wanted + 1}, file)
        self.refused("tied in the model, but with different values: embedding.weight and head.weight", file, Tied())
        source = Tied()
        save_model(source, file)
        levin.load(file, model)
        self.assertTrue(torch.equal(model.head.weight, source.head.weight))

    def test_dtypes(self):
        file = self.folder() / "w.safetensors"
        save_file({"weight": torch.ones(1, 2, dtype=torch.float64), "bias": torch.ones(1, dtype=torch.int64)}, file)
        self.refused("of another type: bias is torch.int64 instead of torch.float32", file, nn.Linear(2, 1))
        model = nn.Linear(2, 1).half()
        save_file({"weight": torch.full((1, 2), 0.5, dtype=torch.float64), "bias": torch.ones(1)}, file)
        levin.load(file, model)
        self.assertEqual((model.weight.dtype, model.weight.tolist()), (torch.float16, [[0.5, 0.5]]))

    def test_buffers_that_are_not_saved(self):
        """They are loaded if the file has them, as Levin's checkpoints of exported models have."""
        file, model = self.folder() / "w.safetensors", Tied()
        save_file({"embedding.weight": torch.ones(5, 3), "cache": torch.ones(2)}, file)
        levin.load(file, model)
        self.assertEqual(model.cache.tolist(), [1, 1])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
