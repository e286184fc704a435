"""torchrun: a whole run of one training batch of the ResNet under DDP, from numpy files. Started by torchrun; the driver takes the wall
time. exported_start.py FOLDER"""
import os
import sys

import numpy
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from exported_models import ResNet

os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
torch.set_num_threads(1)
dist.init_process_group("gloo")
x, label = (torch.from_numpy(numpy.load(f"{sys.argv[1]}/{name}.npy")) for name in ("x", "label"))
net = DistributedDataParallel(ResNet())
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
net(x=x[:32], label=label[:32])["loss"].backward()
optimizer.step()
dist.destroy_process_group()
