"""torch.distributed.checkpoint: 512 MB in some tensors, each cut over the ranks, without fsync; the median of some turns. Started by
torchrun: dcp.py save|load TENSORS FOLDER. `load` reads what `save` left."""
import os
import shutil
import sys
import time

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from common import median, report

BYTES, TURNS = 512 << 20, 5


def main():
    mode, tensors, folder = sys.argv[1], int(sys.argv[2]), os.path.join(sys.argv[3], "dcp")
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    part = BYTES // 4 // tensors // dist.get_world_size()
    state = {f"layer.{i}.weight": DTensor.from_local(torch.rand(part), mesh, [Shard(0)]) for i in range(tensors)}
    times = []
    for turn in range(TURNS + 1):
        if mode == "save" and dist.get_rank() == 0:  # each time a new one
            shutil.rmtree(folder, ignore_errors=True)
        dist.barrier()
        began = time.perf_counter()
        if mode == "save":
            dcp.save(state, storage_writer=dcp.FileSystemWriter(folder, sync_files=False, overwrite=True))
        else:
            dcp.load(state, storage_reader=dcp.FileSystemReader(folder))
        dist.barrier()
        times.append(time.perf_counter() - began)
    if dist.get_rank() == 0:
        case = "save" if mode == "save" else f"load on {dist.get_world_size()} ranks"
        report(f"{case}, {tensors} tensors", median(times[1:]), "s")
    dist.destroy_process_group()


main()
