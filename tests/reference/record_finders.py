"""record_finders.py [--check]: what torch.nn.utils.prune and Lightning's learning rate finder make of small cases, for tests/callbacks.

Run by tools/peers-python. A line of finders.txt is

    NAME VALUE ...

Weights of the cases of pruning are sin(1), sin(2), ... in [4, 6], and a bias of cos(1), cos(2), ... in [4]. The trainings are those of
record_callbacks.py. --check records again and compares with the file, to 1e-9.
"""
import logging
import pathlib
import sys
import warnings

import torch
import torch.nn.utils.prune as prune
from lightning import LightningModule, Trainer
from lightning.pytorch.tuner.tuning import Tuner
from torch.utils.data import DataLoader, TensorDataset

FILE = pathlib.Path(__file__).parent / "finders.txt"
SAMPLES, BATCH = 48, 12


def layer():
    made = torch.nn.Linear(6, 4).double()
    made.weight.data = torch.sin(torch.arange(1, 25, dtype=torch.float64)).view(4, 6)
    made.bias.data = torch.cos(torch.arange(1, 5, dtype=torch.float64))
    return made


def values(made):
    return [*made.weight.detach().flatten().tolist(), *made.bias.detach().tolist()]


class Toy(LightningModule):
    def __init__(self, lr=0.05):
        super().__init__()
        self.lr = lr
        self.net = torch.nn.Linear(4, 1)
        self.net.weight.data = torch.tensor([[0.1, -0.2, 0.3, -0.4]])
        self.net.bias.data = torch.tensor([0.5])
        self.double()

    def training_step(self, batch):
        x, y = batch
        return torch.nn.functional.mse_loss(self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def loader():
    x = torch.sin(torch.arange(SAMPLES * 4, dtype=torch.float32)).view(SAMPLES, 4)
    return DataLoader(TensorDataset(x.double(), (x.sum(1, True) * 2 + 1).double()), batch_size=BATCH)


def trainer(**options):
    return Trainer(precision="64-true", accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                   enable_model_summary=False, num_sanity_val_steps=0, **options)


def record_pruning():
    lines = {}
    made = layer()
    for number, amount in enumerate((0.3, 0.3, 5)):
        prune.l1_unstructured(made, "weight", amount)
        lines[f"l1_{number}"] = values(made)
    made = layer()
    for number in range(3):
        prune.global_unstructured([(made, "weight"), (made, "bias")], pruning_method=prune.L1Unstructured, amount=0.25)
        lines[f"global_{number}"] = values(made)
    made = layer()
    for number in range(2):
        prune.ln_structured(made, "weight", 0.3, n=2, dim=1)
        lines[f"ln_{number}"] = values(made)
    made = layer()
    prune.ln_structured(made, "weight", 1, n=1, dim=0)
    lines["ln_rows"] = values(made)
    # An element is pruned after each epoch of a training with momentum, weight decay and clipping.
    module = Toy()
    data = list(loader())
    optimizer = None
    for _ in range(3):
        parameters = [p for p in module.parameters()]
        if optimizer is None:
            optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.01)
        for batch in data:
            loss = module.training_step(batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 0.5)
            optimizer.step()
        prune.l1_unstructured(module.net, "weight", 1)
        for hook in module.net._forward_pre_hooks.values():
            hook(module.net, None)
    lines["trained"] = values(module.net)
    return lines


def record_lr():
    lines = {}
    for mode, low, high, steps in (("exponential", 1e-3, 3.0, 40), ("linear", 1e-2, 2.0, 30)):
        module = Toy()
        finder = Tuner(trainer(max_epochs=1000)).lr_find(module, loader(), min_lr=low, max_lr=high, num_training=steps, mode=mode)
        lines[f"lr_{mode}_rates"] = finder.results["lr"]
        lines[f"lr_{mode}_losses"] = finder.results["loss"]
        lines[f"lr_{mode}_suggestion"] = [finder.suggestion()]
    return lines


def main():
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    lines = {**record_pruning(), **record_lr()}
    if "--check" not in sys.argv:
        FILE.write_text("# Recorded by record_finders.py.\n" +
                        "".join(f"{name} {' '.join(repr(value) for value in values)}\n" for name, values in lines.items()))
        return
    known = {line.split()[0]: [float(word) for word in line.split()[1:]] for line in FILE.read_text().splitlines() if line[0] != "#"}
    wrong = [name for name in known.keys() | lines.keys()
             if len(known.get(name, [])) != len(lines.get(name, [])) or any(abs(a - b) > 1e-9 for a, b in zip(known[name], lines[name]))]
    if wrong:
        sys.exit(f"PyTorch gives other values than finders.txt has: {', '.join(wrong)}")


main()
