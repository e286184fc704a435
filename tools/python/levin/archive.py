"""Writes the archive: the graphs "train" and "eval", each weight once as raw bytes, and levin.json. Nothing in it is pickled."""
import ctypes
import json
import os
import re
import sys
import tempfile

import torch
from torch._export.serde import schema, serialize
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export.pt2_archive import constants as records
from torch.export.pt2_archive._package import PT2ArchiveWriter

from .errors import ExportError

_KEPT = ("stack_trace", "nn_module_stack")


def write(path, programs, weights, constants, description):
    """weights and constants: real tensors by name. Tensors that are the same object are stored once."""
    # PyTorch takes the archive's inner folder from the file's name: written under it, in a temporary folder.
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(path)), prefix=".levin-export-") as folder:
        partial = os.path.join(folder, os.path.basename(path))
        with PT2ArchiveWriter(partial) as archive:
            stored = {}
            for name, program in programs.items():
                for kind, tensors in (("weight", weights), ("constant", constants[name])):
                    config = {key: _store(archive, stored, kind, key, tensor) for key, tensor in tensors.items()}
                    record = records.WEIGHTS_CONFIG_FILENAME_FORMAT if kind == "weight" else records.CONSTANTS_CONFIG_FILENAME_FORMAT
                    archive.write_string(record.format(name), json.dumps(serialize._dataclass_to_dict(schema.PayloadConfig(config=config))))
                archive.write_bytes(records.MODELS_FILENAME_FORMAT.format(name), _graph(program))
                archive.write_bytes(records.SAMPLE_INPUTS_FILENAME_FORMAT.format(name), b"")  # PyTorch would pickle them
            archive.write_string(records.EXTRA_DIR + "levin.json", json.dumps(description, indent=1))
        os.replace(partial, path)


def _store(archive, stored, kind, name, tensor):
    if type(tensor.data) is not torch.Tensor or tensor.layout is not torch.strided or tensor.is_quantized:
        raise ExportError(f"[levin.export] {name} is a {tensor.layout} {type(tensor.data).__name__}; Levin stores dense tensors only")
    key = (kind, id(tensor))
    data = tensor.detach()
    if not data.is_contiguous():
        data = data.contiguous()
    if key not in stored:
        prefix = records.WEIGHT_FILENAME_PREFIX if kind == "weight" else records.TENSOR_CONSTANT_FILENAME_PREFIX
        stored[key] = f"{prefix}{sum(k[0] == kind for k in stored)}"
        directory = records.WEIGHTS_DIR if kind == "weight" else records.CONSTANTS_DIR
        archive.write_bytes(directory + stored[key], _bytes(data))
    parameter = isinstance(tensor, torch.nn.Parameter)
    meta = serialize.serialize_tensor_meta(torch.empty_strided(data.shape, data.stride(), dtype=data.dtype, device="meta"))
    meta.requires_grad = tensor.requires_grad
    meta.device = schema.Device(type="cpu", index=None)
    return schema.PayloadMeta(path_name=stored[key], is_param=parameter, use_pickle=False, tensor_meta=meta)


def _bytes(tensor):
    tensor = tensor.resolve_conj().resolve_neg()
    size = tensor.numel() * tensor.element_size()
    return bytes((ctypes.c_char * size).from_address(tensor.data_ptr())) if size else b""


def _graph(program):
    """The graph as JSON: without the weights, and without the folders of this machine."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta = {k: v for k, v in node.meta.items() if k in ("val", *_KEPT)}
                if trace := node.meta.get("stack_trace"):
                    node.meta["stack_trace"] = _short_trace(trace)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        program._state_dict = {k: mode.from_tensor(v) for k, v in program.state_dict.items()}
        program._constants = {k: mode.from_tensor(v) for k, v in program.constants.items()}
    program._example_inputs = None
    program._guards_code = []
    try:
        return serialize._to_json_bytes(serialize.ExportedProgramSerializer().serialize(program).exported_program)
    except serialize.SerializeError as error:
        raise ExportError(f"[levin.export] the graph cannot be stored: {error}; write it with ordinary operators") from error


_FRAME = re.compile(r'^  File "([^"]*)"', re.MULTILINE)
_TORCH = os.path.dirname(torch.__file__) + os.sep


def _short_trace(trace):
    """The innermost frame of the user's code, which Levin's messages name."""
    starts = [match.start() for match in _FRAME.finditer(trace)] + [len(trace)]
    frames = [trace[a:b].rstrip("\n") for a, b in zip(starts, starts[1:])]
    frame = next((f for f in reversed(frames) if not _FRAME.match(f)[1].startswith(_TORCH)), frames[-1] if frames else "")
    return _FRAME.sub(lambda match: f'  File "{_short_path(match[1])}"', frame)


def _short_path(path):
    """Relative to the folder that Python imports it from."""
    roots = [os.path.abspath(root or ".") + os.sep for root in [*sys.path, "."]]
    root = max((root for root in roots if path.startswith(root)), key=len, default="")
    return path[len(root):] if root else os.path.basename(path)
