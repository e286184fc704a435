"""Names for what goes into a model and comes out of it: torch.export keeps neither reliably."""
import contextlib
import dataclasses
import inspect
from collections.abc import Mapping

import torch

from .errors import ExportError, listed

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def named_batch(model, batch):
    """The batch as a dict: a tensor, a tuple or a list gets the names of forward's parameters."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    if isinstance(batch, torch.Tensor):
        batch = (batch,)
    if isinstance(batch, (tuple, list)):
        names = [p.name for p in parameters if p.kind in _POSITIONAL]
        if len(batch) > len(names):
            raise ExportError(f"[levin.export] the batch has {len(batch)} values, but forward takes {len(names)} by position "
                              f"({', '.join(names) or 'none'}); pass a dict, with the names of forward's parameters")
        batch = dict(zip(names, batch))
    if not isinstance(batch, Mapping):
        raise ExportError(f"[levin.export] the example batch is a {type(batch).__name__}; pass a dict of tensors, a tuple or a tensor")
    names = {p.name for p in parameters}
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        if unknown := [name for name in batch if name not in names]:
            raise ExportError(f"[levin.export] forward has no parameter {listed(map(str, unknown))}; it has {listed(sorted(names), 20)}. "
                              "The names of the batch are those of forward's parameters")
    missing = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in batch]
    if missing:
        raise ExportError(f"[levin.export] the example batch has no {listed(missing)}, which forward needs; it has {listed(map(str, batch), 20)}")
    return dict(batch)


def split_batch(batch):
    """The tensors of a batch, and the numbers, flags and texts that become part of the graph."""
    tensors = {k: v for k, v in batch.items() if isinstance(v, torch.Tensor)}
    fixed = {k: v for k, v in batch.items() if k not in tensors}
    for name, value in fixed.items():
        if not (value is None or isinstance(value, (bool, int, float, str))):
            raise ExportError(f"[levin.export] the batch's {name} is a {type(value).__name__}; an input is a tensor (a number, a bool, a str or None "
                              "becomes part of the graph). Give each tensor its own name")
    if not tensors:
        raise ExportError("[levin.export] the example batch has no tensor")
    return tensors, fixed


def named_outputs(value):
    """The tensors in what a model returns, by name. Values that are not tensors, such as caches, are left out."""
    if isinstance(value, torch.Tensor):
        return {"loss" if value.dim() == 0 and value.is_floating_point() else "output": value}
    found = {}
    _collect(value, "", found)
    return found


def _collect(value, name, found):
    if isinstance(value, torch.Tensor):
        found[name] = value
        return
    for key, item in _items(value):
        _collect(item, f"{name}.{key}" if name else f"output_{key}" if isinstance(key, int) else str(key), found)


def _items(value):
    if isinstance(value, Mapping):
        return value.items()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return zip(value._fields, value)
    if isinstance(value, (tuple, list)):
        return enumerate(value)
    return ()


def chosen_outputs(found, names):
    """The outputs that the caller chose by name, or, of a model that returns a tensor or a tuple, named by position."""
    if not names:
        return found
    if all(name in found for name in names):
        return {name: found[name] for name in names}
    unnamed = all(key in ("output", "loss") or key.startswith("output_") for key in found)
    if unnamed and len(names) <= len(found):
        return dict(zip(names, found.values()))
    raise ExportError(f"[levin.export] the model returns no {listed(name for name in names if name not in found)}; it returns {listed(found, 20)}")


@contextlib.contextmanager
def named_forward(model, tensors, fixed, outputs):
    """Within the context model(**tensors) returns a dict of tensors by name, with the values of fixed passed, too."""
    original = model.forward
    own = model.__dict__.get("forward")
    parameters = inspect.signature(original).parameters
    positional = [p.name for p in parameters.values() if p.kind is inspect.Parameter.POSITIONAL_ONLY]

    def forward(**batch):
        batch.update(fixed)
        leading = [batch.pop(name) for name in positional if name in batch]
        found = chosen_outputs(named_outputs(original(*leading, **batch)), outputs)
        if not found:
            raise ExportError("[levin.export] the model returns no tensor; return the loss, or a dict, a tuple or a dataclass of tensors")
        return found

    forward.__signature__ = inspect.Signature([inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in tensors])
    model.forward = forward
    try:
        yield model
    finally:
        if own is None:
            del model.forward
        else:
            model.forward = own
