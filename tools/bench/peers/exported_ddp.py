"""PyTorch DDP on gloo: the time of a training step of the ResNet, 32 images a rank, fused AdamW, one thread a rank. Started by torchrun:
exported_ddp.py STEPS"""
import os
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from common import report_ddp
from exported_models import ResNet, batch_of


def main():
    steps = int(sys.argv[1])
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo")
    net = DistributedDataParallel(ResNet())
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    samples = batch_of("resnet", 1024)

    def step(number):
        rows = slice(number * 32 % 1024, number * 32 % 1024 + 32)
        net(**{name: values[rows] for name, values in samples.items()})["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()

    report_ddp("ResNet of 3 stages, 32 images of 32 x 32 a rank, {} ranks", step, 10, steps)


main()
