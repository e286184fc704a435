"""torchrun and Lightning: a whole run of one training and one validation batch of jobs/fashion_mnist's model and data. Started by
torchrun; the driver takes the wall time."""
import gzip
import logging
import os
import sys
import warnings

import lightning
import numpy
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


def idx(folder, name, offset):
    with gzip.open(f"{folder}/{name}.gz") as file:
        return torch.from_numpy(numpy.frombuffer(file.read(), numpy.uint8, offset=offset).copy())


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
                                 nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10))

    def training_step(self, batch, index):
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val_acc", (self.net(batch[0]).argmax(1) == batch[1]).float().mean(), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3, fused=True)


def main():
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    loaders = []
    for part, shuffle in (("train", True), ("t10k", False)):
        images = idx(sys.argv[1], f"{part}-images-idx3-ubyte", 16).view(-1, 1, 28, 28).float().div_(255)
        labels = idx(sys.argv[1], f"{part}-labels-idx1-ubyte", 8).long()
        loaders.append(DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=shuffle))
    lightning.Trainer(fast_dev_run=True, accelerator="cpu", devices=2, strategy="ddp", enable_progress_bar=False,
                      enable_model_summary=False).fit(Classifier(), *loaders)
    torch.distributed.destroy_process_group()  # gloo's threads may else abort the process at its end


main()
