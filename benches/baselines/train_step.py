"""The training step of `loopscope bench` in PyTorch (eager, torch.compile) and JAX (jit), timed.

    train_step.py CASE.safetensors --backend eager|compile|jax --threads N --seconds S [--json]

CASE.safetensors comes from `loopscope bench --export`: weights, one batch, and the loss and gradient norm that loopscope
found for it, which this implementation must find too (within 1e-3) before anything is timed. Batches are padded
rectangles, as one writes them in these libraries; attention, layer norm, gelu and AdamW are the libraries' own.
"""

import argparse
import json
import math
import os
import resource
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("case")
parser.add_argument("--backend", choices=["eager", "compile", "jax"], default="eager")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--seconds", type=float, default=5.0)
parser.add_argument("--json", action="store_true")
arguments = parser.parse_args()

# Both libraries read the number of threads when they start; XLA's takes as many as there are cores it may run on.
os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
os.environ["MKL_NUM_THREADS"] = str(arguments.threads)
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])

import numpy as np  # noqa: E402
from safetensors import safe_open  # noqa: E402

with safe_open(arguments.case, framework="numpy") as file:
    INFO = json.loads(file.metadata()["loopscope"])
    TENSORS = {name: file.get_tensor(name) for name in file.keys()}

MODEL, OPTIMIZER = INFO["config"]["model"], INFO["config"]["optimizer"]
SMOOTHING = INFO["config"]["train"]["label_smoothing"]
TOKENS = TENSORS.pop("tokens").astype(np.int64)
LENGTHS = TENSORS.pop("lengths").astype(np.int64)
TARGETS = TENSORS.pop("targets").astype(np.int64)
HEADS, WIDTH = MODEL["heads"], MODEL["d_model"] // MODEL["heads"]
WARM_UP = 3


def decays(name):
    return not (name.endswith(".bias") or ".ln_" in name or name.startswith("ln_f"))


def check(loss, norm):
    for what, got, expected in [("loss", loss, INFO["loss"]), ("gradient norm", norm, INFO["gradient_norm"])]:
        if abs(got - expected) > 1e-3 * max(1.0, abs(expected)):
            sys.exit(f"the {what} is {got} here and {expected} in loopscope")


