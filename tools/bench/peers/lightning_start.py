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
                                 nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Dropout(0.25), nn.Linear(128, 10))

    def forward(self, images):  # in memory they stay bytes
        return self.net((images.float() / 255 - 0.2860) / 0.3530)

    def training_step(self, batch, index):
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, index):
        scores = self(batch[0])
        self.log("val_loss", F.cross_entropy(scores, batch[1]), sync_dist=True)
        self.log("val_acc", (scores.argmax(1) == batch[1]).float().mean(), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=2e-3, weight_decay=0.02, fused=True)


def main():
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    parts = []
    for part in ("train", "t10k"):  # the job reads both, too
        images = idx(sys.argv[1], f"{part}-images-idx3-ubyte", 16).view(-1, 1, 28, 28)
        parts.append((images, idx(sys.argv[1], f"{part}-labels-idx1-ubyte", 8).long()))
    (images, labels), kept = parts[0], 5000
    train, val = TensorDataset(images[:-kept], labels[:-kept]), TensorDataset(images[-kept:], labels[-kept:])
    loaders = DataLoader(train, batch_size=64, shuffle=True), DataLoader(val, batch_size=64)
    lightning.Trainer(fast_dev_run=True, accelerator="cpu", devices=2, strategy="ddp", enable_progress_bar=False,
                      enable_model_summary=False).fit(Classifier(), *loaders)
    torch.distributed.destroy_process_group()  # gloo's threads may else abort the process at its end


main()
