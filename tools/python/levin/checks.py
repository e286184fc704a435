"""What torch.export would lose or change: found before and after it, and refused with what to write instead."""
import contextlib
import dataclasses
import io
import linecache
import logging
import os
import random
import sys
import traceback
import warnings

import torch

from . import graphs
from .errors import ExportError, listed

_SEED = 20260101
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.complex128: 1e-9, torch.complex64: 1e-4}
_REGIONS = {"wrap_with_set_grad_enabled", "wrap_with_autocast", "cond", "tag_activation_checkpoint"}
_BACKWARD_HOOKS = ("_backward_hooks", "_backward_pre_hooks")
_TORCH = os.path.dirname(torch.__file__) + os.sep


# ---- before the export ----

def refuse_hooks(model):
    for name, module in model.named_modules():
        if any(getattr(module, kind, None) for kind in _BACKWARD_HOOKS):
            raise ExportError(f"[levin.export] the module {name or 'itself'} ({type(module).__name__}) has backward hooks, which torch.export loses; remove "
                              "them, and write what they do to gradients in forward, for example x * s + (x - x * s).detach() to scale a gradient by s")
    if torch.nn.modules.module._global_backward_hooks or torch.nn.modules.module._global_backward_pre_hooks:
        raise ExportError("[levin.export] backward hooks for all modules are registered (torch.nn.modules.module), which torch.export loses; remove them")
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            raise ExportError(f"[levin.export] the parameter {name} has hooks, which torch.export loses; remove them. Levin clips gradients "
                              "(gradient_clip_val), and sets rates and weight decay by parameter name")


def probe(model, tensors, mode, loss):
    """Calls the model twice: refuses what differs between the calls. Returns its outputs."""
    with preserved(model) as restore, quiet():
        versions = {name: parameter._version for name, parameter in model.named_parameters()}
        with watched_forward():
            _seed()
            with _named_errors(mode):
                first = model(**tensors)
            before = _python_state(model)
            drawn = _python_random()
            if written := [name for name, parameter in model.named_parameters() if parameter._version != versions[name]]:
                raise ExportError(f"[levin.export] forward changes the parameters {listed(written)} in place, which optimizers alone may do (max_norm of an "
                                  "embedding does so, too); change a copy, or keep the values in a buffer")
            restore()
            _seed()
            second = model(**tensors)
        if drawn != _python_random():
            raise ExportError("[levin.export] forward draws random numbers from Python's random or from numpy, which become constants of the graph; "
                              "draw them with torch.rand or torch.randn")
        if changed := _changed(before, _python_state(model)):
            raise ExportError(f"[levin.export] forward changes {listed(changed)}, which torch.export takes for constants; keep a value that changes in "
                              "a buffer: self.register_buffer(\"count\", torch.zeros((), dtype=torch.long)), and self.count += 1")
        if len(first) != len(second) or any(not _close(first[k], second[k]) for k in first if k in second):
            raise ExportError("[levin.export] two calls of the model on the same batch, with the same seed and buffers, return different values; "
                              "forward depends on something that is not a parameter, a buffer, an input or torch's random numbers")
        if mode == "train":
            _refuse_functions(first)
            name = loss or ("loss" if "loss" in first else None)
            if name:
                _check_loss(first, name)
            if not any(t.requires_grad for t in first.values()):
                raise ExportError("[levin.export] no output depends on a trainable parameter; set requires_grad, or return the loss before detach() or item()")
    return first


def _check_loss(outputs, name):
    if name not in outputs:
        raise ExportError(f"[levin.export] the model returns no {name}; it returns {listed(outputs, 20)}")
    value = outputs[name]
    if value.numel() != 1 or not value.is_floating_point():
        raise ExportError(f"[levin.export] the loss {name} is a {value.dtype} of shape {tuple(value.shape)}; return one floating-point number, for example "
                          "its mean over the batch")
    if not value.requires_grad:
        raise ExportError(f"[levin.export] the loss {name} does not depend on a trainable parameter; return it before detach() or item()")
    if not torch.isfinite(value).all():
        raise ExportError(f"[levin.export] the loss of the example batch is {value.item()}; pass an example with a finite loss, or the exported graph cannot be "
                          "compared with the model")


def _refuse_functions(outputs):
    seen, pending = set(), [t.grad_fn for t in outputs.values() if t.grad_fn is not None]
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction) and not _of_torch(node):
            name = type(node).__name__.removesuffix("Backward")
            if name == "CheckpointFunction":
                raise ExportError("[levin.export] torch.utils.checkpoint is used with use_reentrant=True; use use_reentrant=False, or drop it: "
                                  "Levin recomputes units by trainer.activation_checkpointing")
            raise ExportError(f"[levin.export] the model uses the torch.autograd.Function {name}, whose backward torch.export loses; write it with ordinary "
                              "operators, for example x + (x.round() - x).detach() for a straight-through estimator")
        pending += [parent for parent, _ in node.next_functions if parent is not None]


