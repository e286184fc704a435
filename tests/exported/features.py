"""Small models, each one feature of PyTorch. features: {name: Feature}; outside: what levin.export refuses, with a part of its message.

forward takes the batch's tensors by name and returns the loss.
"""
import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

D = torch.float64


@dataclasses.dataclass
class Feature:
    make: Callable  # the model
    batch: Callable  # its batch of 4 samples; exported with the first 3
    dynamic: object = None  # of levin.export


features, outside = {}, {}


def numbers(*shape):
    return torch.randn(4, *shape, dtype=D)


def integers(high, *shape):
    return torch.randint(0, high, (4, *shape))


class Applied(nn.Module):
    """A layer and a function of it and x; the loss is the mean of the squares."""

    def __init__(self, layer, function):
        super().__init__()
        self.layer, self.function = layer, function

    def forward(self, x):
        y = self.function(self.layer, x)
        y = y[0] if isinstance(y, tuple) else y
        return y.square().mean()


def feature(name, layer, shape, function=lambda layer, x: layer(x)):
    features[name] = Feature(lambda: Applied(layer(), function).to(D), lambda: {"x": numbers(*shape)})


def refused(name, layer, shape, part, function=lambda layer, x: layer(x)):
    outside[name] = (Feature(lambda: Applied(layer(), function).to(D), lambda: {"x": numbers(*shape)}), part)


def linear(name, shape, function):
    feature(name, lambda: nn.Linear(shape[-1], shape[-1]), shape, function)


# Layers
feature("conv1d", lambda: nn.Conv1d(3, 5, 3, padding=1), (3, 9))
feature("conv3d_groups", lambda: nn.Conv3d(4, 4, 3, groups=2), (4, 5, 5, 5))
feature("conv_same_reflect", lambda: nn.Conv2d(3, 4, 3, padding="same", padding_mode="reflect"), (3, 6, 6))
feature("conv_dilated", lambda: nn.Conv2d(3, 4, 3, dilation=2), (3, 7, 7))
feature("conv_transpose", lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=1), (3, 5, 5))
feature("group_norm_silu", lambda: nn.Sequential(nn.GroupNorm(2, 6), nn.SiLU()), (6, 5))
feature("instance_norm_stats", lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True), (3, 5, 5))
feature("rms_norm", lambda: nn.RMSNorm(6), (6,))
feature("lstm", lambda: nn.LSTM(5, 7, 2, batch_first=True, bidirectional=True), (6, 5))
feature("gru_dropout", lambda: nn.GRU(5, 7, 2, batch_first=True, dropout=0.3), (6, 5))
feature("rnn_relu", lambda: nn.RNN(5, 7, nonlinearity="relu", batch_first=True), (6, 5))
feature("lstm_cell", lambda: nn.LSTMCell(5, 7), (5,))
feature("attention", lambda: nn.MultiheadAttention(8, 2, batch_first=True, dropout=0.1), (6, 8), lambda layer, x: layer(x, x, x, need_weights=False))
feature("attention_weights", lambda: nn.MultiheadAttention(8, 2, batch_first=True), (6, 8), lambda layer, x: layer(x, x, x))
feature("encoder_layer", lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (6, 8))
feature("decoder_layer", lambda: nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), (6, 8), lambda layer, x: layer(x, x.flip(1)))
feature("weight_norm", lambda: nn.utils.parametrizations.weight_norm(nn.Linear(5, 4)), (5,))
feature("spectral_norm", lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(5, 4)), (5,))
feature("prelu_pools", lambda: nn.Sequential(nn.PReLU(), nn.AvgPool2d(2), nn.AdaptiveMaxPool2d(2)), (3, 8, 8))
feature("activations", lambda: nn.Sequential(nn.Linear(6, 6), nn.ELU(), nn.Softplus(), nn.Hardswish(), nn.Mish(), nn.GELU("tanh")), (6,))
feature("dropouts", lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout2d(0.3), nn.AlphaDropout(0.2), nn.FeatureAlphaDropout(0.1), nn.RReLU()), (3, 4, 4))
feature("pixel_shuffle", lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.PixelShuffle(2)), (3, 4, 4))
feature("channels_last", lambda: nn.Conv2d(3, 4, 3), (3, 6, 6), lambda layer, x: layer(x.contiguous(memory_format=torch.channels_last)).contiguous())

