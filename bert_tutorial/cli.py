"""The `bert-tutorial` command."""

import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import click
import mxnet as mx
from mxnet import gluon

from .checkpoint import checkpoint_exists, remove_checkpoint, write_text
from .datasets import fetch_imdb, load_dataset, split_off_validation
from .doctor import doctor as show_doctor
from .fetching import FetchError
from .finetuning import LABELS, evaluate, train_loop
from .pretrained import pretrained_folder
from .quantization import quantize
from .runtime import choose_device, keep_interrupts, peak_memory, seed_everything
from .sentiment import SentimentClassifier
from .training import TrainingDivergedError

VERSIONED = ("mxnet", "gluonnlp", "d2l", "numpy", "tokenizers")
MINIMUM_FOR_VALIDATION = 1000  # reviews; a tenth of fewer cannot tell one epoch from another


class Command(click.Group):
    """Turns what can go wrong into one line and exit code 1; click itself answers bad usage with 2."""

    def invoke(self, ctx):
        """See click."""
        keep_interrupts()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            message = "interrupted"
        except (FetchError, TrainingDivergedError, NotImplementedError, ValueError, IndexError, OSError) as error:
            message = str(error)
        except mx.MXNetError as error:
            message = f"MXNet: {str(error).strip().splitlines()[-1]}"
        except MemoryError:
            message = "out of memory: try a smaller --batch-size or --max-length"
        click.echo(f"Error: {message}", err=True)
        sys.exit(1)


data_option = click.option(
    "--data",
    default="sample",
    show_default=True,
    help="sample (the shipped reviews), imdb, or a path: a folder or archive laid out as aclImdb, or a .tsv or .csv "
    "table with the columns split, label, text.",
)
batch_size_option = click.option("--batch-size", default=16, show_default=True, type=click.IntRange(1))
int8_option = click.option(
    "--int8",
    is_flag=True,
    help="Compute in int8: faster, a little less exact. On the CPU, which must have VNNI.",
)


@click.group(cls=Command, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="bert_tutorial")
def main():
    """Fine-tune a pre-trained BERT on film reviews, and use it."""


@main.command()
def doctor():
    """Show versions, CPU, threads, GPUs and what can be used offline."""
    show_doctor()


@main.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def fetch(names):
    """Fetch NAMEs into the cache: minilm-l6, bert-base, hf:ORG/NAME, or imdb (the whole data set)."""
    for name in names:
        folder = fetch_imdb() if name == "imdb" else pretrained_folder(name)
        click.echo(f"{name}: {folder}")


