"""torch's DataLoader: an epoch of 60000 x 784 floats with labels, batch 64, shuffled; the best of no and two worker processes."""
import time

import torch
from torch.utils.data import DataLoader, TensorDataset

from common import median, report, samples


def main():
    torch.set_num_threads(1)
    data, best = TensorDataset(*samples()), []
    for workers in (0, 2):
        loader = DataLoader(data, batch_size=64, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
        times = []
        for epoch in range(4):
            began = time.perf_counter()
            for images, labels in loader:
                pass
            times.append(time.perf_counter() - began)
        best.append((1e6 * median(times[1:]) / len(loader), workers))
    report("60000 x 784 floats, batch 64, shuffled", min(best)[0], "us/batch", best_num_workers=min(best)[1])


main()
