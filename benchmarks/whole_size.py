"""Time and memory of a fine-tuning as large as the whole IMDB, on made-up reviews: python -m benchmarks.whole_size

The reviews are those of `benchmarks.streaming`, as long as IMDB's; the commands are those of docs/results.md. It takes
half an hour on two cores. Accuracy means nothing here.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .streaming import write_sources

SIZES = (2_000, 25_000)  # reviews of each split; IMDB has 25,000
OPTIONS = ("--epochs", "1", "--max-length", "128", "--batch-size", "32", "--lr", "5e-5")


def bert_tutorial(*arguments):
    """Seconds that the command takes."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "bert_tutorial", *arguments], check=True, stdout=sys.stderr)
    return time.perf_counter() - started


def main():
    """Print the table."""
    print("| reviews | finetune, s | of these, training | word pieces/s | peak memory, MB | evaluate, s |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for count in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            archive = str(write_sources(Path(folder), count)["archive"])
            output = str(Path(folder, "run"))
            seconds = bert_tutorial("finetune", "--data", archive, *OPTIONS, "--output", output)
            metrics = json.loads(Path(output, "metrics.json").read_text())
            evaluating = bert_tutorial("evaluate", output, "--data", archive, "--batch-size", "32")
        cells = [
            f"{count:,} + {count:,}",
            f"{seconds:.0f}",
            f"{metrics['seconds']:.0f}",
            f"{metrics['tokens_per_second']:.0f}",
            f"{metrics['peak_memory_bytes'] / 1e6:.0f}",
            f"{evaluating:.0f}",
        ]
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
