"""export_test.py [TEST ...]: levin.export on small models: what the archive holds, and every refusal with its message. Run by tools/peers-python."""
import collections
import dataclasses
import json
import os
import random
import re
import sys
import tempfile
import unittest
import warnings
import zipfile

sys.dont_write_bytecode = True
here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "..", "tools", "python"))
sys.path.insert(0, here)
warnings.simplefilter("ignore")
import numpy
import torch
import torch.nn.functional as F
from torch import nn
from torch.export.pt2_archive._package import load_pt2

import levin
import models

torch.set_num_threads(1)
X = torch.arange(24.0).reshape(4, 6).sin()
LABEL = torch.tensor([0, 1, 2, 3])


class Linear(nn.Module):
    """A linear layer, and what a test does with its output."""

    def __init__(self, then=lambda self, y: y.square().mean()):
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.then = then

    def forward(self, x):
        return self.then(self, self.layer(x))


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.path = os.path.join(folder.name, "net.pt2")
        torch.manual_seed(3)

    def refused(self, text, model, batch=None, **options):
        """The message has the parts of text that ... separates, and no file is written."""
        with self.assertRaises(levin.ExportError) as caught:
            levin.export(model, {"x": X} if batch is None else batch, self.path, **options)
        message = str(caught.exception)
        self.assertTrue(message.startswith("[levin.export] "), message)
        self.assertRegex(message, re.compile(".*".join(map(re.escape, text.split("..."))), re.DOTALL))
        self.assertEqual(os.listdir(self.folder), [])
        return message

    def export(self, model, batch=None, **options):
        return levin.export(model, {"x": X} if batch is None else batch, self.path, **options)

    def records(self):
        with zipfile.ZipFile(self.path) as archive:
            return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


