"""How the commands put results into words."""

import math

import click

from .classifier import LABELS
from .training.scoring import wilson_interval


def sentiment(positive):
    return {"label": LABELS[positive > 0.5], "probability": max(positive, 1 - positive)}


def shown(value):
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:.3f}" for name, number in value.items()) or "none"
    if isinstance(value, float):
        return f"{value:.3f}"
    return "-" if value in ("", None) else str(value)  # no answer, nowhere


def describe(score, but=None):
    """The metrics of a task in one line, but for one of them."""
    score = score if isinstance(score, dict) else score._asdict()
    words = [
        f"{name.replace('_', ' ')} {value:.4f}"
        for name, value in score.items()
        if isinstance(value, float) and name != but
    ]
    if "accuracy" in score and "precision" not in score:  # the words of a sentence are no independent samples
        low, high = wilson_interval(round(score["accuracy"] * score["count"]), score["count"])
        words[0] += f" (95 %: {low:.3f} to {high:.3f})"
    cut = f"; {score['words_cut']} words beyond --max-length count as O" if score.get("words_cut") else ""
    return f"{', '.join(words)} on {score['count']} texts{cut}"


def print_confusion(labels, confusion):
    """A row for each true class, a column for each answer."""
    margin = max(map(len, labels))
    sizes = [2 + max(len(str(cell)) for cell in column) for column in zip(labels, *confusion, strict=True)]
    click.echo(f"\n{'':<{margin}}" + _cells(labels, sizes) + "  answered")
    for label, row in zip(labels, confusion, strict=True):
        click.echo(f"{label:<{margin}}" + _cells(row, sizes))


def _cells(values, sizes):
    return "".join(f"{value:>{size}}" for value, size in zip(values, sizes, strict=True))


def print_pretraining_score(score, most_frequent):
    click.echo(f"\nheld out: {score.num_masked} masked word pieces, {score.num_pairs} pairs")
    rows = [
        ("", "BERT", "without"),
        (
            "masked word pieces right",
            f"{score.mlm_accuracy:.3f}",
            f"{score.mlm_baseline:.3f} (always {most_frequent!r})",
        ),
        ("their perplexity", f"{score.perplexity:.1f}", f"{score.baseline_perplexity:.1f} (by frequency)"),
    ]
    if not math.isnan(score.ns_accuracy):
        rows.append(("next sentences right", f"{score.ns_accuracy:.3f}", "0.500 (by guessing)"))
    for name, bert, without in rows:
        click.echo(f"  {name:<26} {bert:>8}   {without}")
