"""What the peers' scripts share: the line they print, and the data and models that Levin's side has too."""
import json
import platform
import time

import torch
from torch import nn

torch.set_flush_denormal(True)  # as in Levin's updates


def report(case, value, unit, **more):
    versions = {"python": platform.python_version(), "torch": torch.__version__, **more.pop("versions", {})}
    print(json.dumps({"case": case, "value": value, "unit": unit, "versions": versions, **more}), flush=True)


def mlp(*widths):
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def samples(count=60000):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 784, generator=generator), torch.randint(10, (count,), generator=generator)


def report_ddp(case, step, warm_up, steps):
    """Times step(number) on all ranks, and ends them; rank 0 reports, with their number for {} in `case`."""
    import torch.distributed as dist
    for number in range(warm_up):
        step(number)
    dist.barrier()
    began = time.perf_counter()
    for number in range(steps):
        step(number)
    dist.barrier()
    if dist.get_rank() == 0:
        report(case.format(dist.get_world_size()), 1e6 * (time.perf_counter() - began) / steps, "us/step")
    dist.destroy_process_group()


def median(values):
    values = sorted(values)
    return values[len(values) // 2]