@main.command()
@click.option("--pretrained", default="minilm-l6", help="small, minilm-l6, bert-base, hf:ORG/NAME, or a folder.")
@data_option
@click.option("--train-limit", type=click.IntRange(2), help="Use this many training reviews.  [default: all]")
@click.option("--test-limit", type=click.IntRange(2), help="Use this many test reviews.  [default: all]")
@click.option("--epochs", default=4, type=click.IntRange(1))
@batch_size_option
@click.option("--max-length", default=256, type=click.IntRange(3), help="Word pieces of a review; the rest is cut.")
@click.option("--lr", default=3e-5, help="Peak of the learning rate.")
@click.option("--seed", default=1, type=click.IntRange(0, 2**31 - 1))
@click.option("--output", default="runs/finetuned", type=click.Path(path_type=Path), help="Folder for the result.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run in --output, with the same settings.")
def finetune(pretrained, data, train_limit, test_limit, epochs, batch_size, max_length, lr, seed, output, resume):
    """Fine-tune a pre-trained BERT for sentiment, and score it on the test split."""
    train, test = load_dataset(data, "train", train_limit), load_dataset(data, "test", test_limit)
    output.mkdir(parents=True, exist_ok=True)
    if not os.access(output, os.W_OK):
        raise PermissionError(f"cannot write to {output}")
    ctx, reason = choose_device()
    click.echo(f"seed {seed}, device {ctx} ({reason})")
    seed_everything(seed)
    classifier = SentimentClassifier.from_pretrained(pretrained, max_length, ctx)
    valid = None
    if epochs > 1 and len(train) >= MINIMUM_FOR_VALIDATION:  # one epoch leaves nothing to choose
        train, valid = split_off_validation(train)
    click.echo(f"{len(train)} reviews to train on, {len(valid or [])} for validation, {len(test)} for the test")
    settings = _settings()
    checkpoint = output / "checkpoint.params"
    if resume and not checkpoint_exists(checkpoint):
        click.echo(f"no unfinished run in {output}: starting anew", err=True)
    try:
        history = train_loop(
            classifier.net,
            classifier.batches(train, batch_size, shuffle=True),
            None,
            epochs,
            lr,
            ctx,
            gluon.loss.SoftmaxCELoss(),
            valid_data=valid and classifier.batches(valid, batch_size),
            seed=seed,
            checkpoint=checkpoint,
            resume=resume,
            settings=settings,
        )
    except KeyboardInterrupt:
        if checkpoint_exists(checkpoint):
            click.echo(f"the run is in {checkpoint}; the same command with --resume continues it", err=True)
        raise
    classifier.save(output)
    score = evaluate(classifier.net, classifier.batches(test, batch_size), ctx)
    metrics = {
        **score._asdict(),
        "seconds": sum(row["seconds"] for row in history),
        "tokens_per_second": history[-1]["tokens_per_second"],
        "peak_memory_bytes": peak_memory(),
        "seed": seed,
        "device": str(ctx),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in VERSIONED},
        "settings": settings,
        "history": history,
    }
    write_text(output / "metrics.json", json.dumps(metrics, indent=2))
    remove_checkpoint(checkpoint)
    click.echo(f"test accuracy {score.accuracy:.4f} on {score.count} reviews; saved in {output}")


@main.command("evaluate")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@data_option
@click.option("--limit", type=click.IntRange(2), help="Use this many test reviews.  [default: all]")
@batch_size_option
@int8_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: accuracy, loss, count.")
def evaluate_command(folder, data, limit, batch_size, int8, as_json):
    """Score the classifier in DIR on the test split."""
    test = load_dataset(data, "test", limit)
    classifier = _load(folder, int8)
    score = evaluate(classifier.net, classifier.batches(test, batch_size), classifier.ctx)
    if as_json:
        click.echo(json.dumps(score._asdict()))
    else:
        click.echo(f"accuracy {score.accuracy:.4f}, loss {score.loss:.4f} on {score.count} reviews")


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--file", "-f", "file", type=click.File(encoding="utf-8"), help="Read texts, one a line; - is the input.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line: text, label, probability.")
@batch_size_option
@int8_option
def predict(folder, texts, file, as_json, batch_size, int8):
    """Say whether each TEXT is positive or negative, with the classifier in DIR."""
    texts = [*texts, *(line.rstrip("\n") for line in file or [])]
    if not texts:
        raise click.UsageError("give at least one TEXT, or --file")
    for i, text in enumerate(texts, start=1):
        if not text.strip():
            raise ValueError(f"text {i} is empty")
    classifier = _load(folder, int8)
    for text, positive in zip(texts, classifier.predict(texts, batch_size).tolist(), strict=True):
        label = LABELS[positive > 0.5]
        probability = max(positive, 1 - positive)
        if as_json:
            click.echo(json.dumps({"text": text, "label": label, "probability": probability}, ensure_ascii=False))
        else:
            click.echo(f"{label}  {probability:.3f}  {text}")


def _settings():
    """What the command was told, as far as it matters to the numbers."""
    params = click.get_current_context().params
    return {key: str(value) for key, value in params.items() if key not in ("output", "resume")}


def _load(folder, int8):
    ctx = mx.cpu() if int8 else choose_device()[0]
    classifier = SentimentClassifier.load(folder, ctx)
    if int8:
        quantize(classifier.net)
    return classifier
