"""record_hooks.py [--check]: the order in which Lightning calls the hooks of a run, for Levin's test to compare with.

Run by tools/peers-python. A case is a run of a small module, callback and data module that override every hook; hooks.txt has a line
"# CASE" and then a line for each call, as it came: "WHO NAME", where WHO is callback, module, data, or monitor: a callback that watches a
metric. A hook that is given a batch is followed by the batch's index, one that is given a stage by its name.

--check records again and compares with the file.
"""
import logging
import pathlib
import sys
import tempfile
import warnings

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DataLoader, TensorDataset

FILE = pathlib.Path(__file__).with_name("hooks.txt")
EVENTS = []

EVALUATION = [f"on_{stage}_{moment}" for stage in ("validation", "test", "predict")
              for moment in ("start", "end", "epoch_start", "epoch_end", "batch_start", "batch_end")]
SHARED = ["setup", "teardown", "on_fit_start", "on_fit_end", "on_train_start", "on_train_end", "on_train_epoch_start", "on_train_epoch_end",
          "on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_before_backward", "on_after_backward",
          "on_before_optimizer_step"] + EVALUATION
CALLBACK = SHARED + ["on_sanity_check_start", "on_sanity_check_end", "on_exception"]
MODULE = SHARED + ["configure_model", "configure_callbacks", "configure_optimizers", "configure_gradient_clipping", "training_step",
                   "validation_step", "test_step", "predict_step", "on_validation_model_zero_grad",
                   "on_validation_model_eval", "on_validation_model_train", "on_test_model_eval", "on_test_model_train",
                   "on_predict_model_eval", "optimizer_step", "lr_scheduler_step"]
DATA = ["prepare_data", "setup", "teardown", "train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader",
        "on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer", "on_exception"]


def recorder(who, name, inner):
    def hook(self, *args, **kwargs):
        words = [who, name]
        given = [*args, *kwargs.values()]
        words += [value.value for value in given if isinstance(value, TrainerFn)]
        words += [str(value) for value in given if name.endswith(("batch_start", "batch_end")) and isinstance(value, int)][:1]
        EVENTS.append(" ".join(words))
        return inner(self, *args, **kwargs)
    return hook


def recording(who, base, names):
    return type("Recording", (base,), {name: recorder(who, name, getattr(base, name)) for name in names})


class Net(LightningModule):
    def __init__(self, manual=False, fail=False):
        super().__init__()
        self.critic, self.generator = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
        self.automatic_optimization = not manual
        self.fail = fail

    def loss(self, batch):
        return (self.critic(batch[0]) + self.generator(batch[0])).square().mean()

    def training_step(self, batch, batch_idx):
        if self.fail:
            raise RuntimeError("the module broke")
        if self.automatic_optimization:
            return self.loss(batch)
        for optimizer in self.optimizers():
            self.toggle_optimizer(optimizer)
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()
            self.untoggle_optimizer(optimizer)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        pass

    def test_step(self, batch, batch_idx):
        pass

    def predict_step(self, batch, batch_idx):
        return self.critic(batch[0])

    def configure_optimizers(self):
        if self.automatic_optimization:
            return torch.optim.SGD(self.parameters(), lr=0.01)
        return [torch.optim.SGD(part.parameters(), lr=0.01) for part in (self.critic, self.generator)]


class Data(LightningDataModule):
    def __init__(self, val_loaders=1):
        super().__init__()
        self.val_loaders = val_loaders

    def loader(self, batches):
        return DataLoader(TensorDataset(torch.ones(2 * batches, 2)), batch_size=2)

    def train_dataloader(self):
        return self.loader(3)

    def val_dataloader(self):
        loaders = [self.loader(2) for _ in range(self.val_loaders)]
        return loaders if self.val_loaders > 1 else loaders[0]

    def test_dataloader(self):
        return self.loader(2)

    def predict_dataloader(self):
        return self.loader(2)


def run(how, module={}, data={}, **trainer):
    EVENTS.clear()
    callbacks = [recording("monitor", EarlyStopping, ["on_train_epoch_end"])("none", strict=False), recording("callback", Callback, CALLBACK)()]
    with tempfile.TemporaryDirectory() as folder:
        loop = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                       enable_model_summary=False, default_root_dir=folder, callbacks=callbacks, **trainer)
        try:
            getattr(loop, how)(recording("module", Net, MODULE)(**module), datamodule=recording("data", Data, DATA)(**data))
        except RuntimeError as error:
            assert str(error) == "the module broke"
    return list(EVENTS)


def record():
    cases = {
        # Three batches in accumulations of two and one, a sanity check, a validation after each of two epochs.
        "fit": run("fit", max_epochs=2, accumulate_grad_batches=2, gradient_clip_val=0.5, num_sanity_val_steps=1),
        # Validations inside an epoch, over two loaders.
        "fit, two validation loaders": run("fit", data={"val_loaders": 2}, max_epochs=1, val_check_interval=2, num_sanity_val_steps=0),
        "fit, manual": run("fit", module={"manual": True}, max_epochs=1, limit_train_batches=2, limit_val_batches=0),
        "fit, an exception": run("fit", module={"fail": True}, max_epochs=1, limit_val_batches=0),
        "validate": run("validate"),
        "test": run("test"),
        "predict": run("predict"),
    }
    return "".join(f"# {name}\n" + "".join(f"{event}\n" for event in events) for name, events in cases.items())


def main():
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    text = record()
    if "--check" not in sys.argv:
        FILE.write_text(text)
    elif text != FILE.read_text():
        sys.exit("Lightning's hooks come in another order than tests/reference/hooks.txt has")


main()
