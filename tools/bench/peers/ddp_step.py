"""PyTorch DDP on gloo: the time of a training step, batch 64 a rank, fused AdamW, one thread a rank, batches cut from a tensor in
memory. Started by torchrun, or by mpirun on several hosts: ddp_step.py WIDTH STEPS."""
import os
import sys

import torch
import torch.distributed as dist
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from common import mlp, report_ddp, samples


def main():
    width, steps = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    for name in ("RANK", "WORLD_SIZE"):
        if name not in os.environ:
            os.environ[name] = os.environ["OMPI_COMM_WORLD_" + name.removeprefix("WORLD_")]
    dist.init_process_group("gloo")
    net = DistributedDataParallel(mlp(784, width, width, 10))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    images, labels = samples(60000 // dist.get_world_size())

    def step(number):
        rows = slice(number * 64 % (len(images) - 64), number * 64 % (len(images) - 64) + 64)
        loss = F.cross_entropy(net(images[rows]), labels[rows])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    report_ddp(f"MLP 784-{width}-{width}-10 on {{}} ranks", step, steps // 4, steps)


main()
