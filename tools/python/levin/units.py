"""Which submodules to propose as units: what fsdp shards, and activation checkpointing recomputes, one at a time."""
from torch import nn

_CONTAINERS = (nn.Sequential, nn.ModuleList)


def _is_block(module):
    return type(module) not in _CONTAINERS and any(True for _ in module.children()) and any(True for _ in module.parameters())


def _repeats(container):
    """Whether at least two children are blocks of one class."""
    if type(container) not in _CONTAINERS and not isinstance(container, _CONTAINERS):
        return False
    blocks = {id(child): type(child) for child in container.children() if _is_block(child)}
    return any(list(blocks.values()).count(kind) > 1 for kind in blocks.values())


def suggested_units(model, calls):
    """Patterns such as "blocks.*", outermost first. calls: how often the graph calls each submodule; a unit is called once."""
    patterns = []
    pending = [("", model)]
    while pending:
        path, module = pending.pop(0)
        children = [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
        if _repeats(module) and all(calls.get(name, 1 if not _is_block(child) else 0) <= 1 for name, child in children) \
                and all(calls.get(name) == 1 for name, child in children if _is_block(child)):
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
