"""PyTorch without a trainer: the time of a training step of an MLP 784-16-10, batch 64, fused AdamW, one thread, with shuffled batches from
host memory. Epochs 2 and 3 are timed. mlp_step.py [cuda] [clip=NORM]"""
import sys
import time

import torch
from torch.nn import functional as F

from common import median, mlp, report, samples

DEVICE = "cuda" if "cuda" in sys.argv[1:] else "cpu"
CLIP = next((float(word[5:]) for word in sys.argv[1:] if word.startswith("clip=")), 0)


def main():
    torch.set_num_threads(1)
    images, labels = samples()
    model = mlp(784, 16, 10).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def to_device(part):
        return part.pin_memory().to(DEVICE, non_blocking=True) if DEVICE == "cuda" else part

    def epoch():
        batches = torch.randperm(len(labels)).split(64)
        began = time.perf_counter()
        for batch in batches:
            loss = F.cross_entropy(model(to_device(images[batch])), to_device(labels[batch]))
            loss.backward()
            if CLIP:
                torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / len(batches)

    report("MLP 784-16-10, batch 64", 1e6 * median([epoch() for _ in range(3)][1:]), "us/step")


main()
