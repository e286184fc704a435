"""torch's DataLoader over h5py: an epoch over the file of write(), batch 64, shuffled in blocks of 64, 16 blocks mixed; the best of no and two
worker processes. A sample is one read of h5py, whose cache holds all mixed chunks but not the file: every epoch decodes all chunks, on both
sides. The samples of a batch are those of Levin's side.
hdf5_loader.py write FILE: writes the file.
"""
import sys
import time

import h5py
import numpy
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from common import median, report

SAMPLES, BLOCK, MIXED = 20000, 64, 16  # 15.7 MB of images; the mixed chunks have 0.8 MB
CACHE_BYTES = 4 << 20  # hdf5_loader.cpp has the same


def write(path):
    random = numpy.random.default_rng(1)
    images = random.integers(0, 256, size=(SAMPLES, 28, 28), dtype="uint8") * (random.random((SAMPLES, 28, 28)) < 0.3)
    with h5py.File(path, "w") as file:
        file["contiguous"] = images.astype("uint8")
        file.create_dataset("gzip", data=images.astype("uint8"), chunks=(BLOCK, 28, 28), compression="gzip", shuffle=True)
        file["label"] = random.integers(0, 10, SAMPLES)


class Samples(Dataset):
    def __init__(self, path, images):
        self.path, self.images, self.file = path, images, None

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        if self.file is None:  # each worker process opens its own
            self.file = h5py.File(self.path, rdcc_nbytes=CACHE_BYTES)
            self.x, self.y = self.file[self.images], self.file["label"]
        return torch.from_numpy(self.x[index]), int(self.y[index])


class Blocks(Sampler):
    def __len__(self):
        return SAMPLES

    def __iter__(self):
        blocks = [torch.arange(begin, min(begin + BLOCK, SAMPLES)) for begin in range(0, SAMPLES, BLOCK)]
        order = torch.randperm(len(blocks)).tolist()
        for begin in range(0, len(order), MIXED):
            mixed = torch.cat([blocks[i] for i in order[begin:begin + MIXED]])
            yield from mixed[torch.randperm(len(mixed))].tolist()


def main(path):
    torch.set_num_threads(1)
    for images, case in (("contiguous", "HDF5, contiguous"), ("gzip", "HDF5, chunks with gzip, decoded every epoch")):
        best = []
        for workers in (0, 2):
            loader = DataLoader(Samples(path, images), batch_size=64, sampler=Blocks(), num_workers=workers, persistent_workers=workers > 0)
            times = []
            for epoch in range(3):
                began = time.perf_counter()
                for _ in loader:
                    pass
                times.append(time.perf_counter() - began)
            best.append((1e6 * median(times[1:]) / len(loader), workers))
        report(f"{case}, blocks of 64 shuffled", min(best)[0], "us/batch", best_num_workers=min(best)[1])


write(sys.argv[2]) if sys.argv[1] == "write" else main(sys.argv[1])