@torch.library.custom_op("levin_test::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


twice.register_fake(torch.empty_like)
twice.register_autograd(lambda ctx, gradient: gradient * 2)


class Refusals(Case):
    def test_autograd_function(self):
        self.refused("torch.autograd.Function Straight, whose backward torch.export loses...(x.round() - x).detach()",
                     Linear(lambda _, y: Straight.apply(y).mean()))

    def test_autograd_function_that_changes_no_gradient(self):
        same = type("Same", (torch.autograd.Function,), {"forward": staticmethod(lambda ctx, x: x * 1), "backward": staticmethod(lambda ctx, g: g)})
        self.refused("torch.autograd.Function Same", Linear(lambda _, y: same.apply(y).mean()))

    def test_reentrant_checkpoint(self):
        self.refused("use_reentrant=False", Linear(lambda self, y: torch.utils.checkpoint.checkpoint(self.layer, y, use_reentrant=True).mean()))

    def test_module_hooks(self):
        for register in ("register_full_backward_hook", "register_full_backward_pre_hook"):
            model = Linear()
            getattr(model.layer, register)(lambda *_: None)
            self.refused("the module layer (Linear) has backward hooks...in forward", model)

    def test_global_module_hook(self):
        handle = nn.modules.module.register_module_full_backward_hook(lambda *_: None)
        self.addCleanup(handle.remove)
        self.refused("backward hooks for all modules", Linear())

    def test_parameter_hooks(self):
        for register in ("register_hook", "register_post_accumulate_grad_hook"):
            model = Linear()
            getattr(model.layer.weight, register)(lambda _: None)
            self.refused("the parameter layer.weight has hooks...gradient_clip_val", model)

    def test_tensor_hook(self):
        def then(_, y):
            if y.requires_grad:
                y.register_hook(lambda gradient: gradient * 2)
            return y.mean()

        self.refused("registers a hook on a tensor (export_test.py:...y.register_hook...(x - x * s).detach()", Linear(then))
        self.assertIn("register_hook", torch.Tensor.register_hook.__name__)

    def test_state_in_python(self):
        def count(self, y):
            self.calls = getattr(self, "calls", 0) + 1
            return y.mean() * self.calls

        def history(self, y):
            self.__dict__.setdefault("seen", []).append(1)
            return y.mean()

        def mean(self, y):
            self.running = 0.9 * getattr(self, "running", torch.zeros(6)) + 0.1 * y.detach().mean(0)
            return (y - self.running).square().mean()

        self.refused("forward changes calls...self.register_buffer", Linear(count))
        self.refused("forward changes seen", Linear(history))
        self.refused("forward changes running", Linear(mean))

    def test_state_outside_of_the_model(self):
        calls = []

        def then(_, y):
            calls.append(1)
            return y.mean() * len(calls)

        self.refused("two calls of the model...return different values", Linear(then))

    def test_random_numbers_of_python(self):
        self.refused("draws random numbers from Python's random...torch.rand", Linear(lambda _, y: y.mean() * random.random()))
        self.refused("or from numpy", Linear(lambda _, y: y.mean() * numpy.random.rand()))

    def test_condition_on_values(self):
        message = self.refused("a condition, an index or a size depends on the values of tensors (export_test.py:...torch.cond",
                               Linear(lambda _, y: y.mean() if y.sum() > 0 else y.square().mean()))
        self.assertIn("y.sum() > 0", message)

    def test_size_of_values(self):
        self.refused("a condition, an index or a size depends on the values of tensors", Linear(lambda _, y: y.flatten()[: int(y.abs().sum())].view(-1, 2).sum()))

    def test_constant_that_differs_in_the_graph(self):
        self.refused("another loss loss than the model...takes for a constant", Linear(lambda _, y: y.mean() * (2 if torch.compiler.is_exporting() else 1)))

    def test_gradient_that_differs_in_the_graph(self):
        self.refused("other gradients than the model for layer.weight, layer.bias",
                     Linear(lambda _, y: (y if torch.compiler.is_exporting() else y * 0.5 + (y * 0.5).detach()).mean()))

    def test_buffer_that_differs_in_the_graph(self):
        def then(self, y):
            if not torch.compiler.is_exporting():
                self.seen += 1
            return y.mean()

        model = Linear(then)
        model.register_buffer("seen", torch.zeros(2))
        self.refused("other values than the model in seen", model)

    def test_while_loop(self):
        def then(self, y):
            return torch._higher_order_ops.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, self.layer(y)), (torch.zeros((), dtype=torch.long), y))[1].mean()

        self.refused("while_loop", Linear(then))

    def test_internal_operators(self):
        self.refused("aten::_fft_r2c (", Linear(lambda _, y: torch.ops.aten._fft_r2c(y, [1], 0, True).abs().mean()))
        with open(os.path.join(here, "..", "..", "src", "exported", "operators.cpp")) as file:
            text = file.read()
        for name, ours in (("exported_internals", levin.checks._INTERNALS), ("trusting", levin.checks._TRUSTING)):
            theirs = re.findall(r'"(\w+)"', re.search(name + r"\[\] = \{(.*?)\};", text, re.DOTALL)[1])
            self.assertEqual(sorted(ours), sorted(theirs))

    def test_operator_in_python(self):
        self.refused("levin_test::twice (...is written in Python (torch.library.custom_op)", Linear(lambda _, y: torch.ops.levin_test.twice(y).mean()))

    def test_meta(self):
        with torch.device("meta"):
            model = Linear()
        self.refused("layer.weight is on the device meta", model)

    def test_lazy(self):
        self.refused("0.weight has no shape yet; run the model once", nn.Sequential(nn.LazyLinear(3)), (X,))

    def test_memory_of_two_parameters(self):
        model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
        model[1].weight = nn.Parameter(model[0].weight.data)
        self.refused("0.weight and 1.weight share memory...self.head.weight = self.embedding.weight", model, (X,))

    def test_script_module(self):
        self.refused("RecursiveScriptModule; pass a torch.nn.Module written in Python", torch.jit.script(nn.Linear(6, 6)), (X,))

    def test_batch(self):
        self.refused("forward has no parameter image; it has x", Linear(), {"image": X})
        self.refused("the example batch has no label, which forward needs; it has x", models.Mlp(), {"x": X})
        self.refused("the batch has 2 values, but forward takes 1 by position (x)", Linear(), (X, LABEL))
        self.refused("the batch's x is a dict", Linear(), {"x": {"y": X}})
        self.refused("has no tensor", Linear(), {"x": 1})
        self.refused("the example batch is a int", Linear(), 3)
        self.refused("dimension 0 of the example's x is empty", Linear(), {"x": X[:0]})

    def test_fails_itself(self):
        self.refused("the model itself fails on the example batch (training mode, export_test.py:...mat1 and mat2", Linear(), {"x": X[:, :5]})

    def test_loss(self):
        self.refused("the loss loss is a torch.float32 of shape (4, 6); return one", Linear(lambda _, y: {"loss": y}))
        self.refused("the model returns no nll; it returns loss", Linear(), loss="nll")
        self.refused("the loss loss does not depend on a trainable parameter", Linear(lambda _, y: {"loss": y.mean().detach(), "y": y}))
        self.refused("no output depends on a trainable parameter", Linear(lambda _, y: {"y": y.detach()}))
        self.refused("the loss of the example batch is nan", Linear(lambda _, y: y.mean() * float("nan")))
        self.refused("returns no tensor", Linear(lambda _, y: 3))
        self.refused("in evaluation the model returns no loss", Linear(lambda self, y: {"loss": y.mean()} if self.training else {"y": y}))
        self.refused("the model returns no b; it returns a", Linear(lambda _, y: {"a": y}), outputs=["b"])

    def test_dimensions(self):
        two = {"x": X, "y": X[:2]}
        model = type("Two", (Linear,), {"forward": lambda self, x, y: self.layer(x).mean() + y.mean()})()
        self.refused("different sizes in dimension 0 (x: 4, y: 2); name the dimensions", model, two)
        self.refused("dynamic names z, but the batch has x, y", model, two, dynamic={"z": ("batch",)})
        self.refused("dynamic names dimension 2 of x, whose shape is (4, 6)", model, two, dynamic={"x": {2: "batch"}})
        self.refused('"a b" cannot be the name of a dimension', model, two, dynamic={"x": "a b"})
        self.refused("ranges names length; the dimensions that vary are batch", Linear(), ranges={"length": (1, 2)})
        self.refused("a dimension that should vary is fixed by the model", Linear(), dynamic={"x": ("batch", "width")})
        self.refused("a dimension that should vary is fixed by the model", Linear(lambda _, y: y.view(4, 6).mean()))


