"""What the peers' scripts share: the line they print, and the data and models that Levin's side has too."""
import json
import platform

import torch
from torch import nn


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


def median(values):
    values = sorted(values)
    return values[len(values) // 2]
