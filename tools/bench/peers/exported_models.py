"""The models of the benches of exported models: exported_models.py FOLDER writes mlp.pt2, gpt.pt2 and resnet.pt2 there."""
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(784, 16), nn.Linear(16, 10)

    def forward(self, x, label):
        return {"loss": F.cross_entropy(self.last(F.relu(self.first(x))), label)}


class GptBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        samples, length, width = x.shape
        q, k, v = (part.view(samples, length, 4, -1).transpose(1, 2) for part in self.qkv(self.attention_norm(x)).chunk(3, -1))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.projection(attended.transpose(1, 2).reshape(samples, length, width))
        return x + self.down(F.gelu(self.up(self.mlp_norm(x))))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(64, 48), nn.Embedding(16, 48)
        self.blocks = nn.ModuleList([GptBlock(48) for _ in range(3)])
        self.norm, self.head = nn.LayerNorm(48), nn.Linear(48, 64, bias=False)

    def forward(self, tokens, targets):
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return {"loss": F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), targets.flatten())}


class ResidualBlock(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.first_norm, self.second_norm = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.shortcut = nn.Conv2d(channels, width, 1, stride) if stride != 1 or channels != width else nn.Identity()

    def forward(self, x):
        y = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """For images of CIFAR's size."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.Sequential(ResidualBlock(16, 16, 1), ResidualBlock(16, 32, 2), ResidualBlock(32, 64, 2))
        self.output = nn.Linear(64, 10)

    def forward(self, x, label):
        y = self.blocks(F.relu(self.stem(x))).mean((2, 3))
        return {"loss": F.cross_entropy(self.output(y), label)}


MODELS = {"mlp": Mlp, "gpt": Gpt, "resnet": ResNet}


def batch_of(kind, count):
    if kind == "gpt":
        return {"tokens": torch.randint(64, (count, 16)), "targets": torch.randint(64, (count, 16))}
    return {"x": torch.rand(count, *((784,) if kind == "mlp" else (3, 32, 32))), "label": torch.randint(10, (count,))}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))
    import levin

    torch.manual_seed(1)
    for kind, model in MODELS.items():
        levin.export(model(), batch_of(kind, 4), Path(sys.argv[1]) / f"{kind}.pt2")
