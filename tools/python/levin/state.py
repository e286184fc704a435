"""A model's parameters and buffers as they are stored."""
import dataclasses

import torch

from .errors import ExportError


@dataclasses.dataclass
class State:
    weights: dict  # parameters and persistent buffers, all names; tied names have the same object
    buffers: dict  # all buffers, the others, too
    tied: list  # groups of names of one tensor, in the order of the state_dict
    frozen: list  # parameters without gradients; of a tied one all names

    def constants(self, program):
        """Of a graph: buffers that are not in the state_dict, and tensors that the model's code makes."""
        return {name: self.buffers.get(name, tensor) for name, tensor in program.constants.items()}


def unwrapped(model):
    """The module that torch.compile, DataParallel or DistributedDataParallel wraps: wrappers add a prefix to its names."""
    while True:
        if hasattr(model, "_orig_mod"):
            model = model._orig_mod
        elif isinstance(model, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
            model = model.module
        else:
            return model


def state_of(model):
    parameters = dict(model.named_parameters(remove_duplicate=False))
    buffers = dict(model.named_buffers(remove_duplicate=False))
    _refuse_shared_memory(parameters, buffers)
    saved = model.state_dict(keep_vars=True)
    if unexpected := [name for name in saved if name not in parameters and name not in buffers]:
        raise ExportError(f"[levin.export] the state_dict has {unexpected[0]}, which is neither a parameter nor a buffer; register it as a buffer")
    weights = {name: (parameters | buffers)[name] for name in saved}
    names = {}
    for name, tensor in weights.items():
        names.setdefault(id(tensor), []).append(name)
    return State(weights, buffers, [group for group in names.values() if len(group) > 1],
                 [name for name, p in parameters.items() if not p.requires_grad])


def refuse_without_data(model):
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if isinstance(tensor, (torch.nn.parameter.UninitializedParameter, torch.nn.parameter.UninitializedBuffer)):
            raise ExportError(f"[levin.export] {name} has no shape yet; run the model once on a batch before the export")
        if tensor.device.type == "meta":
            raise ExportError(f"[levin.export] {name} is on the device meta and has no values; initialise the model, or load its weights, before the export")


def _refuse_shared_memory(parameters, buffers):
    seen = {}
    for name, tensor in (parameters | buffers).items():
        if not tensor.numel():
            continue
        key = tensor.untyped_storage().data_ptr()
        for other, found in seen.get(key, []):
            if found is not tensor and (name in parameters or other in parameters) and _overlap(found, tensor):
                raise ExportError(f"[levin.export] {other} and {name} share memory, but are two tensors; to tie weights, assign the parameter itself: "
                                  "self.head.weight = self.embedding.weight")
        seen.setdefault(key, []).append((name, tensor))


def _overlap(a, b):
    def extent(t):
        begin = t.storage_offset() * t.element_size()
        return begin, begin + (1 + sum((n - 1) * s for n, s in zip(t.shape, t.stride()))) * t.element_size()

    (begin_a, end_a), (begin_b, end_b) = extent(a), extent(b)
    return begin_a < end_b and begin_b < end_a