# Functions
linear("interpolate", (3, 6, 6), lambda layer, x: F.interpolate(layer(x), scale_factor=2.0, mode="bilinear"))
linear("interpolate_size", (3, 6, 6), lambda layer, x: F.interpolate(layer(x), size=(9, 5), mode="bicubic"))
linear("grid_sample", (3, 6, 6), lambda layer, x: F.grid_sample(x, torch.tanh(layer(x))[:, :2].permute(0, 2, 3, 1), align_corners=False))
linear("fft", (8,), lambda layer, x: torch.fft.irfft(torch.fft.rfft(layer(x)) * torch.complex(torch.ones(5, dtype=D), torch.ones(5, dtype=D)), n=8))
linear("einsum", (5, 6), lambda layer, x: torch.einsum("bij,bkj->bik", layer(x), x))
linear("sort_topk_gather", (6,), lambda layer, x: layer(x).sort(1)[0][:, :3] + layer(x).topk(3, 1)[0] + layer(x).gather(1, torch.zeros_like(x[:, :3]).long()))
linear("scatter_cumsum", (6,), lambda layer, x: torch.zeros_like(x).scatter_add(1, x.argsort(1), layer(x)).cumsum(1))
linear("splits", (6,), lambda layer, x: torch.cat([torch.stack(layer(x).chunk(3, 1)).sum(0), *layer(x).split(2, 1), layer(x).unbind(1)[0].unsqueeze(1)], 1))
linear("solve", (6, 6), lambda layer, x: torch.linalg.solve(layer(x) @ layer(x).mT + 3 * torch.eye(6, dtype=D), x))
linear("svd", (6, 6), lambda layer, x: torch.linalg.svdvals(layer(x)))
linear("pad_roll_unfold", (3, 6, 6), lambda layer, x: F.unfold(torch.roll(F.pad(layer(x), (1, 1, 1, 1), mode="circular"), 2, 3), 3))
linear("softmax_mask", (6, 6), lambda layer, x: layer(x).masked_fill(torch.ones(6, 6, dtype=torch.bool).triu(1), float("-inf")).softmax(-1))
linear("attention_mask", (2, 6, 8), lambda layer, x: F.scaled_dot_product_attention(layer(x), x, x, attn_mask=torch.ones(6, 6, dtype=torch.bool).tril()))
linear("attention_groups", (4, 6, 8), lambda layer, x: F.scaled_dot_product_attention(layer(x), x[:, :2], x[:, :2], is_causal=True, enable_gqa=True))
linear("noise", (6,), lambda layer, x: layer(x + 0.1 * torch.randn_like(x)) * torch.rand(x.shape[0], 1, dtype=D).bernoulli())
linear("dtypes", (6,), lambda layer, x: layer(x.float().double()).to(torch.bfloat16).to(D) + x.new_zeros(6) + torch.full((6,), 2.0, dtype=D))
linear("constant", (6,), lambda layer, x: layer(x) * torch.tensor([1.0, 2, 3, 4, 5, 6], dtype=D))
linear("boolean_mask", (6,), lambda layer, x: layer(x)[x > 0])
linear("item", (6,), lambda layer, x: layer(x) * x.abs().max().item())
linear("where", (6,), lambda layer, x: torch.where(x > 0, layer(x), layer(x).exp()))
linear("checkpoint", (6,), lambda layer, x: checkpoint(layer, x, use_reentrant=False))
linear("cond", (6,), lambda layer, x: torch.cond(x.sum() > 0, lambda x: layer(x).sin(), lambda x: layer(x).cos(), (x,)))


def written_slices(layer, x):
    y = layer(x).clone()
    y[:, 2:4] = layer(x)[:, :2] * 2
    y[:, 0] += 1
    return y


