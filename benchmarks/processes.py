"""What several workers on this machine gain, and what exchanging gradients costs: python -m benchmarks.processes

Each row is a fine-tuning of minilm-l6 on the shipped reviews by `bert-tutorial launch`, 16 reviews a batch and worker;
the first epoch is for warming up, the second counts. The rows are run in turn, three times; medians. All choose their
threads themselves, but for one worker alone, which would take all cores.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bert_tutorial import load_pretrained
from bert_tutorial.machine.cpu import usable_cores
from bert_tutorial.training.launching import launch
from bert_tutorial.training.workers import join_workers

from mxnet import nd

RUNS = 3
EXCHANGES = 15
BATCH_SIZE = 16  # of a worker
OPTIONS = ("--pretrained", "minilm-l6", "--data", "sample", "--epochs", "2", "--max-length", "128")


def tokens_per_second(num_workers, launched, threads=None):
    """Of the second epoch; `threads` None leaves their number to the command, as it is for a user."""
    with tempfile.TemporaryDirectory() as folder:
        batch_size = BATCH_SIZE if launched else BATCH_SIZE * num_workers
        command = ["finetune", *OPTIONS, "--batch-size", str(batch_size), "--output", folder]
        if launched:
            command = ["launch", "--workers", str(num_workers), "--", *command]
        environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
        subprocess.run(
            [sys.executable, "-m", "bert_tutorial", *command], check=True, env=environment, stdout=sys.stderr
        )
        metrics = json.loads(Path(folder, "metrics.json").read_text())
    return metrics["history"][1]["tokens_per_second"]


def exchange():
    """What a worker does when this file is launched: give and get gradients, without computing any."""
    workers = join_workers()
    bert, _ = load_pretrained("minilm-l6")
    gradients = [nd.zeros(parameter.shape) for parameter in bert.collect_params().values()]
    for key, gradient in enumerate(gradients):
        workers.kvstore.init(key, gradient)
    seconds = []
    for _ in range(EXCHANGES):
        started = time.perf_counter()
        for key, gradient in enumerate(gradients):
            workers.kvstore.pushpull(key, gradient, priority=-key)
        nd.waitall()
        seconds.append(time.perf_counter() - started)
    if workers.rank == 0:
        numbers = sum(gradient.size for gradient in gradients)
        print(f"{workers.size} workers exchange {numbers * 4 / 1e6:.0f} MB each: {median(seconds) * 1000:.0f} ms")
    workers.leave()


def main():
    """Print the table."""
    os.environ.pop("OMP_NUM_THREADS", None)
    cores = usable_cores()
    rows = {
        f"one process, {cores} threads, no server, batch {BATCH_SIZE * cores}": (cores, False),
        f"one worker, 1 thread, batch {BATCH_SIZE}": (1, True, 1),
        f"{cores} workers, 1 thread each, batch {cores} x {BATCH_SIZE}": (cores, True),
    }
    found = {name: [] for name in rows}
    for _ in range(RUNS):
        for name, row in rows.items():
            found[name].append(tokens_per_second(*row))
    together, one, several = (median(speeds) for speeds in found.values())
    print("| | tokens/s | of one worker |\n| --- | --- | --- |")
    for name, speeds in found.items():
        low, high = min(speeds), max(speeds)
        print(f"| {name} | {median(speeds):.0f} ({low:.0f} to {high:.0f}) | {median(speeds) / one:.2f} |")
    print(f"\nscaling efficiency of {cores} workers: {several / (cores * one):.2f}")
    print(f"{cores} workers against one process on the same cores: {several / together:.2f}", flush=True)
    for num_workers, num_servers in ((1, 1), (2, 1), (2, 2)):
        print(f"{num_servers} server(s): ", end="", flush=True)
        launch([sys.executable, "-m", "benchmarks.processes", "exchange"], num_workers, num_servers)


if __name__ == "__main__":
    exchange() if sys.argv[1:] == ["exchange"] else main()
