"""Which submodules to propose as units: what fsdp shards, and activation checkpointing recomputes, one at a time."""
from torch import nn

_CONTAINERS = (nn.Sequential, nn.ModuleList)


def _is_block(module):
    """Not a plain list of blocks, but it may be a list of layers."""
    children = list(module.children())
    layers = isinstance(module, nn.Sequential) and not any(True for child in children for _ in child.children())
    return (type(module) not in _CONTAINERS or layers) and bool(children) and any(True for _ in module.parameters())


def _kind(module):
    return type(module), tuple(map(type, module.children())) if type(module) in _CONTAINERS else ()


def _repeats(container):
    """Whether at least two children are blocks of one class."""
    if not isinstance(container, _CONTAINERS):
        return False
    kinds = [_kind(child) for child in container.children() if _is_block(child)]
    return any(kinds.count(kind) > 1 for kind in kinds)


def suggested_units(model, calls):
    """Patterns such as "blocks.*", outermost first. calls: how often the graph calls each submodule; a unit is called once."""
    patterns = []
    pending = [("", model)]
    while pending:
        path, module = pending.pop(0)
        children = [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
        once = all(calls.get(name, 0) == 1 if _is_block(child) else calls.get(name, 1) <= 1 for name, child in children)
        if _repeats(module) and once:
            patterns.append(f"{path}.*" if path else "*")
        else:
            pending += children
    return patterns


def module_calls(graph):
    """How often each submodule is called: torch.export marks the second call of a module by "@1" after its key."""
    found = {}
    for node in graph.nodes:
        for key, (path, _) in (node.meta.get("nn_module_stack") or {}).items():
            found.setdefault(path, set()).add(key)
    return {path.split("@")[0]: len(keys) for path, keys in found.items()}
