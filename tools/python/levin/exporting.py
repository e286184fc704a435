"""levin.export."""
import contextlib
import copy
import os

import torch
from torch.export import Dim

from . import archive, checks, graphs, state as states
from .errors import ExportError, listed
from .naming import named_batch, named_forward, split_batch
from .units import module_calls, suggested_units

VERSION = 1
_BATCH = "batch"


def export(model, example_batch, path, *, dynamic=None, ranges=None, outputs=None, loss=None, units=None, check=True):
    """Writes `path` (.pt2), an archive that Levin trains without Python.

    The archive contains two graphs of the model, `train` and `eval`, its parameters and buffers under the names of its
    state_dict, and a description (extra/levin.json).

    model: a torch.nn.Module. forward takes the batch's tensors by name and returns the loss, or outputs that a loss is
        computed from: a tensor, a tuple, a dict, or a dataclass such as those of transformers. The graph `train` has the modes
        of the submodules as they are if the model is in training mode (so parts that were put into evaluation mode stay so).
        The model itself is not changed; one on a GPU is copied to the CPU, one from torch.compile is exported without it.
    example_batch: a dict of tensors by the names of forward's parameters; or a tuple or a tensor, for forward's first
        parameters. Numbers, bools, texts and None become part of the graph.
    dynamic: which dimensions may differ from the example's. By default dimension 0 of every tensor, called "batch".
        {"tokens": ("batch", "length"), "mask": {1: "length"}} names dimensions; equal names have equal sizes. False: none.
    ranges: {"length": (1, 1024)}: smallest and largest size of a named dimension; None: no limit. By default (1, None).
    outputs: names of the outputs to keep. For a model that returns a tuple, its names by position.
    loss: the name of the scalar to minimise. By default "loss", if there is such an output; a model that returns one scalar
        returns its loss. Without a loss, Levin's configuration names a loss function.
    units: patterns of submodules that Levin shards and recomputes one at a time, such as ["blocks.*"]. By default the repeated
        blocks of the model's ModuleLists and Sequentials.
    check: compares outputs, loss, gradients and buffers of the exported graphs with the model's, on the example batch.

    Returns the description as a dict. Raises ExportError where torch.export would lose or change what the model computes.
    """
    if not isinstance(model, torch.nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise ExportError(f"[levin.export] the model is a {type(model).__name__}; pass a torch.nn.Module written in Python")
    model = states.unwrapped(model)
    states.refuse_without_data(model)
    model = on_cpu(model)
    tensors, fixed = split_batch(named_batch(model, example_batch))
    tensors = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    dims = named_dimensions(tensors, dynamic)
    tensors = repeated(tensors, dims)
    checks.refuse_hooks(model)
    programs, names = {}, {}
    with named_forward(model, tensors, fixed, outputs):
        for name in ("train", "eval"):
            with modes(model, name == "train"):
                found = checks.probe(model, tensors, name, loss)
                names[name] = list(found)
                programs[name] = traced(model, tensors, dims, ranges or {}, name)
                graphs.write_by_copies(programs[name])
                checks.refuse_operators(programs[name])
                graphs.tidy(programs[name])
                if check:
                    checks.compare(model, programs[name], tensors, name, chosen_loss(names[name], loss))
    if (chosen := chosen_loss(names["train"], loss)) and chosen not in names["eval"]:
        raise ExportError(f"[levin.export] in evaluation the model returns no {chosen}; return it in both modes")
    state = states.state_of(model)
    symbols = {name: symbol_names(program, tensors, dims) for name, program in programs.items()}
    description = {
        "version": VERSION,
        "torch": torch.__version__.split("+")[0],
        "main": "train",
        "eval": "eval",
        "inputs": described_inputs(programs["train"], tensors, symbols["train"]),
        "symbols": described_symbols(programs, symbols),
        "outputs": names["train"],
        "eval_outputs": names["eval"],
        "loss": chosen,
        "units": list(units) if units is not None else suggested_units(model, module_calls(programs["train"].graph)),
        "tied": state.tied,
        "frozen": state.frozen,
    }
    archive.write(os.fspath(path), programs, state.weights, {k: state.constants(p) for k, p in programs.items()}, description)
    return description


def on_cpu(model):
    """The model, or a copy on the CPU of one that is elsewhere."""
    tensors = [*model.parameters(), *model.buffers()]
    if all(t.device.type == "cpu" for t in tensors):
        return model
    try:
        model = copy.deepcopy(model).to("cpu")
    except Exception as error:
        raise ExportError(f"[levin.export] cannot copy the model to the CPU: {error}; call model.cpu() before the export") from error
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor) and value.device.type != "cpu":
                setattr(module, name, value.cpu())
    return model


