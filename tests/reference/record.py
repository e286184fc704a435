"""record.py [--check] [CASE ...]: what PyTorch makes of small trainings, for Levin's tests to compare with.

Run by tools/peers-python. Data and initial weights come from an integer hash that tests/support/reference.h repeats, so the files hold
results only. One epoch is 640 samples in order, in batches of 64: ten batches, and 100 batches are trained in all; of a GPT 32 windows of
16 tokens, in batches of 4, and 50 batches. A line of a file is

    losses64 COUNT VALUE ...                  64-true, the loss of every batch
    losses32 COUNT VALUE ...                  32-true, the first ten
    norm64 VALUE, norm32 VALUE                of all gradients of the first step, before clipping
    gradient32 NAME NORM STRIDE COUNT VALUE ...   of a parameter at the first step: its norm, and its entries 0, STRIDE, 2 STRIDE, ...
    weight64 NAME NORM STRIDE COUNT VALUE ...     of a parameter at the end

--check records again and compares with the files: 1e-11 in 64-true, 1e-5 in 32-true.
"""
import math
import pathlib
import sys

import torch
from torch.nn import functional as F

SAMPLES, BATCH, BATCHES, CLASSES, SIDE = 640, 64, 100, 10, 28
MASK = (1 << 64) - 1
WINDOWS, CONTEXT, GPT_BATCH, GPT_BATCHES = 32, 16, 4, 50
LAYERS, WIDTH, HEADS, VOCABULARY = 2, 32, 4, 256
LR, MIN_LR, WARMUP = 3e-3, 3e-4, 10

# SGD and AdamW as users set them, and one variant at a time of everything that stands between the gradient and the step.
CASES = {
    "cnn_sgd": dict(model="cnn", optimizer=lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
    "cnn_adamw": dict(model="cnn", optimizer=lambda p: torch.optim.AdamW(p, lr=2e-3, weight_decay=0.01)),
    "cnn_sgd_clip_norm": dict(model="cnn", optimizer=lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), clip_norm=0.5),
    # An epoch of ten batches makes windows of 4, 4 and 2: each is the mean of its own batches.
    "cnn_adamw_accumulate": dict(model="cnn", optimizer=lambda p: torch.optim.AdamW(p, lr=2e-3, weight_decay=0.01), accumulate=4),
    "mlp_sgd": dict(model="mlp", optimizer=lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True)),
    "mlp_adam": dict(model="mlp", optimizer=lambda p: torch.optim.Adam(p, lr=1e-3, betas=(0.8, 0.99), weight_decay=1e-3)),
    "mlp_adamw_clip_value": dict(model="mlp", optimizer=lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.01), clip_value=0.003),
    # jobs/gpt in its two usual forms, with the job's own optimizer and schedule.
    "gpt_gelu": dict(model="gpt", activation="gelu", positions="learned", norm="layer_norm", bias=True),
    "gpt_swiglu": dict(model="gpt", activation="swiglu", positions="rotary", norm="rms_norm", bias=False),
}

# (name, shape); the number of inputs of a weight scales it, and its bias.
PARAMETERS = {
    "cnn": [("conv1.weight", (8, 1, 3, 3)), ("conv1.bias", (8,)), ("conv2.weight", (16, 8, 3, 3)), ("conv2.bias", (16,)),
            ("fc.weight", (10, 400)), ("fc.bias", (10,))],
    "mlp": [("fc1.weight", (32, 784)), ("fc1.bias", (32,)), ("fc2.weight", (16, 32)), ("fc2.bias", (16,)), ("fc3.weight", (10, 16)),
            ("fc3.bias", (10,))],
}


