"""export.py classifier|gpt2 [FILE]: exports a model for training with `levin fit`. Needs torch, torchvision or transformers, and tools/python.

    pip install ./tools/python torchvision transformers
    python jobs/exported/export.py classifier
"""
import sys

import levin
import torch
from torch import nn


def make_classifier():
    """A ResNet-18 of torchvision for 28 x 28 grey images. Its parameters keep torchvision's names."""
    from torchvision.models.resnet import BasicBlock, ResNet

    class Classifier(ResNet):
        def forward(self, image):
            return {"logits": super().forward(image)}

    model = Classifier(BasicBlock, [2, 2, 2, 2], num_classes=10)
    model.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def make_gpt2():
    """A small GPT-2 of transformers on bytes."""
    from transformers import GPT2Config, GPT2LMHeadModel
    return GPT2LMHeadModel(GPT2Config(vocab_size=256, n_positions=128, n_embd=128, n_layer=4, n_head=4, use_cache=False, bos_token_id=0, eos_token_id=0))


def export_classifier(path="classifier.pt2"):
    torch.manual_seed(0)
    levin.export(make_classifier(), {"image": torch.randn(2, 1, 28, 28)}, path)


def export_gpt2(path="gpt2.pt2"):
    torch.manual_seed(0)
    tokens = torch.randint(0, 256, (2, 128))
    levin.export(make_gpt2(), {"input_ids": tokens, "labels": tokens}, path, outputs=["loss", "logits"])


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in ("classifier", "gpt2"):
        sys.exit(__doc__)
    {"classifier": export_classifier, "gpt2": export_gpt2}[sys.argv[1]](*sys.argv[2:])
