"""What pre-training is worth, by the number of labels: python -m benchmarks.label_curve --imdb PATH --pretrained film

Pre-trained BERTs, the first of them from random weights, and two bags of words learn from the same reviews of IMDB,
which each seed draws anew. The recipe is that of `few_labels`, but for the learning rate: a rate that suits one network
teaches another nothing, so each has its own, chosen on training reviews. All networks read equally much of a review;
the bags of words read all of it. It takes hours; `--show` prints what there is.
"""

import math
from collections import defaultdict
from pathlib import Path
from statistics import median

from bert_tutorial.course.drawing import open_axes, with_looks
from bert_tutorial.course.transfer import Task, draw_labels
from bert_tutorial.text.datasets import load_dataset
from bert_tutorial.training.scoring import wilson_interval
from bert_tutorial.weights.config import model_arguments, read_config
from bert_tutorial.weights.sources import pretrained_folder

import click

from .few_labels import BASE
from .report import MISSING, table
from .results import Results, command
from .trainings import BAG_OF_WORDS, LABELS, digest_of_reviews, digest_of_weights, name_of

COUNTS = (16, 64, 300, 2000)  # labels; then all that there are, with one seed
LEAST_STEPS = 100
RATES = (1e-4, 3e-4, 1e-3)  # the peak
KEPT_BACK = {"scored": "training reviews kept back", "seed": 0}  # for the choice of the rate
BAGS = ("naive Bayes", "TF-IDF + logistic regression")
OWN = {"start", "pretrained", "lr", "max_length", "readings"}  # what `recipe` does not say


def recipe(labels):
    """That of `few_labels`; few labels are read more often, for `LEAST_STEPS` steps at least."""
    steps_per_epoch = math.ceil(labels / BASE["batch_size"])
    return {**BASE, "epochs": max(BASE["epochs"], math.ceil(LEAST_STEPS / steps_per_epoch))}


def networks(pretrained):
    """What makes each network another, as settings: those with given names, and the first of them untrained.

    All read as much of a review as the one with the fewest positions can.
    """
    positions = (model_arguments(read_config(pretrained_folder(name)))["max_length"] for name in pretrained)
    length = min(BASE["max_length"], *positions)
    for start, name in (*(("pre-trained", name) for name in pretrained), ("random", pretrained[0])):
        weights = digest_of_weights(start, name)
        shape = {"max_length": length, "readings": [f"head {length}"]}
        yield {"start": start, "pretrained": name, "weights": weights, **shape}


