"""whole_way_test.py RUN_RANKS LEVIN [TEST ...]: from Python to Levin and back. Models are exported, trained by `levin fit` on two ranks, and
their weights loaded into the Python modules, whose outputs are those of `levin predict`; and the same with both configurations of
jobs/exported, for a few steps. Run by tools/peers-python.
"""
import csv
import os
import subprocess
import sys
import tempfile
import unittest
import warnings
from pathlib import Path

sys.dont_write_bytecode = True
root = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(root / "tools/python"), str(root / "tests/exported"), str(root / "jobs/exported")]
import h5py
import numpy
import torch

import export
import levin
import models

run_ranks, program = (os.path.abspath(word) for word in sys.argv[1:3])
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


class WholeWay(unittest.TestCase):
    def setUp(self):
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)

    def levin(self, command, *words):
        words = [run_ranks, "2", "240", program, command, *map(str, words), "--run_dir", str(self.folder / "run")]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=260, cwd=self.folder,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})
        self.assertEqual(done.returncode, 0, done.stdout[-1500:] + done.stderr[-2500:])

    def losses(self):
        with open(self.folder / "run/metrics.csv", newline="") as lines:
            return [float(row["value"]) for row in csv.DictReader(lines) if row["name"] == "train_loss"]

    def loaded(self, model):
        """The model with the run's weights, of which each has been trained."""
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        levin.load(self.folder / "run", model, which="last")
        for name, parameter in model.named_parameters():
            self.assertFalse(torch.equal(parameter, before[name]), f"{name} is as before the training")
        return model.eval()

    def predictions(self):
        with h5py.File(self.folder / "run/predict/predictions.h5") as file:
            return file["index"][()], torch.from_numpy(file["prediction"][()])

    def same(self, found, expected, tolerance=1e-5):
        self.assertEqual(found.shape, expected.shape)
        self.assertLess(float((found - expected).abs().max()), tolerance * max(1.0, float(expected.abs().max())))

    def train(self, model, parts, more=""):
        """Exports the model, trains it on parts["train"] and predicts parts["test"] with its weights: the module, and the predicted logits."""
        levin.export(model, {name: value[:3] for name, value in parts["test"].items()}, self.folder / "net.pt2")
        sections = []
        for part, batch in parts.items():
            for name, value in batch.items():
                numpy.save(self.folder / f"{part}_{name}.npy", value.numpy())
            sections.append(f"  {part}: {{{', '.join(f'{name}: {part}_{name}.npy' for name in batch)}}}")
        (self.folder / "run.yaml").write_text(f"""trainer: {{max_epochs: 3, log_every_n_steps: 1{more}}}
model: {{name: exported, file: net.pt2, predict: logits}}
optimizer: {{name: adamw, lr: 0.01}}
data:
  name: npy
  global_batch_size: 8
""" + "\n".join(sections) + "\n")
        self.levin("fit", "--config", "run.yaml")
        losses = self.losses()
        self.assertEqual(len(losses), 9)
        self.assertLess(sum(losses[-3:]), sum(losses[:3]))
        self.levin("predict", "--config", "run.yaml", "--ckpt_path", "last")
        index, logits = self.predictions()
        self.assertEqual(index.tolist(), list(range(len(next(iter(parts["test"].values()))))))
        model = self.loaded(model)
        with torch.no_grad():
            expected = model(**parts["test"])["logits"]
        self.same(logits, expected.flatten(1))  # predictions.h5 has a row for each sample
        return model

    def test_resnet_with_batch_norm(self):
        torch.manual_seed(1)
        parts = {}
        for part, count in (("train", 24), ("test", 11)):
            image = torch.randn(count, 3, 6, 6)
            parts[part] = {"x": image, "label": image.mean((2, 3)).argmax(1)}
        model = self.train(models.ResNet(), parts)
        for name, buffer in model.named_buffers():  # as the first rank has them
            if name.endswith("num_batches_tracked"):
                self.assertEqual(int(buffer), 9)
            else:
                self.assertGreater(float((buffer - (1 if name.endswith("var") else 0)).abs().max()), 1e-3)

    def test_gpt_with_tied_embeddings(self):
        """Sharded, its blocks recomputed."""
        torch.manual_seed(2)
        parts = {}
        for part, count in (("train", 24), ("test", 11)):
            tokens = (torch.arange(7) * 2 + torch.randint(0, 11, (count, 1))) % 11
            parts[part] = {"tokens": tokens[:, :6].contiguous(), "targets": tokens[:, 1:].contiguous()}
        model = self.train(models.Gpt(), parts, ", strategy: fsdp, activation_checkpointing: units")
        self.assertIs(model.head.weight, model.tokens.weight)

    @unittest.skipUnless(FASHION_MNIST.is_dir(), "needs the Debian package dataset-fashion-mnist")
    def test_job_fashion_mnist(self):
        export.export_classifier(self.folder / "classifier.pt2")
        words = ["--config", root / "jobs/exported/fashion_mnist.yaml", "--data.global_batch_size", 8]
        self.levin("fit", *words, "--trainer.max_steps", 3, "--trainer.limit_val_batches", 1, "--trainer.log_every_n_steps", 1,
                   "--lr_scheduler.warmup", 1)
        self.assertEqual(len(self.losses()), 3)
        self.levin("predict", *words, "--ckpt_path", "last", "--trainer.limit_predict_batches", 2)
        index, found = self.predictions()
        pixels = read_idx(FASHION_MNIST / "t10k-images-idx3-ubyte.gz", int(index.max()) + 1)[index]
        image = torch.from_numpy(pixels).float()[:, None] * 0.011110 - 0.8102
        with torch.no_grad():
            self.same(found, self.loaded(export.make_classifier())(image)["logits"].softmax(1))

    def test_job_gpt2(self):
        export.export_gpt2(self.folder / "gpt2.pt2")
        text = b"".join(path.read_bytes() for path in sorted((root / "docs").glob("*.md")))[:100_000]
        (self.folder / "text.txt").write_bytes(text)
        words = ["--config", root / "jobs/exported/gpt2.yaml", "--data.global_batch_size", 4, "--data.files", "[text.txt]"]
        self.levin("fit", *words, "--trainer.max_steps", 3, "--trainer.val_check_interval", 3, "--trainer.limit_val_batches", 1,
                   "--trainer.log_every_n_steps", 1, "--lr_scheduler.warmup", 1)
        losses = self.losses()
        self.assertEqual(len(losses), 3)
        self.assertLess(losses[-1], losses[0])
        model = self.loaded(export.make_gpt2())
        tokens = torch.tensor(list(text[:512])).view(4, 128)
        with torch.no_grad():
            self.assertLess(float(model(input_ids=tokens, labels=tokens).loss), losses[0])


def read_idx(path, count):
    """The first images of an IDX file of bytes."""
    import gzip
    with gzip.open(path) as file:
        head = numpy.frombuffer(file.read(16), ">u4")
        return numpy.frombuffer(file.read(count * int(head[2]) * int(head[3])), "uint8").reshape(count, head[2], head[3])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
