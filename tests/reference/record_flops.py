"""record_flops.py [--check]: what torch.utils.flop_counter counts in forward and backward, for tests/callbacks to compare with.

Run by tools/peers-python. A line of flops.txt is NAME and a number; the inputs of a case are in CASES here, and in
tests/callbacks/flop_counter.cpp. The CPU's fused attention, of which flop_counter knows nothing, gets its formulas for the GPU's.
--check records again and compares.
"""
import pathlib
import sys

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

FILE = pathlib.Path(__file__).with_name("flops.txt")
FUSED = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda *shapes, **_: sdpa_backward_flop_count(*shapes[:4]),
}


def step(images, conv_weight, conv_bias, weight, bias):
    hidden = functional.conv2d(images, conv_weight, conv_bias, padding=1).relu()
    return functional.linear(functional.max_pool2d(hidden, 2).flatten(1), weight, bias)


def no_gradient(function):
    def of_constant(first, *others):
        return function(first.detach(), *others)
    return of_constant


CASES = {
    "linear": (functional.linear, (5, 7, 4), (6, 4), (6,)),
    "linear_no_bias": (functional.linear, (5, 7, 4), (6, 4)),
    "linear_first_layer": (no_gradient(functional.linear), (5, 4), (6, 4), (6,)),
    "matmul": (torch.matmul, (3, 5, 7), (3, 7, 2)),
    "baddbmm": (torch.baddbmm, (3, 5, 2), (3, 5, 7), (3, 7, 2)),
    "elementwise": (lambda x, y: (x * y + x).exp().sum(0), (3, 5), (3, 5)),
    "conv1d": (lambda x, w: functional.conv1d(x, w, stride=2), (2, 3, 17), (4, 3, 5)),
    "conv2d": (lambda x, w, b: functional.conv2d(x, w, b, stride=2, padding=(1, 2), dilation=2), (2, 3, 16, 15), (6, 3, 3, 5), (6,)),
    "conv2d_first_layer": (no_gradient(functional.conv2d), (2, 3, 8, 9), (6, 3, 3, 3)),
    "conv2d_grouped": (lambda x, w: functional.conv2d(x, w, groups=2), (2, 4, 8, 9), (6, 2, 3, 3)),
    "conv3d": (functional.conv3d, (2, 3, 5, 6, 7), (4, 3, 2, 3, 3)),
    "conv_transpose2d": (lambda x, w: functional.conv_transpose2d(x, w, stride=2, output_padding=1), (2, 3, 5, 6), (3, 4, 3, 3)),
    "attention": (functional.scaled_dot_product_attention, (2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 8)),
    "attention_causal": (lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True), (2, 3, 5, 8), (2, 3, 5, 8),
                         (2, 3, 5, 8)),
    "attention_not_fused": (functional.scaled_dot_product_attention, (2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4)),
    "cnn": (no_gradient(step), (4, 1, 8, 8), (6, 1, 3, 3), (6,), (10, 96), (10,)),
}


def record():
    torch.set_num_threads(1)
    lines = []
    for name, (function, *shapes) in CASES.items():
        inputs = [torch.full(shape, 0.1, requires_grad=True) for shape in shapes]
        with FlopCounterMode(display=False, custom_mapping=FUSED) as counter:
            function(*inputs).sum().backward()
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu in counter.get_flop_counts().get("Global", {})
        if fused != (name in ("attention", "attention_causal")):
            sys.exit(f"{name} is{'' if fused else ' not'} computed by the CPU's fused attention")
        lines.append(f"{name} {counter.get_total_flops()}\n")
    return "# Recorded by record_flops.py.\n" + "".join(lines)


if "--check" not in sys.argv:
    FILE.write_text(record())
elif FILE.read_text() != record():
    sys.exit("torch.utils.flop_counter counts other numbers than flops.txt has")
