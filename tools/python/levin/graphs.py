"""Changes to the graphs of torch.export that keep what they compute."""
import torch

_aten = torch.ops.aten


def tidy(program):
    """torch.export ends a graph with copies into the buffers that forward assigned. Levin runs the backward pass after them, so they must
    not change a tensor that it needs."""
    graph = program.graph
    buffers = {spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "BUFFER"}
    for node in list(graph.nodes):
        if node.target is _aten.copy_.default and not node.users and getattr(node.args[0], "name", None) in buffers:
            buffer, value = node.args[:2]
            if _changed_in_place(value) is buffer:
                graph.erase_node(node)  # self.count += 1: it is the buffer already
            else:
                _read_a_copy(graph, buffer, node)
    for module in _graph_modules(program):
        _enable_cudnn(module.graph)
        module.recompile()


def _graph_modules(program):
    return [module for module in program.graph_module.modules() if isinstance(module, torch.fx.GraphModule)]


def write_by_copies(program):
    """torch.div(a, b, out=c) as c.copy_(a / b), since Levin runs no operators that write into out=. Several results stay, and those of another
    shape or dtype than out=."""
    for module in _graph_modules(program):
        for node in list(module.graph.nodes):
            if writes_into_out(node) and (operator := _without_out(node.target)):
                _write_by_copy(module.graph, node, operator)
        module.recompile()


def _write_by_copy(graph, node, operator):
    options = dict(node.kwargs)
    out = options.pop(next(a.name for a in node.target._schema.arguments if a.is_out))
    args, tensors = torch.fx.node.map_arg((node.args, options), lambda argument: argument.meta["val"])
    with out.meta["val"].fake_mode:
        result = operator(*args, **tensors)
    if (str(result.shape), result.dtype) != (str(out.meta["val"].shape), out.meta["val"].dtype):
        return
    with graph.inserting_before(node):
        value = graph.call_function(operator, node.args, options)
        copy = graph.call_function(_aten.copy_.default, (out, value))
    value.meta, copy.meta = {**node.meta, "val": result}, dict(node.meta)
    node.replace_all_uses_with(copy)
    graph.erase_node(node)


def writes_into_out(node):
    return isinstance(node.target, torch._ops.OpOverload) and any(a.is_out for a in node.target._schema.arguments)


def _without_out(overload):
    """The overload that returns the one tensor which this one writes into out=; None: there is none."""
    text = lambda schema: [(a.name, str(a.type)) for a in schema.arguments if not a.is_out]
    packet = overload.overloadpacket
    others = [getattr(packet, name) for name in packet.overloads()] if len(overload._schema.returns) == 1 else []
    return next((o for o in others if text(o._schema) == text(overload._schema) and len(o._schema.arguments) == len(text(o._schema))), None)


def _changed_in_place(value):
    """The tensor that a chain of in-place operators returns."""
    while isinstance(value, torch.fx.Node) and isinstance(value.target, torch._ops.OpOverload) and value.args:
        name = value.target._schema.name
        if not name.endswith("_") or name.endswith("__"):
            break
        value = value.args[0]
    return value


def _read_a_copy(graph, buffer, assignment):
    first = next(node for node in graph.nodes if node.op != "placeholder")
    with graph.inserting_before(first):
        copy = graph.call_function(_aten.clone.default, (buffer,))
    copy.meta = {**assignment.meta, "val": buffer.meta["val"]}
    buffer.replace_all_uses_with(copy, delete_user_cb=lambda user: user is not copy and user is not assignment)
    if assignment.args[1] is buffer:
        assignment.update_arg(1, copy)


def _enable_cudnn(graph):
    """torch.export turns cuDNN off while it traces, which would stay in the graph."""
    for node in graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload):
            for i, argument in enumerate(node.target._schema.arguments):
                if argument.name == "cudnn_enabled" and i < len(node.args):
                    node.update_arg(i, True)
