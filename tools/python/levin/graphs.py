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
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            _enable_cudnn(module.graph)
            module.recompile()


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
