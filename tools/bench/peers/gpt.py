"""PyTorch: a GPT with fused AdamW, one thread a rank; on CPUs one of 25 M parameters, on gloo, on GPUs one of 125 M, on NCCL. Tokens a
second over all ranks. gpt.py single|ddp|fsdp STEPS [bf16] [cuda] [compile] [NAME=NUMBER ...]; started by torchrun where there are several
ranks, or any strategy. NAME: layers, width, heads, context, batch, vocabulary, clip, the largest norm of the gradient, and tf32=1 for
products of fp32 in TF32. With the word profile: the time of a step by kernel; with the word blocked: how long
torch.distributed.checkpoint.async_save keeps its caller (one rank)."""
import os
import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from common import report

DEVICE = "cuda" if "cuda" in sys.argv[3:] else "cpu"
sizes = dict(zip(("layers", "width", "heads", "context", "batch", "vocabulary"),
                 (10, 1024, 16, 1024, 16, 256) if DEVICE == "cuda" else (8, 512, 8, 256, 4, 256)))
given = dict(word.split("=") for word in sys.argv[3:] if "=" in word)
CLIP = float(given.pop("clip", 0))
if given.pop("tf32", None):
    torch.set_float32_matmul_precision("high")
if unknown := set(given) - set(sizes):
    sys.exit(f"gpt.py: unknown option {', '.join(unknown)}; choose one of {', '.join(sizes)}, clip, tf32")
LAYERS, WIDTH, HEADS, CONTEXT, BATCH, VOCABULARY = {**sizes, **{name: int(number) for name, number in given.items()}}.values()


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = (part.view(n, t, HEADS, WIDTH // HEADS).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(WIDTH, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(n, t, WIDTH))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(CONTEXT, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.places[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)


def profile(step, steps, meet):
    from torch.profiler import ProfilerActivity, profile as record
    activity = ProfilerActivity.CUDA if DEVICE == "cuda" else ProfilerActivity.CPU
    with record(activities=[activity]) as recorded:
        for _ in range(steps):
            step()
        meet()
    sums = {}
    for event in recorded.profiler.kineto_results.events():
        if (event.device_type() == torch.autograd.DeviceType.CPU) == (DEVICE == "cpu"):
            ms, count = sums.get(event.name(), (0, 0))
            sums[event.name()] = ms + event.duration_ns() / 1e6 / steps, count + 1
    for name, (ms, count) in sorted(sums.items(), key=lambda item: -item[1][0])[:25]:
        print(f"{ms:8.3f} ms {count / steps:6.1f} x {name[:100]}")
    report("profile", sum(ms for ms, _ in sums.values()), "ms of kernels a step" if DEVICE == "cuda" else "ms of operations a step")


def blocked(model, optimizer, step, steps, meet, parameters):
    import tempfile

    from torch.distributed.checkpoint import async_save
    from torch.distributed.checkpoint.state_dict import get_state_dict
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("cpu:gloo,cuda:nccl" if DEVICE == "cuda" else "gloo", init_method=f"file://{folder}/meeting", rank=0,
                                world_size=1)
        times = []
        for turn in range(steps + 1):
            step()
            meet()
            began = time.perf_counter()
            weights, state = get_state_dict(model, optimizer)
            saved = async_save({"model": weights, "optimizer": state}, checkpoint_id=f"{folder}/{turn}")
            times.append(time.perf_counter() - began)
            saved.result()
        report("async_save", 1e3 * sorted(times[1:])[len(times[1:]) // 2], "ms blocked", parameters=parameters)
        dist.destroy_process_group()


def main():
    kind, steps = sys.argv[1], int(sys.argv[2])
    narrow = "bf16" in sys.argv[3:]
    torch.set_num_threads(1)
    if DEVICE == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    model = Gpt().to(DEVICE)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(0, 0.02)
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    if kind != "single":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group("nccl" if DEVICE == "cuda" else "gloo")
    if kind == "ddp":
        model = nn.parallel.DistributedDataParallel(model)
    if kind == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
        mesh = init_device_mesh(DEVICE, (ranks,))
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
    if "compile" in sys.argv[3:]:
        model = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    data = torch.randint(VOCABULARY, (BATCH, CONTEXT + 1))
    if DEVICE == "cuda":
        data = data.pin_memory()

    def meet():
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        if kind != "single":
            dist.barrier()

    def step():
        tokens = data.to(DEVICE, non_blocking=True)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=narrow):
            logits = model(tokens[:, :-1].contiguous())
            loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        if CLIP:
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(3):
        step()
    meet()
    if "profile" in sys.argv[3:]:
        return profile(step, steps, meet)
    if "blocked" in sys.argv[3:]:
        return blocked(model, optimizer, step, steps, meet, parameters)
    began = time.perf_counter()
    for _ in range(steps):
        step()
    meet()
    seconds = time.perf_counter() - began
    if int(os.environ.get("RANK", 0)) == 0:
        report(f"{kind} on {ranks} ranks" + (", bf16-mixed" if narrow else ""), steps * ranks * BATCH * CONTEXT / seconds, "tokens/s",
               parameters=parameters)
    if kind != "single":
        dist.destroy_process_group()


main()