@contextlib.contextmanager
def modes(model, training):
    """Training: the modes that the submodules have, if the model is in training mode."""
    before = {module: module.training for module in model.modules()}
    if not training or not model.training:
        model.train(training)
    try:
        yield
    finally:
        for module, mode in before.items():
            module.training = mode


def chosen_loss(names, loss):
    return loss if loss else "loss" if "loss" in names else None


def named_dimensions(tensors, dynamic):
    """{input: {dimension: name}}."""
    if dynamic is False:
        return {}
    if dynamic is None:
        sizes = {tensor.shape[0] for tensor in tensors.values() if tensor.dim()}
        if len(sizes) > 1:
            raise ExportError("[levin.export] the example's tensors have different sizes in dimension 0 ("
                              + ", ".join(f"{k}: {v.shape[0]}" for k, v in tensors.items() if v.dim()) + '); name the dimensions that vary: '
                              'dynamic={"x": ("batch",), …}')
        return {name: {0: _BATCH} for name, tensor in tensors.items() if tensor.dim()}
    result = {}
    for name, given in dynamic.items():
        if name not in tensors:
            raise ExportError(f"[levin.export] dynamic names {name}, but the batch has {listed(tensors, 20)}")
        given = given if isinstance(given, dict) else dict(enumerate([given] if isinstance(given, str) else given or ()))
        result[name] = {int(k): str(getattr(v, "__name__", v)) for k, v in given.items() if v is not None}
        for k, label in result[name].items():
            if not 0 <= k < tensors[name].dim():
                raise ExportError(f"[levin.export] dynamic names dimension {k} of {name}, whose shape is {tuple(tensors[name].shape)}")
            if not label.isidentifier():
                raise ExportError(f'[levin.export] "{label}" cannot be the name of a dimension; use letters, digits and _')
    return {name: found for name, found in result.items() if found}


def repeated(tensors, dims):
    """torch.export takes sizes 0 and 1 for constants: a dynamic dimension of size 1 is repeated."""
    result = {}
    for name, tensor in tensors.items():
        for dimension in dims.get(name, {}):
            if tensor.shape[dimension] == 0:
                raise ExportError(f"[levin.export] dimension {dimension} of the example's {name} is empty; pass at least one sample")
            if tensor.shape[dimension] == 1:
                tensor = torch.cat([tensor, tensor], dimension)
        result[name] = tensor.contiguous()
    return result


def traced(model, tensors, dims, ranges, name):
    labels = {label for found in dims.values() for label in found.values()}
    if unknown := [label for label in ranges if label not in labels]:
        raise ExportError(f"[levin.export] ranges names {listed(unknown)}; the dimensions that vary are {listed(sorted(labels), 20) or 'none'}")
    symbols = {label: dimension(label, ranges.get(label)) for label in labels}
    shapes = {name: {k: symbols[label] for k, label in dims.get(name, {}).items()} or None for name in tensors} if dims else None
    try:
        with checks.quiet():
            return torch.export.export(model, (), dict(tensors), dynamic_shapes=shapes, strict=False)
    except ExportError:
        raise
    except Exception as error:
        raise checks.translated(error, name) from error


def dimension(label, limits):
    least, most = limits or (1, None)
    return Dim(label, min=least, max=most)


def symbol_names(program, tensors, dims):
    """{symbol of the graph: name of the dimension}."""
    found = {}
    for node, name in zip(user_inputs(program), tensors):
        for k, label in dims.get(name, {}).items():
            size = node.meta["val"].shape[k]
            if isinstance(size, torch.SymInt) and size.node.expr.is_symbol:
                found.setdefault(str(size.node.expr), label)
    return found


def user_inputs(program):
    names = set(program.graph_signature.user_inputs)
    return [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]


def described_inputs(program, tensors, symbols):
    result = []
    for node, name in zip(user_inputs(program), tensors):
        shape = [described_size(size, symbols) for size in node.meta["val"].shape]
        result.append({"name": name, "dtype": str(tensors[name].dtype).removeprefix("torch."), "shape": shape})
    return result


def described_size(size, symbols):
    if isinstance(size, int):
        return size
    expression = size.node.expr
    return str(expression.xreplace({symbol: type(symbol)(symbols.get(str(symbol), str(symbol)), integer=True, positive=True)
                                    for symbol in expression.free_symbols}))


def described_symbols(programs, symbols):
    """{name: {"min", "max"}}: the sizes that both graphs accept."""
    result = {}
    for name, program in programs.items():
        for symbol, limit in program.range_constraints.items():
            if label := symbols[name].get(str(symbol)):
                least, most = int(limit.lower), int(limit.upper) if limit.upper.is_Integer else None
                found = result.setdefault(label, {"min": least, "max": most})
                found["min"] = max(found["min"], least)
                found["max"] = most if found["max"] is None else found["max"] if most is None else min(found["max"], most)
    return result
