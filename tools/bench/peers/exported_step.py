"""Eager PyTorch: the time of a step (forward, backward, SGD) of the model mlp or gpt, one thread. exported_step.py KIND"""
import sys
import time

import torch

from common import median, report
from exported_models import MODELS, batch_of

CASES = {"mlp": ("MLP 784-16-10, batch 64", 64, 200), "gpt": ("GPT, 3 layers of width 48, 8 x 16 tokens", 8, 50)}


def main():
    kind = sys.argv[1]
    case, count, steps = CASES[kind]
    torch.set_num_threads(1)
    torch.manual_seed(1)
    model, batch = MODELS[kind](), batch_of(kind, count)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def block():
        began = time.perf_counter()
        for _ in range(steps):
            model(**batch)["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()
        return (time.perf_counter() - began) / steps

    report(case, 1e6 * median([block() for _ in range(33)][3:]), "us/step")


main()