@dataclasses.dataclass
class Output:
    loss: torch.Tensor
    logits: torch.Tensor
    cache: object = None


class MappedOutput(collections.OrderedDict):
    pass


Named = collections.namedtuple("Named", "loss logits")


class Archives(Case):
    def outputs(self, then, **options):
        found = self.export(Linear(then), **options)
        return found["outputs"], found["loss"]

    def test_names_of_outputs(self):
        self.assertEqual(self.outputs(lambda _, y: y.mean()), (["loss"], "loss"))
        self.assertEqual(self.outputs(lambda _, y: y), (["output"], None))
        self.assertEqual(self.outputs(lambda _, y: y, outputs=["logits"]), (["logits"], None))
        self.assertEqual(self.outputs(lambda _, y: {"nll": y.mean(), "y": y}, loss="nll"), (["nll", "y"], "nll"))
        self.assertEqual(self.outputs(lambda _, y: (y.mean(), [y, y])), (["output_0", "output_1.0", "output_1.1"], None))
        self.assertEqual(self.outputs(lambda _, y: (y.mean(), y), outputs=["loss", "logits"]), (["loss", "logits"], "loss"))
        self.assertEqual(self.outputs(lambda _, y: Output(y.mean(), y, cache=object())), (["loss", "logits"], "loss"))
        self.assertEqual(self.outputs(lambda _, y: Named(y.mean(), y)), (["loss", "logits"], "loss"))
        self.assertEqual(self.outputs(lambda _, y: MappedOutput(loss=y.mean(), hidden=(y, None, y))), (["loss", "hidden.0", "hidden.2"], "loss"))
        self.assertEqual(self.outputs(lambda _, y: {"loss": y.mean(), "y": y}, outputs=["loss"]), (["loss"], "loss"))

    def test_graph_has_the_named_outputs_and_inputs_in_order(self):
        found = self.export(models.Mlp(), {"label": LABEL, "x": X})
        self.assertEqual([i["name"] for i in found["inputs"]], ["label", "x"])
        graph = json.loads(self.records()["models/train.json"])["graph_module"]
        names = [spec["user_input"]["arg"]["as_tensor"]["name"] for spec in graph["signature"]["input_specs"] if "user_input" in spec]
        self.assertEqual(names, ["label", "x"])
        kinds = [next(iter(spec)) for spec in graph["signature"]["output_specs"]]
        self.assertEqual(len([kind for kind in kinds if kind in ("user_output", "loss_output")]), 2)

    def test_inputs(self):
        found = self.export(nn.Sequential(nn.Linear(6, 2)), X)
        self.assertEqual(found["inputs"], [{"name": "input", "dtype": "float32", "shape": ["batch", 6]}])
        scaled = type("Scaled", (Linear,), {"forward": lambda self, x, /, scale, *, squared=True: (self.layer(x) * scale).mean()})()
        self.assertEqual([i["name"] for i in self.export(scaled, {"x": X, "scale": 2.0, "squared": False})["inputs"]], ["x"])
        self.assertIn('"as_float": 2.0', self.records()["models/train.json"].decode())
        anything = type("Anything", (Linear,), {"forward": lambda self, **batch: self.layer(batch["x"]).mean() + batch["z"].sum()})()
        self.assertEqual([i["name"] for i in self.export(anything, {"x": X, "z": X})["inputs"]], ["x", "z"])

    def test_dimensions(self):
        tokens = torch.zeros(1, 5, dtype=torch.long)
        batch = {"tokens": tokens, "targets": tokens}
        found = self.export(models.Gpt(), batch, dynamic={name: ("batch", "length") for name in batch}, ranges={"length": (2, 6)})
        self.assertEqual(found["inputs"][1], {"name": "targets", "dtype": "int64", "shape": ["batch", "length"]})
        self.assertEqual(found["symbols"], {"batch": {"min": 1, "max": None}, "length": {"min": 2, "max": 6}})
        fixed = self.export(Linear(), dynamic=False)
        self.assertEqual((fixed["inputs"][0]["shape"], fixed["symbols"]), ([4, 6], {}))
        scalar = type("Scalar", (Linear,), {"forward": lambda self, x, scale: self.layer(x).mean() * scale})()
        self.assertEqual(self.export(scalar, {"x": X, "scale": torch.tensor(2.0)})["inputs"][1]["shape"], [])

    def test_any_batch_size(self):
        model = models.Gpt().double()
        tokens = torch.arange(30).reshape(5, 6) % 11
        self.export(model, {"tokens": tokens[:3], "targets": tokens[:3]})
        train = load_pt2(self.path).exported_programs["train"].module()
        for size in (1, 2, 5):
            self.assertEqual(train(tokens=tokens[:size], targets=tokens[:size])["loss"].item(), model(tokens[:size], tokens[:size])["loss"].item())

    def test_python_reads_the_archive_back(self):
        model = models.Mlp(p=0.5)
        self.export(model, {"x": X, "label": LABEL})
        programs = load_pt2(self.path).exported_programs
        for name in ("eval", "train"):
            model.train(name == "train")
            torch.manual_seed(1)
            expected = model(X, LABEL)["loss"].item()
            torch.manual_seed(1)
            self.assertEqual(programs[name].module()(x=X, label=LABEL)["loss"].item(), expected)

    def test_description_is_in_the_archive(self):
        found = self.export(models.Gpt(), {"tokens": torch.zeros(2, 6).long(), "targets": torch.zeros(2, 6).long()})
        self.assertEqual(json.loads(self.records()["extra/levin.json"]), found)
        self.assertEqual({k: found[k] for k in ("version", "torch", "main", "eval", "units", "tied", "frozen")},
                         {"version": 1, "torch": torch.__version__.split("+")[0], "main": "train", "eval": "eval", "units": ["blocks.*"],
                          "tied": [["tokens.weight", "head.weight"]], "frozen": []})

    def test_weights_are_stored_once_as_raw_bytes(self):
        model = models.Gpt()
        model.positions.weight.requires_grad_(False)
        model.norm.bias.data = torch.stack([model.norm.bias.data] * 2, 1)[:, 0]  # a view of larger memory
        found = self.export(model, {"tokens": torch.zeros(2, 6).long(), "targets": torch.zeros(2, 6).long()})
        self.assertEqual(found["frozen"], ["positions.weight"])
        records = self.records()
        config = {name: json.loads(records[f"data/weights/{name}_weights_config.json"])["config"] for name in ("train", "eval")}
        self.assertEqual(config["train"], config["eval"])
        self.assertEqual(list(config["train"]), list(model.state_dict()))
        self.assertEqual(config["train"]["tokens.weight"], config["train"]["head.weight"])
        self.assertFalse(config["train"]["positions.weight"]["tensor_meta"]["requires_grad"])
        for name, tensor in model.state_dict().items():
            self.assertEqual(records["data/weights/" + config["train"][name]["path_name"]], tensor.contiguous().numpy().tobytes())
        self.assertEqual(sum(re.fullmatch(r"data/weights/weight_\d+", name) is not None for name in records), len(config["train"]) - 1)

    def test_nothing_is_pickled_and_no_folder_of_this_machine_is_named(self):
        self.export(models.ResNet(), {"x": torch.rand(2, 3, 6, 6), "label": LABEL[:2]})
        for name, data in self.records().items():
            self.assertFalse(data.startswith(b"PK\x03\x04") or b"\x80\x02" == data[:2], name)
            self.assertNotIn(here.encode(), data, name)
            self.assertNotIn(b"site-packages", data, name)
        self.assertIn(rb'File \"models.py\", line', self.records()["models/train.json"])

    def test_buffers_and_constants(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(6, 6)
                self.register_buffer("count", torch.zeros((), dtype=torch.long))
                self.register_buffer("cache", torch.arange(6.0), persistent=False)
                self.register_buffer("last", torch.zeros(6), persistent=False)
                self.plain = torch.ones(6)

            def forward(self, x):
                self.count += 1
                y = self.layer(x) * self.cache + self.plain + torch.tensor([1.0, 2, 3, 4, 5, 6])
                self.last.copy_(y.detach().mean(0))
                return y.square().mean() / self.count

        self.export(Net())
        records = self.records()
        config = {name: json.loads(records[f"data/constants/{name}_constants_config.json"])["config"] for name in ("train", "eval")}
        self.assertEqual(config["train"]["last"]["path_name"], config["eval"]["last"]["path_name"])
        self.assertNotEqual(config["train"]["last"]["path_name"], config["train"]["cache"]["path_name"])
        self.assertIn("count", json.loads(records["data/weights/train_weights_config.json"])["config"])
        self.assertNotIn("cache", json.loads(records["data/weights/train_weights_config.json"])["config"])
        self.assertEqual(load_pt2(self.path).exported_programs["train"].module()(x=X)["loss"].item(), Net.forward(self._same(Net()), X).item())

    def test_buffers_that_backward_needs(self):
        """A buffer is read, and then assigned or changed in place."""
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(6, 6)
                self.register_buffer("count", torch.ones((), dtype=torch.long))
                self.register_buffer("mean", torch.ones(6))

            def forward(self, x):
                self.count += 1
                y = self.layer(x) * self.mean / self.count
                self.mean = 0.9 * self.mean + 0.1 * y.detach().mean(0)
                return (y * self.mean).square().mean()

        self.export(Net())
        graph = json.loads(self.records()["models/train.json"])["graph_module"]["graph"]["nodes"]
        copies = [node["inputs"][0]["arg"]["as_tensor"]["name"] for node in graph if node["target"] == "torch.ops.aten.copy_.default"]
        self.assertEqual(copies, ["b_mean"])

    def test_cudnn_is_on(self):
        self.export(models.Mlp(), {"x": X, "label": LABEL})
        self.assertIn('"name": "cudnn_enabled", "arg": {"as_bool": true}', self.records()["models/train.json"].decode())

    def _same(self, net):
        net.load_state_dict(load_pt2(self.path).exported_programs["train"].state_dict)
        return net

    def test_model_is_as_before(self):
        model = models.Mlp(p=0.5)
        model.norm.eval()
        model.input.weight.grad = torch.ones(12, 6)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        generator = torch.get_rng_state()
        self.export(model, {"x": X, "label": LABEL})
        self.assertTrue(all(torch.equal(value, state[name]) for name, value in model.state_dict().items()))
        self.assertTrue(torch.equal(generator, torch.get_rng_state()))
        self.assertEqual([module.training for module in model.modules()], [True, True, False, True, True])
        self.assertTrue(torch.equal(model.input.weight.grad, torch.ones(12, 6)))
        self.assertIsNone(model.output.weight.grad)
        self.assertNotIn("forward", vars(model))

    def test_modes(self):
        """A part in evaluation mode stays so; a model in evaluation mode is trained as a whole."""
        model = models.Mlp()
        model.norm.eval()
        self.export(model, {"x": X, "label": LABEL})
        self.assertIn('"name": "training", "arg": {"as_bool": false}', self.records()["models/train.json"].decode())
        self.export(model.eval(), {"x": X, "label": LABEL})
        self.assertIn('"name": "training", "arg": {"as_bool": true}', self.records()["models/train.json"].decode())
        self.assertFalse(model.training)

    def test_units(self):
        def units(model, batch=(X,)):
            return self.export(model, batch)["units"]

        block = lambda: nn.Sequential(collections.OrderedDict(a=Linear(lambda _, y: y), b=Linear(lambda _, y: y)))
        self.assertEqual(units(block()), ["*"])
        self.assertEqual(units(nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))), [])
        self.assertEqual(units(nn.Sequential(block(), block())), ["0.*", "1.*"])
        layers = lambda: nn.Sequential(nn.Linear(6, 6), nn.ReLU())
        self.assertEqual(units(nn.Sequential(nn.Sequential(layers(), layers()), nn.Linear(6, 6))), ["0.*"])
        self.assertEqual(units(nn.Sequential(layers(), nn.Sequential(nn.Linear(6, 6), nn.Tanh()))), [])
        twice = block()
        twice.append(twice.a)
        self.assertEqual(units(twice), [])
        self.assertEqual(self.export(models.Mlp(), {"x": X, "label": LABEL}, units=["input"])["units"], ["input"])

    def test_what_works(self):
        """Constructs that look like those that are refused."""
        def scaled(_, y):
            return (y * 2 - y.detach()).mean()

        def cached(self, y):
            if not hasattr(self, "positions"):
                self.positions = torch.arange(6.0)
            return (y * self.positions).mean()

        def checkpointed(self, y):
            return torch.utils.checkpoint.checkpoint(self.layer, y, use_reentrant=False).mean()

        for then in (scaled, cached, checkpointed, lambda _, y: torch.cond(y.sum() > 0, torch.sin, torch.cos, (y,)).mean(),
                     lambda _, y: y[y > 0].sum(), lambda _, y: (y * y.abs().max().item()).mean(), lambda _, y: y[torch.randperm(y.shape[0])].mean()):
            self.export(Linear(then))
        hooked = Linear()
        hooked.layer.register_forward_hook(lambda module, inputs, output: output * 2)
        self.export(hooked)
        spectral = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6)))
        self.export(spectral, X)

    def test_sparse_gradients(self):
        """They are compared as dense ones."""
        self.refused("other gradients than the model for layer.weight", Linear(lambda self, y: F.embedding(
            torch.tensor([0, 2]), self.layer.weight, sparse=True).sum() + (y.sum() if torch.compiler.is_exporting() else y.sum() * 0.5 + (y.sum() * 0.5).detach())))
        self.export(models.Embeddings(), {"tokens": torch.arange(20).reshape(4, 5) % 11, "label": LABEL})

    def test_wrapped(self):
        for wrapper in (torch.compile, nn.DataParallel):
            self.export(wrapper(Linear()))
            self.assertEqual(list(json.loads(self.records()["data/weights/train_weights_config.json"])["config"]), ["layer.weight", "layer.bias"])

    def test_guide(self):
        """The first example of docs/exported.md."""
        with open(os.path.join(here, "..", "..", "docs", "exported.md")) as guide:
            code = guide.read().split("```python\n", 1)[1].split("```", 1)[0]
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)
        exec(code, {})
        found = json.loads(self.records()["extra/levin.json"])
        self.assertEqual((found["units"], found["loss"], found["outputs"]), (["blocks.*"], "loss", ["loss", "logits"]))

    def test_dtypes(self):
        for dtype in (torch.bfloat16, torch.float16, torch.float64):
            self.assertEqual(self.export(Linear().to(dtype), {"x": X.to(dtype)})["inputs"][0]["dtype"], str(dtype)[6:])
        weight = nn.Parameter(torch.randn(6, dtype=torch.complex64))
        model = type("Complex", (nn.Module,), {"forward": lambda self, x: (x * self.weight).abs().mean()})()
        model.weight = weight
        self.export(model)
        self.assertEqual(self.records()["data/weights/weight_0"], weight.detach().numpy().tobytes())


if __name__ == "__main__":
    unittest.main()
