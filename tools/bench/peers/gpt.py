"""PyTorch: a GPT of 25 M parameters (8 layers, width 512, context 256), batch 4 a rank, fused AdamW, one thread a rank, on gloo. Tokens a
second over all ranks. gpt.py single|ddp|fsdp STEPS [bf16]; started by torchrun where there are several ranks."""
import os
import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from common import report

LAYERS, WIDTH, HEADS, CONTEXT, VOCABULARY, BATCH = 8, 512, 8, 256, 256, 4


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


def main():
    kind, steps = sys.argv[1], int(sys.argv[2])
    narrow = "bf16" in sys.argv[3:]
    torch.set_num_threads(1)
    model = Gpt()
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    if kind != "single":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group("gloo")
    if kind == "ddp":
        model = nn.parallel.DistributedDataParallel(model)
    if kind == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
        mesh = init_device_mesh("cpu", (ranks,))
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    tokens = torch.randint(VOCABULARY, (BATCH, CONTEXT + 1))

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            logits = model(tokens[:, :-1].contiguous())
            loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step(), step()
    if kind != "single":
        dist.barrier()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    if kind != "single":
        dist.barrier()
    seconds = time.perf_counter() - began
    if int(os.environ.get("RANK", 0)) == 0:
        report(f"{kind} on {ranks} ranks" + (", bf16-mixed" if narrow else ""), steps * ranks * BATCH * CONTEXT / seconds, "tokens/s")
    if kind != "single":
        dist.destroy_process_group()


main()
