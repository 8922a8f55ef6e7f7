"""Recipes for fine-tuning on few labels, each over several seeds: python -m benchmarks.few_labels --imdb PATH

Each recipe differs from `BASE` in a few settings. All learn from the shipped reviews or from 2,000 of IMDB's, and are
scored on IMDB's test reviews. One training takes a minute or more, all of them hours; `--show` prints what there is.
"""

from statistics import median

from bert_tutorial.text.datasets import load_dataset
from bert_tutorial.training.scoring import wilson_interval

import click

from .report import MISSING, table
from .results import Results, command
from .trainings import BAG_OF_WORDS, digest_of_reviews, digest_of_weights

BASE = {
    "start": "pre-trained",
    "pretrained": "minilm-l6",
    "pooling": "mean",
    "epochs": 4,
    "lr": 1e-4,  # the peak
    "batch_size": 16,
    "max_length": 256,  # in training
    "bias_correction": True,
    "layer_decay": 1.0,  # a layer's learning rate, as a share of that of the layer above it
    "top_layers_anew": 0,  # begin from random numbers
    "averaged": 0.0,  # share of the steps, the last ones, the mean of whose parameters is kept
    "readings": ["head 256"],  # of a test review
}
READINGS = [
    *("head 256", "head 128", "head 512", "tail 256", "head + tail 256"),
    *("mean of windows 64", "mean of windows 128"),
]
CELLS = {
    "base": {"readings": READINGS},
    "pooler": {"pooling": "pooler"},
    "[CLS]": {"pooling": "cls"},
    "rate 3e-5": {"lr": 3e-5},
    "rate 3e-5, no bias correction": {"lr": 3e-5, "bias_correction": False},
    "no bias correction": {"bias_correction": False},
    "rate 2e-4": {"lr": 2e-4},
    "rate 2e-4, decay 0.8 a layer": {"lr": 2e-4, "layer_decay": 0.8},
    "8 epochs": {"epochs": 8},
    "top layer anew": {"top_layers_anew": 1},
    "mean of the last quarter of the steps": {"averaged": 0.25},
}
LABELS = ("shipped", 2000)  # to learn from


def plan(labels, cells, seeds, reviews):
    """Settings of the bag of words, which has no seed, and of the trainings, one seed after the other."""
    weights = digest_of_weights(BASE["start"], BASE["pretrained"])
    yield {"start": BAG_OF_WORDS, "labels": labels, "reviews": reviews}
    for seed in range(1, seeds + 1):
        for cell in cells:
            yield {**BASE, **CELLS[cell], "labels": labels, "seed": seed, "reviews": reviews, "weights": weights}


def labelled_reviews(imdb, labels):
    """What to learn from: the shipped reviews, or so many of IMDB's, those of `finetune --train-limit`."""
    if labels == "shipped":
        return load_dataset("sample", "train")
    reviews = load_dataset(imdb, "train", labels)
    if len(reviews) < labels:
        raise ValueError(f"{imdb} has not {labels:,} training reviews, half of each class")
    return reviews


def table_of(results, labels):
    """The table, in Markdown, of what there is; None if there is nothing."""
    rows = []
    for name, cell in CELLS.items():
        found = results.matching({**BASE, **cell, "labels": labels})
        for reading in (BASE | cell)["readings"]:
            plain = reading == BASE["readings"][0]
            rows.append(line(name if plain else f"{name}, read: {reading}", found, reading))
    for found in results.matching({"start": BAG_OF_WORDS, "labels": labels}):
        rows += [line(name, [found], name) for name in found["accuracy"] if name != "majority"]
    rows = [row for row in rows if row]
    header = ["recipe", "median accuracy", "95 % interval", "lowest", "highest", "spread", "seeds", "s of training"]
    return table(header, rows) if rows else None


def line(name, found, scored):
    """One row of the table, or None without trainings: several seeds, or a single training that has no seed."""
    if not found:
        return None
    accuracies = [row["accuracy"][scored] for row in found]
    middle, low, high = median(accuracies), min(accuracies), max(accuracies)
    count = found[0]["count"]
    interval = " to ".join(f"{limit:.3f}" for limit in wilson_interval(round(middle * count), count))
    if "seed" not in found[0]["settings"]:
        return [name, f"{middle:.4f}", interval, *[MISSING] * 5]
    seconds = median(row["seconds"] for row in found)
    spread = (f"{number:.3f}" for number in (low, high, high - low))
    return [name, f"{middle:.4f}", interval, *spread, len(found), f"{seconds:.0f}"]


@command("runs/few_labels/results.jsonl")
@click.argument("recipes", nargs=-1, type=click.Choice(list(CELLS)), metavar="[RECIPE]...")
@click.option("--labels", "chosen", type=click.Choice(list(map(str, LABELS))), help="Train on these alone.")
def main(imdb, recipes, chosen, seeds, results, show):
    """Train and score recipes of this file, all of them if none is named, and print a table for each set of labels."""
    results = Results(results)
    if not show:
        test = list(load_dataset(imdb, "test"))
        labelled = {labels: labelled_reviews(imdb, labels) for labels in LABELS}
        reviews = digest_of_reviews(test, *labelled.values())
        wanted = [labels for labels in LABELS if chosen in (None, str(labels))]
        todo = [settings for labels in wanted for settings in plan(labels, recipes or CELLS, seeds, reviews)]
        results.run(todo, lambda settings: labelled[settings["labels"]], test)
    tables = {labels: text for labels in LABELS if (text := table_of(results, labels))}
    if not tables:
        raise ValueError(f"there are no results of these recipes in {results.path}")
    for labels, text in tables.items():
        print(f"\n{'300 shipped' if labels == 'shipped' else f'{labels:,} real'} reviews to learn from\n\n{text}")


if __name__ == "__main__":
    main()
