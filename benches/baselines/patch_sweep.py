"""The sweep of `loopscope bench --sweep` in PyTorch: eager, forward hooks, a loop over sites, timed.

    patch_sweep.py SWEEP.safetensors --threads N --runs K

SWEEP.safetensors comes from `loopscope bench --sweep NAME --pairs P --export DIR`: weights, pairs of queries, and the
logits after every cut for the first pairs, which this implementation must find too (within 1e-3) before anything is timed.
The loop over sites is that of the usual scripts: the source's states are cached once, then for every (effective layer,
position) the base queries run with a forward hook that puts the cached state in.
"""

import argparse
import json
import os
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("sweep")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--runs", type=int, default=1)
arguments = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
os.environ["MKL_NUM_THREADS"] = str(arguments.threads)

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from safetensors import safe_open  # noqa: E402

torch.set_num_threads(arguments.threads)
torch.set_grad_enabled(False)
with safe_open(arguments.sweep, framework="pt") as file:
    CONFIG = json.loads(file.metadata()["loopscope"])
    W = {name: file.get_tensor(name) for name in file.keys()}
SOURCE, BASE, EXPECTED = W.pop("source"), W.pop("base"), W.pop("patched")
LAYERS, ITERATIONS, HEADS = CONFIG["layers"], CONFIG["iterations"], CONFIG["heads"]


class Layer(torch.nn.Module):
    """A pre-norm GPT-2 layer; its output is the residual stream after it."""

    def __init__(self, prefix):
        super().__init__()
        self.prefix = prefix

    def linear(self, x, name):
        return torch.addmm(
            W[f"{self.prefix}.{name}.bias"], x.reshape(-1, x.shape[-1]), W[f"{self.prefix}.{name}.weight"]
        ).view(*x.shape[:-1], -1)

    def norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], W[f"{self.prefix}.{name}.weight"], W[f"{self.prefix}.{name}.bias"])

    def forward(self, x):
        batch, columns, d = x.shape
        q, k, v = self.linear(self.norm(x, "ln_1"), "attn.c_attn").split(d, dim=-1)
        heads = [t.view(batch, columns, HEADS, d // HEADS).transpose(1, 2) for t in (q, k, v)]
        z = F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).reshape(batch, columns, d)
        x = x + self.linear(z, "attn.c_proj")
        hidden = F.gelu(self.linear(self.norm(x, "ln_2"), "mlp.c_fc"), approximate="tanh")
        return x + self.linear(hidden, "mlp.c_proj")


BLOCK = [Layer(f"blocks.{i}") for i in range(LAYERS)]


def forward(tokens):
    x = W["token_embedding.weight"][tokens] + W["position_embedding.weight"][: tokens.shape[1]]
    for _ in range(ITERATIONS):
        for layer in BLOCK:
            x = layer(x)
    last = F.layer_norm(x[:, -1], x.shape[-1:], W["ln_f.weight"], W["ln_f.bias"])
    return last @ W["token_embedding.weight"].T


def hooked(tokens, hook):
    """Runs with `hook(effective layer, output)` after every layer; a layer fires once an iteration."""
    count = 0

    def fire(_module, _inputs, output):
        nonlocal count
        count += 1
        return hook(count - 1, output)

    handles = [layer.register_forward_hook(fire) for layer in BLOCK]
    try:
        return forward(tokens)
    finally:
        for handle in handles:
            handle.remove()


def sweep(source, base):
    cache = {}

    def record(layer, output):
        cache[layer] = output

    hooked(source, record)
    logits = [forward(base)]
    for layer in range(LAYERS * ITERATIONS):
        for column in range(base.shape[1]):

            def patch(at, output, layer=layer, column=column):
                if at != layer:
                    return None
                output = output.clone()
                output[:, column] = cache[layer][:, column]
                return output

            logits.append(hooked(base, patch))
    return logits


found = torch.stack(sweep(SOURCE[: EXPECTED.shape[1]], BASE[: EXPECTED.shape[1]])[1:])
error = (found - EXPECTED).abs().max().item()
if error > 1e-3:
    sys.exit(f"the patched logits are off by {error}")
seconds = []
for _ in range(arguments.runs):
    before = time.perf_counter()
    sweep(SOURCE, BASE)
    seconds.append(time.perf_counter() - before)
print(json.dumps({"pairs": SOURCE.shape[0], "threads": arguments.threads, "seconds": seconds, "error": error}))