def bits(stream, index):
    """23 bits of splitmix64."""
    z = (stream * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return (z ^ (z >> 31)) >> 41


def data(dtype):
    """Noise over a picture of the class: [640, 1, 28, 28] in [0, 1), exact in fp32; labels [640]."""
    labels = [bits(1, sample) % CLASSES for sample in range(SAMPLES)]
    pixels = SIDE * SIDE
    pictures = [[bits(2, label * pixels + pixel) for pixel in range(pixels)] for label in range(CLASSES)]
    images = [[(pictures[labels[sample]][pixel] + bits(3, sample * pixels + pixel)) / 2.0**24 for pixel in range(pixels)]
              for sample in range(SAMPLES)]
    return torch.tensor(images, dtype=dtype).view(SAMPLES, 1, SIDE, SIDE), torch.tensor(labels)


def weights(model, dtype):
    """Uniform in ±1/sqrt(inputs), as nn.Linear's and nn.Conv2d's own."""
    made, inputs = {}, 1
    for stream, (name, shape) in enumerate(PARAMETERS[model]):
        if len(shape) > 1:
            inputs = math.prod(shape[1:])
        values = [(bits(100 + stream, i) / 2.0**22 - 1.0) / math.sqrt(inputs) for i in range(math.prod(shape))]
        made[name] = torch.tensor(values, dtype=torch.float64).view(shape).to(dtype).requires_grad_()
    return made


def forward(model, w, x):
    if model == "cnn":
        x = F.max_pool2d(F.relu(F.conv2d(x, w["conv1.weight"], w["conv1.bias"])), 2)
        x = F.max_pool2d(F.relu(F.conv2d(x, w["conv2.weight"], w["conv2.bias"])), 2)
        return F.linear(x.flatten(1), w["fc.weight"], w["fc.bias"])
    x = F.relu(F.linear(x.flatten(1), w["fc1.weight"], w["fc1.bias"]))
    x = F.relu(F.linear(x, w["fc2.weight"], w["fc2.bias"]))
    return F.linear(x, w["fc3.weight"], w["fc3.bias"])


def train(dtype, batches, model, optimizer, accumulate=1, clip_norm=None, clip_value=None):
    images, labels = data(dtype)
    w = weights(model, dtype)
    optimizer = optimizer(list(w.values()))
    losses, first = [], None
    for batch in range(batches):
        in_epoch = batch % (SAMPLES // BATCH)
        window = min(accumulate, SAMPLES // BATCH - in_epoch // accumulate * accumulate)
        rows = slice(in_epoch * BATCH, (in_epoch + 1) * BATCH)
        loss = F.cross_entropy(forward(model, w, images[rows]), labels[rows])
        losses.append(loss.item())
        (loss / window).backward()
        if in_epoch % accumulate + 1 < window:
            continue
        first = first or {name: p.grad.clone() for name, p in w.items()}
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(w.values(), clip_norm)
        if clip_value:
            torch.nn.utils.clip_grad_value_(w.values(), clip_value)
        optimizer.step()
        optimizer.zero_grad()
    return losses, first, w


def gpt_parameters(activation, positions, norm, bias):
    """(name, shape) in the order of the model's own list."""
    hidden = 4 * WIDTH if activation == "gelu" else (8 * WIDTH // 3 + 7) // 8 * 8
    inner = hidden if activation == "gelu" else 2 * hidden

    def layer(name, outputs, inputs):
        return [(f"{name}.weight", (outputs, inputs))] + ([(f"{name}.bias", (outputs,))] if bias else [])

    def norm_of(name):
        return [(f"{name}.weight", (WIDTH,))] + ([(f"{name}.bias", (WIDTH,))] if bias and norm == "layer_norm" else [])

    found = [("tokens", (VOCABULARY, WIDTH))] + ([("places", (CONTEXT, WIDTH))] if positions == "learned" else [])
    for i in range(LAYERS):
        block = f"blocks.{i}."
        found += norm_of(block + "norm1") + layer(block + "qkv", 3 * WIDTH, WIDTH) + layer(block + "attention_out", WIDTH, WIDTH)
        found += norm_of(block + "norm2") + layer(block + "mlp_in", inner, WIDTH) + layer(block + "mlp_out", WIDTH, hidden)
    return found + norm_of("norm")


def is_norm(name):
    return "norm" in name and name.endswith(".weight")


def gpt_weights(dtype, **form):
    """As weights(), and 1 more for the weights of norms."""
    made, inputs = {}, 1
    for stream, (name, shape) in enumerate(gpt_parameters(**form)):
        if len(shape) > 1:
            inputs = math.prod(shape[1:])
        values = [(bits(100 + stream, i) / 2.0**22 - 1.0) / math.sqrt(inputs) + is_norm(name) for i in range(math.prod(shape))]
        made[name] = torch.tensor(values, dtype=torch.float64).view(shape).to(dtype).requires_grad_()
    return made


def gpt_forward(w, tokens, activation, positions, norm, bias):
    def layer(name, x):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"] if bias else None)

    def normed(name, x):
        weight = w[f"{name}.weight"]
        if norm == "rms_norm":
            return F.rms_norm(x, (WIDTH,), weight, 1e-5)
        return F.layer_norm(x, (WIDTH,), weight, w[f"{name}.bias"] if bias else None, 1e-5)

    def turned(x):
        half = WIDTH // HEADS // 2
        frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.arange(x.shape[2], dtype=torch.float64)[:, None] * frequencies
        cos, sin, a, b = angles.cos().to(x.dtype), angles.sin().to(x.dtype), x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    x = F.embedding(tokens, w["tokens"])
    if positions == "learned":
        x = x + w["places"]
    for i in range(LAYERS):
        block = f"blocks.{i}."
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in layer(block + "qkv", normed(block + "norm1", x)).chunk(3, -1))
        if positions == "rotary":
            q, k = turned(q), turned(k)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + layer(block + "attention_out", mixed.transpose(1, 2).flatten(-2))
        h = layer(block + "mlp_in", normed(block + "norm2", x))
        if activation == "gelu":
            h = F.gelu(h)
        else:
            gate, h = h.chunk(2, -1)
            h = F.silu(gate) * h
        x = x + layer(block + "mlp_out", h)
    return F.linear(normed("norm", x), w["tokens"])


def learning_rate(step):
    if step < WARMUP:
        return LR * (step + 1) / (WARMUP + 1)
    return MIN_LR + (LR - MIN_LR) * (1 + math.cos(math.pi * (step - WARMUP) / (GPT_BATCHES - WARMUP))) / 2


def train_gpt(dtype, batches, model, **form):
    text = torch.tensor([bits(4, i % 37) % VOCABULARY for i in range(WINDOWS * CONTEXT + 1)])
    inputs, targets = text[:-1].view(WINDOWS, CONTEXT), text[1:].view(WINDOWS, CONTEXT)
    w = gpt_weights(dtype, **form)
    plain = [p for name, p in w.items() if is_norm(name) or name.endswith("bias")]
    matrices = [p for name, p in w.items() if not (is_norm(name) or name.endswith("bias"))]
    optimizer = torch.optim.AdamW([dict(params=matrices, weight_decay=0.1), dict(params=plain, weight_decay=0)], betas=(0.9, 0.95))
    losses, first = [], None
    for step in range(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        begin = step * GPT_BATCH % WINDOWS
        logits = gpt_forward(w, inputs[begin:begin + GPT_BATCH], **form)
        loss = F.cross_entropy(logits.flatten(0, 1), targets[begin:begin + GPT_BATCH].flatten())
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        first = first or {name: p.grad.clone() for name, p in w.items()}
        optimizer.step()
    return losses, first, w


def number(value):
    return format(float(value), ".17g")


def tensor_line(key, name, tensor):
    values = tensor.detach().flatten()
    stride = max(1, len(values) // 16)
    entries = values[::stride][:16]
    return f"{key} {name} {number(values.double().norm())} {stride} {len(entries)} " + " ".join(map(number, entries))


def total_norm(gradients):
    return number(torch.cat([g.flatten().double() for g in gradients.values()]).norm())


def record(case):
    run, batches = (train_gpt, GPT_BATCHES) if case["model"] == "gpt" else (train, BATCHES)
    losses64, gradients64, end = run(torch.float64, batches, **case)
    losses32, gradients32, _ = run(torch.float32, 10, **case)
    lines = [f"losses{kind} {len(losses)} " + " ".join(map(number, losses)) for kind, losses in (("64", losses64), ("32", losses32))]
    lines += [f"norm64 {total_norm(gradients64)}", f"norm32 {total_norm(gradients32)}"]
    lines += [tensor_line("gradient32", name, g) for name, g in gradients32.items()]
    lines += [tensor_line("weight64", name, p) for name, p in end.items()]
    return lines


def differences(old, new):
    """Where two records differ by more than they may."""
    if len(old) != len(new):
        return [f"{len(old)} lines, now {len(new)}"]
    found = []
    for before, now in zip(old, new):
        a, b = before.split(), now.split()
        tolerance = 1e-5 if a[0].endswith("32") else 1e-11
        scale = float(a[2]) if a[0].startswith("gradient") else 1.0
        skip = 2 if a[0].startswith(("gradient", "weight")) else 1
        values = [(float(x), float(y)) for x, y in zip(a[skip:], b[skip:])]
        if a[:skip] != b[:skip] or len(a) != len(b) or any(abs(x - y) > tolerance * max(scale, abs(x)) for x, y in values):
            found.append(f"{before[:90]} …\n  now {now[:90]} …")
    return found


def main():
    torch.set_num_threads(1)
    check = "--check" in sys.argv[1:]
    header = f"# Recorded by record.py: PyTorch {torch.__version__.split('+')[0]}, CPU, one thread."
    wrong = 0
    wanted = [name for name in sys.argv[1:] if name in CASES] or list(CASES)
    for name, case in ((name, CASES[name]) for name in wanted):
        path = pathlib.Path(__file__).parent / f"{name}.txt"
        lines = record(case)
        print(f"{name}: loss {lines[0].split()[2][:8]} to {lines[0].split()[-1][:8]}")
        if not check:
            path.write_text("\n".join([header, *lines]) + "\n")
            continue
        for difference in differences([line for line in path.read_text().splitlines() if not line.startswith("#")], lines):
            wrong += 1
            print(f"{name}: {difference}")
    return 1 if wrong else 0


sys.exit(main())