def sizes(layer, x):
    n = x.shape[0]
    y = torch.cat([x, x]).view(2, n, 6).reshape(n * 2, 6)
    return layer(y[n - 1:]) + torch.arange(n + 1, dtype=D)[:, None] / n + (n - 1) * 0.5 + torch.zeros(3 * n // 2, dtype=D).sum()


def without_gradient(layer, x):
    with torch.no_grad():
        target = layer(x).softmax(1)
    return layer(x) - target


def autocast(layer, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = F.linear(x.float(), layer.weight.float(), layer.bias.float()) @ x.float().T
    return y.to(D)


linear("written_slices", (6,), written_slices)
linear("sizes", (6,), sizes)
linear("without_gradient", (6,), without_gradient)
linear("autocast", (6,), autocast)


def into_out(layer, x):
    """out= of one tensor, of a part of one, and of an operand."""
    with torch.no_grad():
        scale, rows = torch.empty_like(x[0]), torch.ones(2, 6, dtype=D)
        torch.mul(x[0], 2, out=scale)
        torch.add(scale, 1, out=scale)
        torch.sum(x, 0, out=rows[1])
    return layer(x) * scale + rows.sum(0)


linear("out", (6,), into_out)


# Modules
def module(batch):
    def add(kind):
        features[kind.__name__.lower()] = Feature(kind, batch)
        return kind
    return add


@module(lambda: {"x": numbers(6)})
class Buffers(nn.Module):
    """Changed in place, by assignment, and not in the state_dict."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6, dtype=D)
        self.register_buffer("mean", torch.zeros(6, dtype=D))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("sum", torch.zeros(6, dtype=D))
        self.register_buffer("cache", torch.arange(6, dtype=D), persistent=False)

    def forward(self, x):
        y = self.layer(x)
        self.mean.mul_(0.9).add_(y.detach().mean(0), alpha=0.1)
        self.count += 1
        read = y * self.sum
        self.sum = self.sum + y.detach().sum(0)
        return ((read - self.mean + self.cache + y) ** 2).mean() * self.count


@module(lambda: {"x": numbers(6)})
class Literals(nn.Module):
    """Tensors and numbers in forward, and floating-point results of integers: dtypes and limits that are not those of parameters."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6, dtype=D)

    def forward(self, x):
        scale, places = torch.tensor([1, 0.5, 0.25, 2, 1, 1]), torch.arange(6) / 6  # float32
        scores = self.layer(x * scale + places)
        weights = scores.masked_fill(torch.arange(6) > 3, torch.finfo(scores.dtype).min).softmax(-1)
        return self.layer(weights).square().mean()


@module(lambda: {"x": numbers(6)})
class Sharing(nn.Module):
    """One module twice; a tied, a frozen, an unused and a scalar parameter."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.unused, self.tied = (nn.Linear(6, 6, dtype=D) for _ in range(4))
        self.tied.weight = self.a.weight
        self.b.weight.requires_grad_(False)
        self.scale = nn.Parameter(torch.tensor(0.5, dtype=D))

    def forward(self, x):
        return (self.tied(self.a(self.b(self.a(x)))) * self.scale).square().mean()


@module(lambda: {"tokens": integers(10, 7)})
class Embeddings(nn.Module):
    def __init__(self):
        super().__init__()
        self.padded = nn.Embedding(10, 6, padding_idx=0, dtype=D)
        self.bag = nn.EmbeddingBag(10, 6, mode="mean", dtype=D)

    def forward(self, tokens):
        return (self.padded(tokens).mean(1) + self.bag(tokens)).square().sum()


@module(lambda: {"tokens": integers(10, 7)})
class SparseGradients(nn.Module):
    """Eager PyTorch's gradients of these parameters are sparse, Levin's are dense."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 7, sparse=True, dtype=D)
        self.bag = nn.EmbeddingBag(10, 7, mode="sum", sparse=True, dtype=D)
        self.rows = nn.Parameter(torch.randn(10, 7, dtype=D))

    def forward(self, tokens):
        return (self.table(tokens).mean(1) + self.bag(tokens) + torch.gather(self.rows, 0, tokens, sparse_grad=True)).square().sum()


@module(lambda: {"x": numbers(6), "label": integers(6), "target": numbers(6).sigmoid()})
class Losses(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6, dtype=D)
        self.register_buffer("weight", torch.rand(6, dtype=D))

    def forward(self, x, label, target):
        y = self.layer(x)
        return (F.cross_entropy(y, label, weight=self.weight, ignore_index=2, label_smoothing=0.1) + F.huber_loss(y, target) + F.smooth_l1_loss(y, target)
                + F.binary_cross_entropy_with_logits(y, target, pos_weight=self.weight) + F.multi_margin_loss(y, label) + F.poisson_nll_loss(y, target)
                + F.kl_div(y.log_softmax(1), target.softmax(1), reduction="batchmean") + F.triplet_margin_loss(y, target, x)
                + F.cosine_embedding_loss(y, target, torch.ones(x.shape[0])))


@module(lambda: {"x": numbers(6)})
class ComplexParameter(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, dtype=torch.complex128))

    def forward(self, x):
        return (x * self.weight).abs().mean()


# What levin.export refuses
def forces(layer, x):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(layer(x).tanh().sum(), x, create_graph=True)[0]


def hooked(y):
    if y.requires_grad:
        y.register_hook(lambda gradient: gradient * 2)
    return y


def with_backward_hook():
    layer = nn.Linear(6, 6)
    layer.register_full_backward_hook(lambda *_: None)
    return layer


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def written_bias(layer):
    with torch.no_grad():
        return layer.bias.mul_(0.5)


def grown_out(layer, x):
    return layer(x) + torch.mul(x[0], 2, out=torch.empty(0, dtype=D))


square = lambda: nn.Linear(6, 6)
refused("autograd_grad", square, (6,), "torch.autograd.grad", forces)
refused("vmap", square, (6,), "torch.vmap", lambda layer, x: torch.vmap(lambda row: layer(row).tanh())(x))
refused("functorch_grad", square, (6,), "torch.func.grad", lambda layer, x: torch.func.grad(lambda x: layer(x).tanh().sum())(x))
refused("straight_through", square, (6,), "torch.autograd.Function Straight", lambda layer, x: Straight.apply(layer(x)))
refused("tensor_hook", square, (6,), "registers a hook on a tensor", lambda layer, x: hooked(layer(x)))
refused("module_hook", with_backward_hook, (6,), "has backward hooks")
refused("while_loop", square, (6,), "while_loop", lambda layer, x: torch._higher_order_ops.while_loop(
    lambda i, y: i < 3, lambda i, y: (i + 1, layer(y)), (torch.zeros((), dtype=torch.long), x))[1])
refused("condition", square, (6,), "depends on the values of tensors", lambda layer, x: layer(x) if x.sum() > 0 else -layer(x))
# What torch.export makes no graph of
refused("batch_norm_cumulative", lambda: nn.BatchNorm1d(6, momentum=None), (6,), "depends on the values of tensors")
refused("fake_quantize", square, (6,), "torch.export cannot trace the model in training mode (features.py", lambda layer, x: torch.fake_quantize_per_tensor_affine(
    layer(x).float(), 0.1, 0, -128, 127).double())
refused("ctc", square, (9, 6), "torch.export cannot trace the model in training mode (features.py", lambda layer, x: F.ctc_loss(
    layer(x).log_softmax(-1).transpose(0, 1), torch.ones(x.shape[0], 3).long(), torch.full((x.shape[0],), 9), torch.full((x.shape[0],), 3)))
# What Levin does not train
refused("max_norm", lambda: nn.Embedding(10, 6, max_norm=1.0), (7,), "forward changes the parameters layer.weight", lambda layer, x: layer(x.abs().long()))
refused("parameter_in_place", square, (6,), "forward changes the parameters layer.bias", lambda layer, x: layer(x) + written_bias(layer))
refused("out_that_grows", square, (6,), "writes into out=", grown_out)
refused("two_outs", square, (6,), "writes into out=", lambda layer, x: layer(x) + torch.max(
    layer.weight.detach(), 0, out=(torch.empty(6, dtype=D), torch.empty(6).long()))[0])
