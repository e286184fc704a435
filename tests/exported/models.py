"""Small models of the fixtures. forward takes the batch's tensors by name and returns the loss and what metrics need."""
import torch
import torch.nn.functional as F
from torch import nn


def _classified(logits, label):
    return {"loss": F.cross_entropy(logits, label), "logits": logits}


class Mlp(nn.Module):
    """BatchNorm, and dropout with p."""

    def __init__(self, p=0.0):
        super().__init__()
        self.input = nn.Linear(6, 12)
        self.norm = nn.BatchNorm1d(12)
        self.dropout = nn.Dropout(p)
        self.output = nn.Linear(12, 4)

    def forward(self, x, label):
        return _classified(self.output(self.dropout(F.relu(self.norm(self.input(x))))), label)


class ResidualBlock(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        self.shortcut = nn.Conv2d(channels, width, 1, stride) if stride != 1 or channels != width else None

    def forward(self, x):
        y = F.relu(self.first_norm(self.first(x)), inplace=True)
        y = self.second_norm(self.second(y))
        y += x if self.shortcut is None else self.shortcut(x)
        return F.relu(y)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.blocks = nn.Sequential(ResidualBlock(4, 4, 1), ResidualBlock(4, 6, 2))
        self.output = nn.Linear(6, 4)

    def forward(self, x, label):
        y = F.adaptive_avg_pool2d(self.blocks(self.stem(x)), 1).flatten(1)
        return _classified(self.output(y), label)


class GptBlock(nn.Module):
    def __init__(self, width, heads, p):
        super().__init__()
        self.heads, self.p = heads, p
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(p)

    def forward(self, x):
        samples, length, width = x.shape
        q, k, v = (part.view(samples, length, self.heads, -1).transpose(1, 2) for part in self.qkv(self.attention_norm(x)).chunk(3, -1))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=self.p if self.training else 0.0)
        x = x + self.dropout(self.projection(attended.transpose(1, 2).reshape(samples, length, width)))
        return x + self.dropout(self.down(F.gelu(self.up(self.mlp_norm(x)))))


class Gpt(nn.Module):
    """The output layer is tied to the embedding."""

    def __init__(self, vocabulary=11, width=8, context=6, p=0.0):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList([GptBlock(width, 2, p) for _ in range(2)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens, targets):
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return {"loss": F.cross_entropy(logits.flatten(0, 1), targets.flatten()), "logits": logits}


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 5, 2, batch_first=True, bidirectional=True)
        self.output = nn.Linear(10, 4)

    def forward(self, x, label):
        return _classified(self.output(self.lstm(x)[0][:, -1]), label)


class Attention(nn.Module):
    """nn.MultiheadAttention with a mask of padding."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.output = nn.Linear(8, 4)

    def forward(self, x, padding, label):
        y, _ = self.attention(x, x, x, key_padding_mask=padding, need_weights=False)
        return _classified(self.output(y.mean(1)), label)


class UNet(nn.Module):
    """With a transposed convolution."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU())
        self.bottom = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.SiLU())
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.output = nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, image, target):
        skipped = self.down(image)
        found = self.output(torch.cat([skipped, self.up(self.bottom(skipped))], 1))
        return {"loss": F.mse_loss(found, target), "prediction": found}


class Fourier(nn.Module):
    """A Fourier layer: products of complex numbers of low frequencies."""

    def __init__(self, modes=3):
        super().__init__()
        self.lift = nn.Linear(1, 4)
        self.real, self.imaginary = nn.Parameter(torch.randn(4, 4, modes) / 4), nn.Parameter(torch.randn(4, 4, modes) / 4)
        self.output = nn.Linear(4, 1)

    def forward(self, x, target):
        y = self.lift(x.unsqueeze(-1)).transpose(1, 2)
        spectrum = torch.fft.rfft(y)
        low = torch.einsum("bim,iom->bom", spectrum[..., :self.real.shape[-1]], torch.complex(self.real, self.imaginary))
        spectrum = torch.cat([low, torch.zeros_like(spectrum[..., self.real.shape[-1]:])], -1)
        y = F.gelu(y + torch.fft.irfft(spectrum, n=x.shape[-1]))
        prediction = self.output(y.transpose(1, 2)).squeeze(-1)
        return {"loss": F.mse_loss(prediction, target), "prediction": prediction}


class Embeddings(nn.Module):
    """With sparse gradients."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(11, 6, sparse=True)
        self.bag = nn.EmbeddingBag(11, 6, mode="mean", sparse=True)
        self.output = nn.Linear(6, 4)

    def forward(self, tokens, label):
        return _classified(self.output(torch.tanh(self.words(tokens).mean(1) + self.bag(tokens))), label)
