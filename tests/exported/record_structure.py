"""record_structure.py [--check]: small archives of torch.export for the tests of their reader.

Run by tools/peers-python. --check exports again and compares names, graphs and weights with the committed archives.
"""
import json
import pathlib
import re
import sys
import tempfile
import warnings
import zipfile

import torch
from torch.export import Dim, export
from torch.export.pt2_archive._package import package_pt2

FOLDER = pathlib.Path(__file__).parent / "structures"


class Features(torch.nn.Module):
    """Whatever a graph and a signature can have, once."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(8, 4)
        self.blocks = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(2))
        self.norm = torch.nn.BatchNorm1d(4)
        self.head = torch.nn.Linear(4, 8, bias=False)
        self.head.weight = self.embedding.weight
        self.turned = torch.nn.Parameter(torch.arange(12.0).reshape(3, 4).t(), requires_grad=False)
        memory = torch.arange(10.0)
        self.register_buffer("left", memory[2:5])
        self.register_buffer("right", memory[5:9])
        self.register_buffer("expanded", torch.ones(1).expand(4))
        self.register_buffer("empty", torch.zeros(0, 3))
        self.register_buffer("scratch", torch.full((3,), 2.0), persistent=False)
        self.register_buffer("flags", torch.tensor([True, False, True]))
        self.ramp = torch.arange(4.0)

    def forward(self, tokens, targets, *, scale=None, count=3):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = torch.relu(block(x))
        x = torch.nn.functional.dropout(self.blocks[0](x), 0.1, self.training)
        x = self.norm(x.mean(1)) + self.ramp + self.scratch.sum() + self.left.sum() + self.right.sum() + self.expanded
        with torch.no_grad():
            mean = x.mean() + self.flags.sum() + self.empty.sum()
        doubled = torch.zeros(2 * x.shape[0] + 1, dtype=torch.float64).sum()
        first, second = torch.split(x, 2, 1)
        picked = x[:, torch.tensor([0, 2])]
        logits = self.head(x)
        hidden = x @ self.turned
        loss = torch.nn.functional.cross_entropy(logits, targets) + 0 * mean + 0 * picked.sum() + 0 * doubled
        return {"loss": loss, "hidden": [hidden, (first, second)], "count": count}


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, x, y):
        output = self.drop(self.fc(x))
        return {"output": output, "loss": torch.nn.functional.mse_loss(output, y)}


class Scalar(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))

    def forward(self, x):
        return (self.weight * x).sum()


def without_folders(program):
    """Of metadata only what Levin reads, and file names without their folders."""
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else []:
            node.meta = {k: v for k, v in node.meta.items() if k in ("val", "stack_trace", "nn_module_stack")}
            if trace := node.meta.get("stack_trace"):
                node.meta["stack_trace"] = re.sub(r'File "[^"]*/', 'File "', trace)
    program._example_inputs = None
    return program


def archives(folder):
    torch.manual_seed(1)
    batch = Dim("batch", min=2, max=64)
    tokens = {"tokens": torch.zeros(3, 5, dtype=torch.int64), "targets": torch.zeros(3, dtype=torch.int64)}
    features = export(Features(), (tokens["tokens"],), {"targets": tokens["targets"], "scale": None, "count": 3},
                      dynamic_shapes={"tokens": {0: batch}, "targets": {0: batch}, "scale": None, "count": None}, strict=False)
    torch.export.save(without_folders(features), folder / "features.pt2")

    rows = {"x": torch.zeros(4, 3), "y": torch.zeros(4, 2)}
    double = {"x": {0: batch}, "y": {0: batch}}
    model = Small()
    programs = {name: without_folders(export(model.train(name == "train"), (), rows, dynamic_shapes=double, strict=False)) for name in ("train", "eval")}
    description = {"version": 1, "torch": torch.__version__.split("+")[0], "main": "train", "eval": "eval", "inputs": [{"name": "x"}, {"name": "y"}],
                   "outputs": ["output", "loss"], "eval_outputs": ["output", "loss"], "loss": "loss", "units": ["blocks.*"]}
    package_pt2(folder / "two_graphs.pt2", exported_programs=programs, extra_files={"levin.json": json.dumps(description)})
    torch.export.save(without_folders(export(Scalar(), (torch.ones(2),), strict=False)), folder / "scalar.pt2")
    torch.export.save(without_folders(export(Scalar(), (torch.ones(2),), strict=False).run_decompositions()), folder / "inference.pt2")
    torch.save(Scalar().state_dict(), folder / "state_dict.pt2")


def contents(path):
    """What must be the same whenever it is exported; weights are random, but for their seed."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("serialization_id")}


def main():
    warnings.simplefilter("ignore")
    if "--check" not in sys.argv:
        FOLDER.mkdir(exist_ok=True)
        return archives(FOLDER)
    with tempfile.TemporaryDirectory() as folder:
        archives(pathlib.Path(folder))
        for path in sorted(pathlib.Path(folder).iterdir()):
            if contents(path) != contents(FOLDER / path.name):
                sys.exit(f"{path.name} is exported differently today; run record_structure.py and look at what changed")


if __name__ == "__main__":
    main()
