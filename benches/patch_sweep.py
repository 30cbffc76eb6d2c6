"""Times loopscope's sweep of activation patching against PyTorch, alternating, and prints the ratios.

    patch_sweep.py [--cases laptop:500,laptop:3000,twelve-hops:500] [--threads 2] [--rounds 3]

Needs `cargo build --release` and the packages of benches/baselines/requirements.txt. A case is a model and a number of
pairs; both sides have the same weights and pairs, and only the sweep itself is timed.
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
BASELINE = ROOT / "benches" / "baselines" / "patch_sweep.py"

parser = argparse.ArgumentParser()
parser.add_argument("--cases", default="laptop:500,laptop:3000,twelve-hops:500")
parser.add_argument("--threads", default="2")
parser.add_argument("--rounds", type=int, default=3)
arguments = parser.parse_args()


def run(command):
    ended = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if ended.returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}\n{ended.stderr[-2000:]}")
    return json.loads(ended.stdout.splitlines()[-1])


print("| sweep | pairs | sites | R | loopscope s (min, median, max) | PyTorch s (min, median, max) | ratio of medians | computed |")
print("|---|---|---|---|---|---|---|---|")
with tempfile.TemporaryDirectory() as folder:
    for case in arguments.cases.split(","):
        sweep, pairs = case.split(":")
        common = [BINARY, "bench", "--sweep", sweep, "--pairs", pairs]
        subprocess.run([str(word) for word in [*common, "--export", folder]], check=True, capture_output=True)
        exported = pathlib.Path(folder) / f"sweep-{sweep}.safetensors"
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            found = run([*common, "--runs", "1", "--threads", arguments.threads, "--json"])
            ours += found["seconds"]
            theirs += run([sys.executable, BASELINE, exported, "--threads", arguments.threads, "--runs", "1"])["seconds"]

        def spread(seconds):
            return ", ".join(f"{value:.3f}" for value in [min(seconds), statistics.median(seconds), max(seconds)])

        ratio = statistics.median(theirs) / statistics.median(ours)
        print(
            f"| {sweep} | {pairs} | {found['sites']} | {found['iterations']} | {spread(ours)} | {spread(theirs)} "
            f"| {ratio:.1f} | {100 * found['computed']:.1f} % |"
        )