def _of_torch(node):
    """Of torch.cond and the like, and of custom operators, which the graph shows."""
    function = getattr(type(node), "_forward_cls", None)
    return getattr(function, "__module__", "").startswith(("torch._higher_order_ops", "torch._library", "torch._functorch"))


@contextlib.contextmanager
def watched_forward():
    """Within the context forward may not register hooks on tensors, or take gradients."""
    def refuse(*_, **__):
        raise ExportError(f"[levin.export] forward registers a hook on a tensor ({_user_line(traceback.extract_stack())}), which torch.export loses; write what "
                          "it does to the gradient in forward, for example x * s + (x - x * s).detach() to scale a gradient by s")

    grad = torch.autograd.grad

    def refuse_grad(*arguments, **options):
        caller = sys._getframe(1).f_code.co_filename
        if caller.startswith(_TORCH) and not caller.endswith("eager_transforms.py"):  # torch.cond makes its own backward
            return grad(*arguments, **options)
        raise ExportError(f"[levin.export] forward calls torch.autograd.grad, or torch.func.grad ({_user_line(traceback.extract_stack())}), but a graph "
                          "holds no backward pass; write the derivative with ordinary operators")

    watched = [(torch.Tensor, "register_hook", refuse), (torch.Tensor, "register_post_accumulate_grad_hook", refuse), (torch.autograd, "grad", refuse_grad)]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in watched]
    for owner, name, function in watched:
        setattr(owner, name, function)
    try:
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


# ---- Python-side state ----

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def _python_state(model):
    """{attribute: value} of what forward could change besides buffers."""
    found = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in ("training", "forward", "_parameters", "_buffers", "_modules") and not name.endswith("_hooks"):
                _plain(value, f"{path}.{name}" if path else name, found, 0)
    return found


def _plain(value, name, found, depth):
    if isinstance(value, _PLAIN):
        found[name] = value
    elif isinstance(value, torch.Tensor):
        found[name] = (id(value), value._version)
    elif isinstance(value, dict) and depth < 3:
        for key, item in list(value.items()):
            _plain(item, f"{name}[{key!r}]", found, depth + 1)
    elif isinstance(value, (list, tuple)) and depth < 3:
        found[name + ".length"] = len(value)
        for i, item in enumerate(value[:1000]):
            _plain(item, f"{name}[{i}]", found, depth + 1)


def _changed(before, after):
    same = lambda a, b: type(a) is type(b) and (a == b or a != a)
    return sorted({name.removesuffix(".length") for name in before.keys() | after.keys()
                   if name not in before or name not in after or not same(before[name], after[name])})


def _python_random():
    numpy = sys.modules.get("numpy")
    state = numpy.random.get_state() if numpy else None
    return random.getstate(), state and (state[1].tobytes(), state[2:])


# ---- the exported graph ----

