"""The tasks of docs/tasks.md, each over several seeds and beside what is simpler: python -m benchmarks.tasks

A run takes minutes. Its folder is kept, and one that is there is not run again; Ctrl-C costs only the run in hand.
"""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median

from bert_tutorial import finetune_task
from bert_tutorial.finetuning import TASKS
from bert_tutorial.task_baselines import score_task_baselines

import click

from .report import MISSING, table

CELLS = {  # task, data, the metric that counts, and the recipe
    "intents": ("classify", "tickets", "accuracy", {"epochs": 10, "lr": 2e-4, "max_length": 64}),
    "slots": ("tag", "tickets", "f1", {"epochs": 8, "lr": 3e-4, "max_length": 64}),
    "pairs": ("classify", "pairs", "accuracy", {"epochs": 8, "lr": 2e-4, "max_length": 64}),
    "docstring questions": ("answer", "docstring-questions", "f1", {"epochs": 2, "lr": 3e-4, "max_length": 128}),
    "docstring libraries": ("classify", "docstring-libraries", "accuracy", {"epochs": 2, "lr": 2e-4, "max_length": 64}),
    "docstring pairs": ("classify", "docstring-pairs", "accuracy", {"epochs": 2, "lr": 2e-4, "max_length": 128}),
}


def train(name, seed, runs):
    """The metrics of one run, from its folder if it is there."""
    task, data, _, recipe = CELLS[name]
    folder = runs / f"{name.replace(' ', '-')}-{seed}"
    if not (folder / "metrics.json").exists():
        with redirect_stdout(sys.stderr):  # a line for each epoch
            finetune_task(task, data, seed=seed, output=folder, resume=folder.exists(), **recipe)
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def line(name, seeds, runs):
    """One row of the table."""
    task, data, metric, _ = CELLS[name]
    found = [train(name, seed, runs) for seed in range(1, seeds + 1)]
    scores = [metrics[metric] for metrics in found]
    examples = (TASKS[task].read(data, split) for split in ("train", "test"))
    simpler = {baseline: metrics[metric] for baseline, metrics in score_task_baselines(task, *examples)}
    seconds = median(metrics["seconds"] for metrics in found)
    return [
        name,
        metric.replace("_", " "),
        f"{median(scores):.3f}",
        f"{min(scores):.3f} to {max(scores):.3f}" if seeds > 1 else MISSING,
        ", ".join(f"{baseline} {score:.3f}" for baseline, score in simpler.items()),
        found[0]["count"],
        f"{seconds:.0f}",
    ]


@click.command(context_settings={"show_default": True})
@click.argument("names", nargs=-1, type=click.Choice(list(CELLS)), metavar="[NAME]...")
@click.option("--seeds", default=3, type=click.IntRange(1), help="Repetitions.")
@click.option("--runs", default="runs/tasks", type=click.Path(path_type=Path), help="Where the runs are kept.")
def main(names, seeds, runs):
    """Print a table in Markdown of all the tasks in this file, or of those that are named."""
    rows = [line(name, seeds, runs) for name in names or CELLS]
    header = ["task", "metric", "median", "lowest to highest", "simpler", "test", "s of training"]
    print(table(header, rows))


if __name__ == "__main__":
    main()