def torch_step():
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(arguments.threads)
    weights = {name: torch.tensor(value, requires_grad=True) for name, value in TENSORS.items()}
    tokens, last, targets = torch.tensor(TOKENS), torch.tensor(LENGTHS - 1), torch.tensor(TARGETS)
    batch, columns = tokens.shape
    rows = torch.arange(batch)

    def forward(w, tokens):
        x = w["token_embedding.weight"][tokens]
        if "position_embedding.weight" in w:
            x = x + w["position_embedding.weight"][:columns]
        d = x.shape[-1]

        def norm(x, name):
            return F.layer_norm(x, (d,), w[name + ".weight"], w[name + ".bias"])

        def linear(x, name):
            return torch.addmm(w[name + ".bias"], x.view(-1, x.shape[-1]), w[name + ".weight"]).view(*x.shape[:-1], -1)

        for _ in range(MODEL["iterations"]):
            for i in range(MODEL["layers"]):
                block = f"blocks.{i}."
                qkv = linear(norm(x, block + "ln_1"), block + "attn.c_attn").view(batch, columns, 3, HEADS, WIDTH)
                q, k, v = qkv.permute(2, 0, 3, 1, 4)
                z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
                z = z.transpose(1, 2).reshape(batch, columns, d)
                x = x + linear(z, block + "attn.c_proj")
                hidden = F.gelu(linear(norm(x, block + "ln_2"), block + "mlp.c_fc"), approximate="tanh")
                x = x + linear(hidden, block + "mlp.c_proj")
        x = norm(x[rows, last], "ln_f")
        logits = x @ w["token_embedding.weight"].T
        return F.cross_entropy(logits, targets, label_smoothing=SMOOTHING)

    if arguments.backend == "compile":
        forward = torch.compile(forward)
    groups = [
        {"params": [w for name, w in weights.items() if decays(name)], "weight_decay": OPTIMIZER["weight_decay"]},
        {"params": [w for name, w in weights.items() if not decays(name)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=OPTIMIZER["lr"], betas=tuple(OPTIMIZER["betas"]), eps=OPTIMIZER["epsilon"], fused=True
    )

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = forward(weights, tokens)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(weights.values(), OPTIMIZER["clip"])
        optimizer.step()
        return loss.item(), norm.item()

    return step


def jax_step():
    import jax
    import jax.numpy as jnp

    tokens, last, targets = jnp.asarray(TOKENS), jnp.asarray(LENGTHS - 1), jnp.asarray(TARGETS)
    batch, columns = tokens.shape
    causal = jnp.tril(jnp.ones((columns, columns), bool))

    def loss(w):
        x = w["token_embedding.weight"][tokens]
        if "position_embedding.weight" in w:
            x = x + w["position_embedding.weight"][:columns]

        def norm(x, name):
            centred = x - x.mean(-1, keepdims=True)
            scale = jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
            return centred * scale * w[name + ".weight"] + w[name + ".bias"]

        def linear(x, name):
            return x @ w[name + ".weight"] + w[name + ".bias"]

        for _ in range(MODEL["iterations"]):
            for i in range(MODEL["layers"]):
                block = f"blocks.{i}."
                qkv = linear(norm(x, block + "ln_1"), block + "attn.c_attn").reshape(batch, columns, 3, HEADS, WIDTH)
                q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
                scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(WIDTH)
                pattern = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf))
                z = jnp.einsum("bhqk,bkhd->bqhd", pattern, v).reshape(batch, columns, -1)
                x = x + linear(z, block + "attn.c_proj")
                hidden = jax.nn.gelu(linear(norm(x, block + "ln_2"), block + "mlp.c_fc"), approximate=True)
                x = x + linear(hidden, block + "mlp.c_proj")
        x = norm(x[jnp.arange(batch), last], "ln_f")
        log_p = jax.nn.log_softmax(x @ w["token_embedding.weight"].T)
        right = jnp.take_along_axis(log_p, targets[:, None], 1).mean()
        return -(1 - SMOOTHING) * right - SMOOTHING * log_p.mean()

    beta1, beta2 = OPTIMIZER["betas"]

    def update(state, t):
        weights, first, second = state
        value, gradients = jax.value_and_grad(loss)(weights)
        norm = jnp.sqrt(sum((g**2).sum() for g in gradients.values()))
        scale = jnp.minimum(1.0, OPTIMIZER["clip"] / norm)
        first = {n: beta1 * first[n] + (1 - beta1) * g * scale for n, g in gradients.items()}
        second = {n: beta2 * second[n] + (1 - beta2) * (g * scale) ** 2 for n, g in gradients.items()}
        correction1, correction2 = 1 - beta1**t, 1 - beta2**t

        def new(n):
            kept = 1 - OPTIMIZER["lr"] * OPTIMIZER["weight_decay"] if decays(n) else 1.0
            spread = jnp.sqrt(second[n] / correction2) + OPTIMIZER["epsilon"]
            return kept * weights[n] - OPTIMIZER["lr"] / correction1 * first[n] / spread

        return ({n: new(n) for n in weights}, first, second), value, norm

    update = jax.jit(update, donate_argnums=0)
    weights = {name: jnp.asarray(value) for name, value in TENSORS.items()}
    zeros = lambda: {name: jnp.zeros_like(value) for name, value in weights.items()}  # noqa: E731
    state, t = (weights, zeros(), zeros()), 0

    def step():
        nonlocal state, t
        t += 1
        state, value, norm = update(state, float(t))
        return float(value), float(norm)

    return step


step = jax_step() if arguments.backend == "jax" else torch_step()
check(*step())
times, start, done = [], time.perf_counter(), 1
while done < WARM_UP + 5 or time.perf_counter() - start < arguments.seconds:
    before = time.perf_counter()
    step()
    if done >= WARM_UP:
        times.append(1e3 * (time.perf_counter() - before))
    done += 1
times.sort()
found = {
    "backend": arguments.backend,
    "threads": arguments.threads,
    "steps": len(times),
    "fastest_ms": times[0],
    "median_ms": times[len(times) // 2],
    "slowest_ms": times[-1],
    "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}
if arguments.json:
    print(json.dumps(found))
else:
    print("  ".join(f"{key} {value:.2f}" if isinstance(value, float) else f"{key} {value}" for key, value in found.items()))