# As in src/exported/operators.cpp, which says why.
_INTERNALS = frozenset([
    "_assert_async", "_assert_scalar", "_assert_tensor_metadata", "_grouped_mm", "_is_all_true", "_is_any_true", "_native_multi_head_attention",
    "_shape_as_tensor", "_standard_gamma", "_transformer_encoder_layer_fwd", "_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "_weight_norm"])
_TRUSTING = ("backward", "slow_conv", "mkldnn", "miopen", "cudnn", "fbgemm", "sparse", "quantize", "qparams", "align_")


def _trusts_its_caller(schema_name):
    space, _, name = schema_name.partition("::")
    internal = name.startswith("_") and not name.startswith("__") and name not in _INTERNALS
    return space == "aten" and (internal or any(part in name for part in _TRUSTING))


def refuse_operators(program):
    """What is not an operator of LibTorch: custom operators written in Python, and higher-order ones that Levin does not run."""
    from torch._library.custom_ops import OPDEFS
    for spec in program.graph_signature.input_specs:
        if spec.kind.name in ("CUSTOM_OBJ", "TOKEN"):
            raise ExportError(f"[levin.export] the graph has the input {spec.arg.name}, a {spec.kind.name.lower()}; Levin runs graphs of tensors only")
    for node in _calls(program):
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            name = node.target.name()
            if name not in _REGIONS:
                raise ExportError(f"[levin.export] the model uses {name} ({_node_line(node)}), which Levin does not run; write a loop of a fixed number of "
                                  "iterations in Python, a condition with torch.cond or torch.where")
        elif getattr(node.target, "__module__", "").startswith("torch._functorch"):
            raise ExportError(f"[levin.export] the model uses a transform of torch.func or torch.vmap ({_node_line(node)}), which Levin does not run; write it "
                              "with operators that take a dimension of samples, and derivatives by hand")
        elif isinstance(node.target, torch._ops.OpOverload) and node.target._schema.name in OPDEFS:
            raise ExportError(f"[levin.export] the operator {node.target._schema.name} ({_node_line(node)}) is written in Python (torch.library.custom_op), which "
                              "Levin does not run; write it with ordinary operators, or in a C++ library")
        elif isinstance(node.target, torch._ops.OpOverload) and _trusts_its_caller(node.target._schema.name):
            raise ExportError(f"[levin.export] the operator {node.target._schema.name} ({_node_line(node)}) is a part of PyTorch that does not check its arguments, "
                              "or its tensors are not dense, and Levin does not run it; call the public function")
        elif graphs.writes_into_out(node):
            raise ExportError(f"[levin.export] {node.target} ({_node_line(node)}) writes into out= several tensors, or one of another shape or dtype than its "
                              "result; use the tensors that the function returns")


def _calls(program):
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            yield from (node for node in module.graph.nodes if node.op == "call_function")


def compare(model, program, tensors, mode, loss):
    """The exported graph against the model on the example batch: outputs, and in training gradients and buffers."""
    ours = _step_of_model(model, tensors, mode, loss)
    theirs = _step_of_graph(model, program, tensors, mode, loss, list(ours.outputs))
    _compare_outputs(ours.outputs, theirs.outputs, mode, loss)
    names = {}
    for name, tensor in _state(model):
        names.setdefault(id(tensor), name)
    largest = max([float(g.abs().max()) for g in ours.gradients.values() if g.numel()], default=0.0)
    wrong = []
    for key, name in names.items():
        a, b = ours.gradients.get(key), theirs.gradients.get(key)
        if a is not None or b is not None:
            a, b = (torch.zeros_like(b if a is None else a) if t is None else t for t in (a, b))
            if not _close(a, b, 1e-3 * largest):
                wrong.append(name)
    if wrong:
        raise ExportError(f"[levin.export] the exported graph has other gradients than the model for {listed(wrong)}; look for code that changes gradients "
                          "(hooks, torch.autograd.Function, .data) and write it with ordinary operators")
    if wrong := [name for key, name in names.items() if key in theirs.state and not _close(ours.state[key], theirs.state[key])]:
        raise ExportError(f"[levin.export] after a step the exported graph has other values than the model in {listed(wrong)}; change buffers in forward by "
                          "in-place operators or assignment: self.mean.mul_(0.9).add_(…)")


@dataclasses.dataclass
class _Step:
    outputs: dict  # by name
    gradients: dict  # dense, by the id of the model's tensor, which tied names share
    state: dict  # parameters and buffers afterwards


def _step_of_model(model, tensors, mode, loss):
    with preserved(model), quiet():
        state = _state(model)  # forward may assign other tensors to buffers
        for parameter in model.parameters():
            parameter.grad = None
        outputs = _run(model, tensors, mode, loss)
        after = dict(_state(model))
        return _Step(outputs, {id(p): p.grad.to_dense().clone() for p in model.parameters() if p.grad is not None},
                     {id(tensor): after[name].detach().clone() for name, tensor in state})


def _step_of_graph(model, program, tensors, mode, loss, outputs_of):
    """As Levin runs it: on values of its own for parameters and buffers; values that replace a buffer do so after the step."""
    state = dict(_state(model))
    values = {}
    for tensor in state.values():
        if id(tensor) not in values:
            values[id(tensor)] = tensor.detach().clone().requires_grad_(tensor.requires_grad)
    batch = iter(tensors.values())
    inputs = [next(batch).clone() if spec.kind.name == "USER_INPUT" else values[id(state[spec.target])] if spec.target in state
              else program.constants[spec.target].clone() for spec in program.graph_signature.input_specs]
    replaced = {}

    def graph(**_):
        outputs = {}
        names = iter(outputs_of)
        for spec, value in zip(program.graph_signature.output_specs, program.graph_module(*inputs)):
            if spec.kind.name in ("USER_OUTPUT", "LOSS_OUTPUT"):
                outputs[next(names)] = value
            elif spec.kind.name == "BUFFER_MUTATION":
                replaced[id(state[spec.target])] = value
        return outputs

    with preserved(model), quiet():
        outputs = _run(graph, {}, mode, loss)
    gradients = {key: value.grad.to_dense() for key, value in values.items() if value.grad is not None}
    return _Step(outputs, gradients, {key: replaced.get(key, value).detach() for key, value in values.items()})


def _run(model, tensors, mode, loss):
    _seed()
    with torch.set_grad_enabled(mode == "train"):
        outputs = model(**{name: tensor.clone() for name, tensor in tensors.items()})
        if mode == "train":
            (outputs[loss].sum() if loss else _random_sum(outputs)).backward()
    return {name: tensor.detach() for name, tensor in outputs.items()}


def _random_sum(outputs):
    """A number that every element of every output counts in."""
    generator = torch.Generator().manual_seed(_SEED)
    total = 0.0
    for value in outputs.values():
        if value.requires_grad:
            value = torch.view_as_real(value) if value.is_complex() else value
            total = total + (value * torch.rand(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)).sum()
    return total


def _compare_outputs(ours, theirs, mode, loss):
    for name, value in ours.items():
        if not _close(value, theirs[name]):
            difference = float((value.double() - theirs[name].double()).abs().max()) if value.shape == theirs[name].shape and not value.is_complex() else "other shapes"
            raise ExportError(f"[levin.export] the exported graph {mode} has another {'loss' if name == loss else 'output'} {name} than the model (difference "
                              f"{difference}); forward depends on something that torch.export takes for a constant")


def _close(a, b, scale=0.0):
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not (a.is_floating_point() or a.is_complex()):
        return torch.equal(a, b)
    a, b = a.detach(), b.detach()
    tolerance = _TOLERANCE.get(a.dtype, 2e-2)
    finite = a[torch.isfinite(a)]
    most = float(finite.abs().max()) if finite.numel() else 0.0
    wide = torch.complex128 if a.is_complex() else torch.float64
    return torch.allclose(a.to(wide), b.to(wide), rtol=tolerance, atol=tolerance * max(most, scale), equal_nan=True)


# ---- what a call changes, and is undone ----

def _state(model):
    return [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]


@contextlib.contextmanager
def preserved(model):
    """Parameters, buffers, gradients and torch's random numbers are afterwards as before. Yields a function that restores the first two."""
    state = [(t, t.detach().clone()) for _, t in _state(model)]
    owners = [(module, name, buffer) for module in model.modules() for name, buffer in module._buffers.items()]
    gradients = [(p, p.grad) for p in model.parameters()]
    generator = torch.get_rng_state()

    def restore():
        for module, name, buffer in owners:  # forward may have assigned another tensor
            module._buffers[name] = buffer
        with torch.no_grad():
            for tensor, value in state:
                if not torch.equal(tensor, value):
                    tensor.copy_(value)

    try:
        yield restore
    finally:
        restore()
        for parameter, gradient in gradients:
            parameter.grad = gradient
        torch.set_rng_state(generator)


def _seed():
    torch.manual_seed(_SEED)


@contextlib.contextmanager
def quiet():
    """Without PyTorch's warnings and logs: what matters in them is an error of this package."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # where it prints a graph that fails
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


# ---- errors of PyTorch ----

@contextlib.contextmanager
def _named_errors(mode):
    try:
        yield
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"[levin.export] the model itself fails on the example batch ({'training' if mode == 'train' else 'evaluation'} mode, "
                          f"{_user_line(traceback.extract_tb(error.__traceback__))}): {type(error).__name__}: {error}") from error


def translated(error, mode):
    """What torch.export said, and what to write instead."""
    text = str(error).strip()
    place = _user_line(traceback.extract_tb(error.__traceback__))
    kind = type(error).__name__
    if "DataDependent" in kind or "data-dependent" in text or "data dependent" in text:
        return ExportError(f"[levin.export] a condition, an index or a size depends on the values of tensors ({place}), which a graph cannot express; use "
                           "torch.where or torch.cond for a condition, index_select for an index, a mask instead of a selection, torch._check(…) to bound a size")
    if "Constraints violated" in text or "specialized" in text:
        return ExportError(f"[levin.export] a dimension that should vary is fixed by the model, or has other limits: {_first_lines(text, 6)}\n"
                           "Pass dynamic={…} without it, or limits that the model allows: ranges={\"length\": (1, 1024)}")
    return ExportError(f"[levin.export] torch.export cannot trace the model in {'training' if mode == 'train' else 'evaluation'} mode ({place}): "
                       f"{kind}: {_first_lines(text, 6)}")


def _first_lines(text, count):
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[:count])


def _user_line(frames):
    """The innermost line outside of PyTorch and this package."""
    here = os.path.dirname(os.path.abspath(__file__)) + os.sep
    for frame in reversed(list(frames)):
        if not frame.filename.startswith("<") and not os.path.abspath(frame.filename).startswith((_TORCH, here)):
            return f"{os.path.basename(frame.filename)}:{frame.lineno}: {(frame.line or linecache.getline(frame.filename, frame.lineno)).strip()}"
    return "line unknown"


def _node_line(node):
    lines = [line.strip() for line in (node.meta.get("stack_trace") or "").splitlines() if line.strip()]
    return lines[-1] if lines else node.name
