"""gloo's all-reduce: fp32 sum, 4 KB to 64 MB, the time of the slowest rank, median of 200. Started by torchrun."""
import os
import time

import torch
import torch.distributed as dist

from common import median, report

SIZES_KIB = [4, 32, 256, 1024, 4096, 32768, 65536]  # as tools/bench/all_reduce.cpp


def main():
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo")
    for kib in SIZES_KIB:
        tensor = torch.ones(kib * 256)
        times = torch.zeros(200, dtype=torch.float64)
        for repeat in range(-10, 200):
            dist.barrier()
            began = time.perf_counter()
            dist.all_reduce(tensor)
            if repeat >= 0:
                times[repeat] = time.perf_counter() - began
            tensor.fill_(1)
        dist.all_reduce(times, dist.ReduceOp.MAX)
        if dist.get_rank() == 0:
            report(f"{kib} KiB" if kib < 1024 else f"{kib // 1024} MiB", 1e6 * median(times.tolist()), "us")
    dist.destroy_process_group()


main()
