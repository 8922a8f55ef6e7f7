"""Does more pre-training on reviews help to classify reviews? A table, from runs of the command.

    python -m benchmarks.domain_adaptation IMDB [RUNS]

IMDB is an archive or folder of IMDB's reviews in the original layout, with unlabelled ones; RUNS is where the results
go, runs/domain_adaptation by default. What is there already is not computed again.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

SEEDS = (1, 2, 3)
LABELS = (100, 400)
PRETRAIN = {
    "--pretrained": "minilm-l6",
    "--steps": 200,
    "--batch-size": 32,
    "--max-length": 128,
    "--lr": 1e-4,
}
FINETUNE = {
    "--test-limit": 1000,
    "--epochs": 4,
    "--batch-size": 16,
    "--max-length": 128,
    "--lr": 1e-4,
    "--pooling": "mean",  # minilm-l6's own, which pre-training does not hand on
}


def run(output, name, options, *flags):
    """Run a command of `bert-tutorial`, unless its metrics are there; returns them."""
    metrics = output / "metrics.json"
    if not metrics.exists():
        options = [str(word) for option in {**options, "--output": output}.items() for word in option]
        command = [sys.executable, "-m", "bert_tutorial", name, *options, *flags, "--resume"]
        print(*command[2:], file=sys.stderr)
        subprocess.run(command, check=True, stdout=sys.stderr)
    return json.loads(metrics.read_text())


def main(imdb, runs="runs/domain_adaptation"):
    """Run and print all."""
    runs = Path(runs)
    adapted = run(runs / "adapted", "pretrain", {"--corpus": imdb, **PRETRAIN}, "--mlm-only")
    print(
        f"held out from the reviews: {adapted['mlm_accuracy']:.3f} of the masked word pieces right "
        f"(always the most frequent one: {adapted['mlm_baseline']:.3f}), perplexity {adapted['perplexity']:.1f}; "
        f"{adapted['seconds']:.0f} seconds\n"
    )
    print("| labelled reviews | minilm-l6 | minilm-l6 with more pre-training on reviews |\n| --- | --- | --- |")
    for labels in LABELS:
        cells = []
        for name, pretrained in (("plain", "minilm-l6"), ("adapted", runs / "adapted")):
            accuracies = []
            for seed in SEEDS:
                options = {
                    "--pretrained": pretrained,
                    "--data": imdb,
                    "--train-limit": labels,
                    "--seed": seed,
                    **FINETUNE,
                }
                accuracies.append(run(runs / f"{name}-{labels}-{seed}", "finetune", options)["accuracy"])
            cells.append(f"{mean(accuracies):.3f} ± {stdev(accuracies):.3f}")
        print(f"| {labels} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
