"""record_callbacks.py [--check]: what Lightning's callbacks make of a small training, for tests/callbacks to compare with.

Run by tools/peers-python. The training is that of tests/trainer/toy.h in 64-true, without shuffling: a Linear(4, 1) with fixed first
weights on 48 samples in batches of 12 (four an epoch), SGD with a learning rate of 0.05. A line of callbacks.txt is

    NAME VALUE ...

--check records again and compares with the file, to 1e-12.
"""
import logging
import pathlib
import sys
import warnings

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import (BackboneFinetuning, Callback, EMAWeightAveraging, GradientAccumulationScheduler,
                                         StochasticWeightAveraging, WeightAveraging)
from lightning.pytorch.utilities import grad_norm
from torch.optim.swa_utils import SWALR
from torch.utils.data import DataLoader, TensorDataset

FILE = pathlib.Path(__file__).parent / "callbacks.txt"
WEIGHT, BIAS, SAMPLES, BATCH, LR = [[0.1, -0.2, 0.3, -0.4]], [0.5], 48, 12, 0.05


class Toy(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 1)
        self.net.weight.data = torch.tensor(WEIGHT)
        self.net.bias.data = torch.tensor(BIAS)
        self.double()
        self.norms, self.validated = None, []

    def training_step(self, batch):
        x, y = batch
        return torch.nn.functional.mse_loss(self.net(x), y)

    def validation_step(self, batch):
        self.validated.append(self.values())

    def on_before_optimizer_step(self, optimizer):
        if self.norms is None:
            self.norms = {kind: grad_norm(self, kind) for kind in (1, 2, "inf")}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=LR)

    def values(self):
        return [*self.net.weight.detach().flatten().tolist(), self.net.bias.item()]


class Backbone(torch.nn.Linear):
    def __init__(self):
        super().__init__(4, 4)
        self.weight.data = torch.eye(4) / 2 + 0.125
        self.bias.data = torch.zeros(4)
        self.norm = torch.nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(super().forward(x))


class WithBackbone(Toy):
    def __init__(self):
        super().__init__()
        self.backbone = Backbone()
        self.double()
        self.trained = []

    def training_step(self, batch):
        x, y = batch
        return torch.nn.functional.mse_loss(self.net(self.backbone(x)), y)

    def validation_step(self, batch):
        pass

    def on_train_batch_start(self, batch, batch_idx):
        if batch_idx == 0:
            self.trained += [int(parameter.requires_grad) for parameter in self.parameters()]

    def configure_optimizers(self):
        return torch.optim.SGD([parameter for parameter in self.parameters() if parameter.requires_grad], lr=LR)

    def values(self):
        return [value for parameter in self.parameters() for value in parameter.detach().flatten().tolist()]


class Rates(Callback):
    def __init__(self):
        self.rates = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == 0:
            self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def train(callbacks, epochs, module=None):
    x = torch.sin(torch.arange(SAMPLES * 4, dtype=torch.float32)).view(SAMPLES, 4)
    data = TensorDataset(x.double(), (x.sum(1, True) * 2 + 1).double())
    trainer = Trainer(max_epochs=epochs, precision="64-true", accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, callbacks=callbacks)
    module = module or Toy()
    trainer.fit(module, DataLoader(data, batch_size=BATCH), DataLoader(data, batch_size=SAMPLES))
    return module


def record():
    plain = train([], 5)
    lines = {f"norm_{kind}": list(float(value) for value in norms.values()) for kind, norms in plain.norms.items()}
    lines["plain"] = plain.values()
    lines["accumulation"] = train([GradientAccumulationScheduler({0: 2, 1: 4, 3: 1})], 5).values()
    for name, averaging in {"average": WeightAveraging(), "ema": EMAWeightAveraging(decay=0.9, update_every_n_steps=2),
                            "ema_late": EMAWeightAveraging(decay=0.9, update_starting_at_step=6)}.items():
        module = train([averaging], 4)
        lines[name] = module.values()
        lines[name + "_validated"] = module.validated[-1]
    rates = Rates()
    module = train([StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=3, annealing_epochs=2, annealing_strategy="linear"), rates], 6)
    lines["swa_linear"], lines["swa_linear_rates"] = module.values(), rates.rates
    module = train([BackboneFinetuning(unfreeze_backbone_at_epoch=1, backbone_initial_lr=0.01, lambda_func=lambda epoch: 1,
                                       should_align=False)], 3, WithBackbone())
    lines["finetuning"], lines["finetuning_trained"] = module.values(), module.trained
    # torch's own schedule: Lightning's starts a cosine at its end.
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    schedule = SWALR(optimizer, swa_lr=0.01, anneal_epochs=3, anneal_strategy="cos")
    lines["swalr_cos"] = []
    for _ in range(5):
        lines["swalr_cos"].append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return lines


def main():
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    lines = record()
    if "--check" not in sys.argv:
        FILE.write_text("# Recorded by record_callbacks.py.\n" +
                        "".join(f"{name} {' '.join(repr(value) for value in values)}\n" for name, values in lines.items()))
        return
    known = {line.split()[0]: [float(word) for word in line.split()[1:]] for line in FILE.read_text().splitlines() if line[0] != "#"}
    wrong = [name for name in known.keys() | lines.keys()
             if len(known.get(name, [])) != len(lines.get(name, [])) or any(abs(a - b) > 1e-12 for a, b in zip(known[name], lines[name]))]
    if wrong:
        sys.exit(f"Lightning gives other values than callbacks.txt has: {', '.join(wrong)}")


main()
