"""levin.load."""
import warnings

import torch

from .checkpoint import found_checkpoint, read_weights
from .errors import LoadError, listed
from .state import unwrapped


def load(run_or_checkpoint, model, strict=True, which="auto"):
    """Copies the weights of a training with Levin into `model`, in place.

    run_or_checkpoint: a checkpoint's directory; a run's directory, or its directory of checkpoints, of which `which` chooses; the
        text file `last` in it; or a safetensors file (levin-ckpt export makes one). Checkpoints are read with h5py, safetensors
        files with safetensors.
    model: the torch.nn.Module that was exported, or one with the same parameters and buffers. They stay on their devices and
        keep their dtypes: floating-point values are converted. A tied parameter may be stored under any of its names.
    strict: every parameter and buffer of the model's state_dict must be in the file, with its shape, and no others. Otherwise what
        fits is loaded, and warnings name the rest.
    which: of a run: "best" (by the score of its model_checkpoint), "last" (the most steps), the name of a checkpoint, or "auto": the
        best if the checkpoints have scores, else the last.

    Returns the path of the checkpoint or file. Raises LoadError, which leaves the model as it was.
    """
    path = found_checkpoint(run_or_checkpoint, which)
    stored = read_weights(path)
    copies, problems = matched(stored, unwrapped(model))
    if problems:
        text = "; ".join(problems)
        if strict:
            raise LoadError(f"[levin.load] {path} does not fit the model: {text}; use strict=False to load what fits")
        warnings.warn(f"[levin.load] {path} does not fit the model: {text}", stacklevel=2)
    with torch.no_grad():
        for tensor, value in copies:
            tensor.copy_(value)
    return path


def matched(stored, model):
    """[(tensor of the model, value)], and texts of all differences."""
    saved = model.state_dict(keep_vars=True)
    tied = {}  # by id: each tensor of the model with all of its names
    for name, tensor in [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]:
        tied.setdefault(id(tensor), (tensor, []))[1].append(name)
    copies, missing, shapes, kinds, unequal = [], [], [], [], []
    for tensor, names in tied.values():
        values = [(name, stored[name]) for name in names if name in stored]
        if not values:
            missing += [name for name in names if name in saved][:1]
            continue
        name, value = values[0]
        if any(not torch.equal(value, other) for _, other in values[1:]):
            unequal.append(" and ".join(n for n, _ in values))
        elif tuple(value.shape) != tuple(tensor.shape):
            shapes.append(f"{name} is {list(value.shape)} instead of {list(tensor.shape)}")
        elif kind_of(value) != kind_of(tensor):
            kinds.append(f"{name} is {value.dtype} instead of {tensor.dtype}")
        else:
            copies.append((tensor, value))
    known = {name for _, names in tied.values() for name in names}
    unexpected = sorted(name for name in stored if name not in known)
    problems = [f"{problem}: {listed(found, 8)}" for problem, found in (
        ("missing", missing), ("unexpected", unexpected), ("of another shape", shapes), ("of another type", kinds),
        ("tied in the model, but with different values", unequal)) if found]
    return copies, problems


def kind_of(tensor):
    return "complex" if tensor.is_complex() else "floating" if tensor.is_floating_point() else "boolean" if tensor.dtype == torch.bool else "integer"
