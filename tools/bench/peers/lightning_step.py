"""Lightning: the time of a training step of an MLP 784-16-10, batch 64, fused AdamW, one thread, a CSV logger every 50 steps; no bar,
no checkpoints, no worker processes. Epochs 2 and 3 are timed. lightning_step.py [cuda] [clip=NORM]"""
import logging
import sys
import tempfile
import time
import warnings

import lightning
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from common import median, mlp, report, samples


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = mlp(784, 16, 10)

    def training_step(self, batch, index):
        images, labels = batch
        loss = F.cross_entropy(self.net(images), labels)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3, fused=True)


class Clock(lightning.Callback):
    def __init__(self):
        self.epochs = []

    def on_train_epoch_start(self, trainer, module):
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer, module):
        self.epochs.append((time.perf_counter() - self.began) / trainer.num_training_batches)


def main():
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    loader = DataLoader(TensorDataset(*samples()), batch_size=64, shuffle=True, num_workers=0)
    clock = Clock()
    clip = next((float(word[5:]) for word in sys.argv[1:] if word.startswith("clip=")), None)
    with tempfile.TemporaryDirectory() as folder:
        lightning.Trainer(max_epochs=3, accelerator="gpu" if "cuda" in sys.argv[1:] else "cpu", devices=1, logger=CSVLogger(folder),
                          log_every_n_steps=50, callbacks=[clock], gradient_clip_val=clip, enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False).fit(Classifier(), loader)
    report("MLP 784-16-10, batch 64", 1e6 * median(clock.epochs[1:]), "us/step", versions={"lightning": lightning.__version__})


main()