def choose_rates(results, networks, train, reviews):
    """Give each network, its settings, the rate of `RATES` that is best on training reviews."""
    learned, kept_back = train[: min(len(train) // 2, COUNTS[-1])], train[len(train) // 2 :][:1000]
    fixed = {**recipe(len(learned)), **KEPT_BACK, "labels": len(learned), "reviews": reviews}
    tried = [[{**fixed, **network, "lr": lr} for lr in RATES] for network in networks]
    results.run([settings for trials in tried for settings in trials], lambda _: learned, kept_back)
    best = [max(trials, key=lambda settings: read(results.matching(settings)[0])) for trials in tried]
    return [network | {"lr": settings["lr"]} for network, settings in zip(networks, best, strict=True)]


def plan(networks, num_reviews, seeds, reviews):
    """Settings of all trainings, those on the fewest labels first.

    Parameters
    ----------
    networks : list of dict
        From `choose_rates`.
    num_reviews : int
        All that there are to learn from.
    seeds : int
    reviews : str
        Their digest.
    """
    for labels in (*(count for count in COUNTS if count < num_reviews), num_reviews):
        for seed in range(1, 1 + (seeds if labels <= COUNTS[-1] else 1)):
            drawn = {"labels": labels, "seed": seed, "reviews": reviews}
            yield from ({**recipe(labels), **network, **drawn} for network in networks)
            yield {"start": BAG_OF_WORDS, **drawn}


def finished(results):
    """What the file has of this recipe: its rows, but for those that chose the rates."""

    def fits(settings):
        wanted = {key: value for key, value in recipe(settings["labels"]).items() if key not in OWN}
        return settings["start"] == BAG_OF_WORDS or settings | wanted == settings

    return [row for row in results.rows if "scored" not in row["settings"] and fits(row["settings"])]


def curves(rows):
    """A dict of dicts, from a name and a number of labels to accuracies, one for each seed."""
    found = defaultdict(lambda: defaultdict(list))
    for row in rows:
        settings = row["settings"]
        bag = settings["start"] == BAG_OF_WORDS
        scores = {name: row["accuracy"][name] for name in BAGS} if bag else {name_of(settings): read(row)}
        for name, accuracy in scores.items():
            found[name][settings["labels"]].append(accuracy)
    return found


def read(row):
    """The one accuracy of a network."""
    (accuracy,) = row["accuracy"].values()
    return accuracy


def table_of(rows):
    """The table in Markdown, and what it means."""
    found, count = curves(rows), rows[0]["count"]
    lines = []
    for labels in sorted({row["settings"]["labels"] for row in rows}):
        cells = [curve.get(labels, []) for curve in found.values()]
        seeds = sorted({len(cell) for cell in cells if cell})
        lines.append([f"{labels:,}", *map(shown, cells), " or ".join(map(str, seeds))])
    chance = " to ".join(f"{limit:.3f}" for limit in wilson_interval(round(0.85 * count), count))
    trained = [row["settings"] for row in rows if row["settings"]["start"] != BAG_OF_WORDS]
    rates = dict.fromkeys(f"{name_of(settings)} {settings['lr']:g}" for settings in trained)
    return (
        f"{table(['labels', *found, 'seeds'], lines)}\n\n"
        f"Median accuracy on {count:,} test reviews; in brackets, of several seeds, the lowest and the highest. "
        f"The 95 % interval of 0.850 is {chance}. Learning rates: {'; '.join(rates)}."
    )


def shown(accuracies):
    """A cell of the table."""
    if len(accuracies) < 2:
        return f"{accuracies[0]:.3f}" if accuracies else MISSING
    return f"{median(accuracies):.3f} ({min(accuracies):.3f} to {max(accuracies):.3f})"


def plot(found):
    """Draw the curves: medians, and bands from the lowest to the highest.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, (axes,) = open_axes(7, 4)
    lines = {}
    for name, curve, (colour, style, marker) in with_looks(found):
        counts = sorted(curve)
        middle, low, high = ([of(curve[labels]) for labels in counts] for of in (median, min, max))
        axes.fill_between(counts, low, high, color=colour, alpha=0.15, linewidth=0)
        (line,) = axes.plot(counts, middle, color=colour, linestyle=style, marker=marker, linewidth=2, label=name)
        lines[line] = middle[-1]
    counts = sorted({labels for curve in found.values() for labels in curve})
    axes.axhline(0.5, color="gray", linewidth=1)
    axes.annotate("guessing", (counts[0], 0.5), xytext=(0, -12), textcoords="offset points", color="dimgray")
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{labels:,}" for labels in counts])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="labelled reviews to learn from", ylabel="accuracy on test reviews", ylim=(0.4, 1))
    # from the top down, as the curves end
    axes.legend(
        handles=sorted(lines, key=lines.get, reverse=True), frameon=False, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    return figure


@command("runs/label_curve/results.jsonl")
@click.option(
    "--pretrained", multiple=True, default=["minilm-l6"], metavar="NAME_OR_FOLDER", help="May be given several times."
)
@click.option("--test-limit", type=click.IntRange(1), help="Score on so many test reviews.  [default: all]")
@click.option("--figure", type=click.Path(dir_okay=False, path_type=Path), metavar="PATH", help="PNG or SVG.")
def main(imdb, pretrained, test_limit, seeds, results, figure, show):
    """Train and score, print the table, draw the figure."""
    results = Results(results)
    if not show:
        train, test = list(load_dataset(imdb, "train")), list(load_dataset(imdb, "test", test_limit))
        task, reviews = Task(LABELS, train, test), digest_of_reviews(train, test)

        def labelled(settings):
            number = settings["labels"]
            return train if number == len(train) else draw_labels(task, number, settings["seed"])

        chosen = choose_rates(results, list(networks(pretrained)), train, reviews)
        results.run(list(plan(chosen, len(train), seeds, reviews)), labelled, test)
    rows = finished(results)
    if not rows:
        raise ValueError(f"there are no results of this recipe in {results.path}")
    print(table_of(rows))
    if figure:
        plot(curves(rows)).savefig(figure, dpi=100)


if __name__ == "__main__":
    main()
