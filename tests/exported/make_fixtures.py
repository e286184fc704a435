"""make_fixtures.py [--check]: writes fixtures/, or with --check compares what is there with what PyTorch gives now.

fixtures/NAME.pt2 is a model in float64 from levin.export. fixtures/NAME.safetensors holds
    batch/INPUT                     [steps, samples, …]: the batches of 20 steps
    sgd/losses, adamw/losses        eager PyTorch's losses of these steps, before each update
    sgd/eval_loss, adamw/eval_loss  the loss of batch 0 in evaluation, after the last step
    sgd/state/PARAMETER, …          parameters and buffers after the last step, under all of their names
    seeded/losses, seeded/state/…   of models with dropout: one step of sgd, after torch.manual_seed(1000)
"""
import argparse
import os
import sys
import tempfile

sys.dont_write_bytecode = True
here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "..", "tools", "python"))
sys.path.insert(0, here)
import torch
from safetensors.torch import load_file, save_file

import levin
import models

STEPS, SAMPLES = 20, 4
OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=3e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.05),
}


def numbers(*shape):
    return torch.randn(STEPS, SAMPLES, *shape, dtype=torch.float64)


def integers(high, *shape):
    return torch.randint(0, high, (STEPS, SAMPLES, *shape))


def padding(length):
    return torch.arange(length) >= integers(length)[..., None] + 1


FIXTURES = {  # name: model, its batches
    "mlp": (models.Mlp, lambda: {"x": numbers(6), "label": integers(4)}),
    "mlp_dropout": (lambda: models.Mlp(p=0.4), lambda: {"x": numbers(6), "label": integers(4)}),
    "resnet": (models.ResNet, lambda: {"x": numbers(3, 6, 6), "label": integers(4)}),
    "gpt": (models.Gpt, lambda: {"tokens": integers(11, 6), "targets": integers(11, 6)}),
    "embeddings": (models.Embeddings, lambda: {"tokens": integers(11, 5), "label": integers(4)}),
    "lstm": (models.Lstm, lambda: {"x": numbers(5, 3), "label": integers(4)}),
    "attention": (models.Attention, lambda: {"x": numbers(5, 8), "padding": padding(5), "label": integers(4)}),
    "unet": (models.UNet, lambda: {"image": numbers(1, 6, 6), "target": numbers(1, 6, 6)}),
    "fourier": (models.Fourier, lambda: {"x": numbers(8), "target": numbers(8)}),
}


def make_model(name):
    torch.manual_seed(1)
    return FIXTURES[name][0]().double()


def make_batches(name):
    torch.manual_seed(2)
    return FIXTURES[name][1]()


def train(name, batches, optimizer, steps, seed=None):
    """{key: tensor} of a training by eager PyTorch."""
    model = make_model(name)
    update = OPTIMIZERS[optimizer](model.parameters())
    losses = []
    for step in range(steps):
        if seed is not None:
            torch.manual_seed(seed + step)
        update.zero_grad()
        loss = model(**{key: value[step] for key, value in batches.items()})["loss"]
        loss.backward()
        for parameter in model.parameters():
            parameter.grad = parameter.grad.to_dense()  # AdamW and weight decay refuse sparse gradients
        update.step()
        losses.append(loss.detach())
    model.eval()
    with torch.no_grad():
        eval_loss = model(**{key: value[0] for key, value in batches.items()})["loss"]
    state = {f"state/{key}": value.clone() for key, value in model.state_dict().items()}
    return {"losses": torch.stack(losses), "eval_loss": eval_loss, **state}


def reference(name):
    batches = make_batches(name)
    found = {f"batch/{key}": value for key, value in batches.items()}
    if name.endswith("_dropout"):
        found |= {f"seeded/{key}": value for key, value in train(name, batches, "sgd", 1, seed=1000).items()}
        return found
    for optimizer in OPTIMIZERS:
        found |= {f"{optimizer}/{key}": value for key, value in train(name, batches, optimizer, STEPS).items()}
    return found


def write(folder):
    for name in FIXTURES:
        example = {key: value[0][:3] for key, value in make_batches(name).items()}
        levin.export(make_model(name), example, os.path.join(folder, name + ".pt2"))
        save_file({key: value.contiguous() for key, value in reference(name).items()}, os.path.join(folder, name + ".safetensors"))


def check(folder):
    """The committed files are what this script writes. Archives are compared byte by byte, references to 1e-9: rounding depends on the processor, and Adam
    enlarges it where a gradient is nearly zero."""
    with tempfile.TemporaryDirectory() as fresh:
        write(fresh)
        if unexpected := set(os.listdir(fresh)) ^ set(os.listdir(folder)):
            raise SystemExit(f"make_fixtures: {sorted(unexpected)} are in only one of the folders")
        for file in sorted(os.listdir(fresh)):
            ours, theirs = os.path.join(fresh, file), os.path.join(folder, file)
            if file.endswith(".pt2"):
                same = open(ours, "rb").read() == open(theirs, "rb").read()
            else:
                a, b = load_file(ours), load_file(theirs)
                same = a.keys() == b.keys() and all(a[k].shape == b[k].shape and torch.allclose(a[k].double(), b[k].double(), rtol=1e-9, atol=1e-9) for k in a)
            if not same:
                raise SystemExit(f"make_fixtures: {file} is not what PyTorch {torch.__version__} gives; look at the difference, then run make_fixtures.py")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    fixtures = os.path.join(here, "fixtures")
    if parser.parse_args().check:
        check(fixtures)
    else:
        os.makedirs(fixtures, exist_ok=True)
        write(fixtures)
