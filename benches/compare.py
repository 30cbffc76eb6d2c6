"""Times loopscope's training step against PyTorch and JAX, alternating, and prints the ratios.

    compare.py [--shape laptop,d128] [--batches real,random] [--threads 1,2] [--rounds 3] [--seconds 4] [--json FILE]

Needs `cargo build --release` and the packages of benches/baselines/requirements.txt. Every process is started anew for
each round, loopscope first, then each backend, so that all share what else the machine is doing; the medians of the
rounds are compared.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = ROOT / "target" / "release" / "loopscope"
BASELINE = ROOT / "benches" / "baselines" / "train_step.py"


def words(text):
    return text.split(",")


parser = argparse.ArgumentParser()
parser.add_argument("--shape", type=words, default=words("laptop,d128,d256,depth,paper"))
parser.add_argument("--batches", type=words, default=words("real,random"))
parser.add_argument("--threads", type=words, default=words("1,2"))
parser.add_argument("--backends", type=words, default=words("eager,compile,jax"))
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--seconds", default="4")
parser.add_argument("--json", type=pathlib.Path)
arguments = parser.parse_args()


def run(command):
    ended = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if ended.returncode != 0:
        print(f"# failed: {' '.join(map(str, command))}\n{ended.stderr[-2000:]}", file=sys.stderr)
        return None
    return json.loads(ended.stdout.splitlines()[-1])


records = []
print("| shape | batches | threads | loopscope ms (min, median, max) | " + " | ".join(f"{b} ms" for b in arguments.backends)
      + " | of the best PyTorch | GFLOP/s | of peak | MiB | MiB PyTorch |")
print("|---|---|---|---|" + "---|" * len(arguments.backends) + "---|---|---|---|---|")
with tempfile.TemporaryDirectory() as folder:
    for shape in arguments.shape:
        for batches in arguments.batches:
            export = [BINARY, "bench", "--shape", shape, "--batches", batches, "--export", folder]
            subprocess.run(export, check=True, capture_output=True)
            case = pathlib.Path(folder) / f"{shape}-{batches}.safetensors"
            for threads in arguments.threads:
                ours, theirs = [], {backend: [] for backend in arguments.backends}
                for _ in range(arguments.rounds):
                    common = ["--threads", threads, "--seconds", arguments.seconds, "--json"]
                    ours.append(run([BINARY, "bench", "--shape", shape, "--batches", batches, *common]))
                    for backend in arguments.backends:
                        found = run([sys.executable, BASELINE, case, "--backend", backend, *common])
                        if found:
                            theirs[backend].append(found)
                records.append({"shape": shape, "batches": batches, "threads": threads, "loopscope": ours, **theirs})
                median = statistics.median(found["median_ms"] for found in ours)
                medians = {b: statistics.median(f["median_ms"] for f in found) for b, found in theirs.items() if found}
                torch = [b for b in medians if b != "jax"]
                best = min(torch, key=medians.get, default=None)
                memory = max(f["peak_memory_mib"] or 0 for f in ours)
                cells = [
                    shape, batches, threads,
                    f"{min(f['fastest_ms'] for f in ours):.2f}, **{median:.2f}**, {max(f['slowest_ms'] for f in ours):.2f}",
                    *(f"{medians[b]:.1f} ({medians[b] / median:.2f} ×)" if b in medians else "–" for b in arguments.backends),
                    f"**{medians[best] / median:.2f} ×**" if best else "–",
                    f"{statistics.median(f['gflops'] for f in ours):.0f}",
                    f"{100 * statistics.median(f['share_of_peak'] for f in ours):.0f} %",
                    f"{memory:.0f}",
                    f"{min(f['peak_memory_mib'] for f in theirs[best]):.0f}" if best else "–",
                ]
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)
if arguments.json:
    arguments.json.write_text(json.dumps(records, indent=1))
