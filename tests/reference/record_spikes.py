"""record_spikes.py [--check]: in which batch Lightning's SpikeDetection finds a spike, for tests/callbacks to compare with.

Run by tools/peers-python. A line of spikes.txt is

    NAME MODE WINDOW WARMUP ATOL RTOL FINITE_ONLY SPIKE LOSS ...

where an ATOL or RTOL of nan is None, FINITE_ONLY is 0 or 1, and SPIKE is the batch, from 0 on, or -1. --check records again and compares.
"""
import logging
import math
import pathlib
import sys
import tempfile
import warnings

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.utilities.spike import TrainingSpikeException
from lightning.pytorch.callbacks import spike
from torch.utils.data import DataLoader

FILE = pathlib.Path(__file__).with_name("spikes.txt")
NAN, INF = math.nan, math.inf
CASES = {
    "defaults": ({}, [1, 0.9, 0.8, 0.85, 0.7, 5, 0.6]),
    "slow_rise": ({}, [1, 0.9, 1.5, 2, 2.25]),
    "at_rtol": ({}, [1, 1, 3]),
    "below_rtol": ({}, [1, 1, 2.9375]),
    "at_atol": ({"atol": 0.5, "rtol": None}, [1, 1, 1.5]),
    "below_atol": ({"atol": 0.5, "rtol": None}, [1, 1, 1.4375]),
    "both_tolerances": ({"atol": 4}, [1, 1, 4, 6]),
    "any_rise": ({"rtol": None}, [1, 0.5, 0.5, 0.75]),
    "warmup": ({"warmup": 4}, [1, 9, 1, 1, 9]),
    "window": ({"window": 2}, [8, 8, 1, 1, 4]),
    "long_window": ({}, [8, 8, 1, 1, 4]),
    "improvement": ({}, [100, 100, 0, -300]),
    "larger_is_better": ({"mode": "max"}, [1, 1, 5, 6]),
    "smaller_is_worse": ({"mode": "max"}, [-1, -1, 2, -4]),
    "nan": ({}, [1, 1, NAN]),
    "infinite": ({}, [1, 1, INF]),
    "nan_passes": ({"finite_only": False}, [1, 1, NAN, 1, 2]),
    "infinite_differs": ({"finite_only": False}, [1, 1, INF]),
    "minus_infinite_is_better": ({"finite_only": False}, [1, 1, -INF, 1.5, 4]),
    "nan_without_tolerances": ({"rtol": None, "finite_only": False}, [1, 1, NAN]),
}


class Scripted(LightningModule):
    def __init__(self, losses):
        super().__init__()
        self.net = torch.nn.Linear(1, 1)
        self.losses = losses

    def training_step(self, batch, batch_idx):
        return 0 * self.net(batch).sum() + self.losses[batch_idx]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def spike_in(options, losses):
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(max_epochs=1, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                          enable_model_summary=False, callbacks=[spike.SpikeDetection(exclude_batches_path=folder, **options)])
        try:
            trainer.fit(Scripted(losses), DataLoader(torch.zeros(len(losses), 1)))
        except TrainingSpikeException as found:
            return int(str(found).split()[-1])
        return -1


def record():
    lines = ["# Recorded by record_spikes.py.\n"]
    for name, (options, losses) in CASES.items():
        known = {"mode": "min", "window": 10, "warmup": 1, "atol": None, "rtol": 2.0, "finite_only": True, **options}
        words = [name, *(NAN if value is None else int(value) if isinstance(value, bool) else value for value in known.values())]
        lines.append(" ".join(str(word) for word in [*words, spike_in(options, losses), *losses]) + "\n")
    return "".join(lines)


def main():
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    if "--check" not in sys.argv:
        FILE.write_text(record())
    elif FILE.read_text() != record():
        sys.exit("Lightning finds spikes in other batches than spikes.txt has")


main()
