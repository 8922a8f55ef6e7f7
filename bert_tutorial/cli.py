"""The `bert-tutorial` command: it reads options and prints; the recipes do the work."""

import json
import os
import shutil
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

import click
import mxnet as mx

from . import options, printing
from .baselines import score_baselines
from .classifier import SentimentClassifier
from .doctor import doctor as show_doctor
from .finetuning import TASKS, finetune_reviews, finetune_task
from .heads import POOLINGS
from .machine.devices import choose_device
from .machine.fetching import FetchError, shipped_folder
from .machine.files import last_line
from .machine.interrupts import keep_interrupts
from .pretraining import pretrain_corpus
from .quantization import quantize
from .search import VectorIndex, WordIndex
from .task_baselines import score_task_baselines
from .tasks.answer import QuestionAnswerer
from .tasks.classify import TextClassifier
from .tasks.encode import TASK as ENCODE
from .tasks.encode import TextEncoder
from .tasks.model import task_of
from .tasks.tag import TokenTagger
from .text.bio import mark
from .text.datasets import load_datasets
from .text.imdb import fetch_imdb
from .text.passages import load_passages
from .text.reviews import decode
from .training.checkpoint import checkpoint_exists
from .training.launching import LOOPBACK, WorkerError
from .training.launching import launch as launch_workers
from .training.progress import TrainingDivergedError
from .training.run_folder import CHECKPOINT, RunFinishedError, claim, make_folder, settings_of
from .training.scoring import evaluate
from .training.workers import join_workers
from .weights.sources import pretrained_folder

COURSE = ("minilm-l6", "bert-base", "imdb")
SHOWN = 100  # letters of a passage
EXPECTED = (FetchError, TrainingDivergedError, WorkerError, NotImplementedError, ValueError, IndexError, OSError)


class Command(click.Group):
    """Turns what can go wrong into one line and exit code 1; click itself answers bad usage with 2."""

    def invoke(self, ctx):
        """See click."""
        keep_interrupts()
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click knows them; the last one means that nobody reads on, as in `predict ... | head`
        except RunFinishedError as error:
            click.echo(error, err=True)
        except (Exception, KeyboardInterrupt) as error:
            if ctx.params["debug"]:
                traceback.print_exc()
            click.echo(f"Error: {_explain(error, ctx.invoked_subcommand)}", err=True)
            sys.exit(1)


def _explain(error, command):
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MemoryError):
        smaller = "--train-limit" if command == "baseline" else "--batch-size or --max-length"
        return f"out of memory: try a smaller {smaller}"
    if isinstance(error, mx.MXNetError):
        return f"MXNet: {last_line(error)}"
    if isinstance(error, EXPECTED):
        return str(error) or type(error).__name__
    return (
        f"unexpected {type(error).__name__}: {last_line(error)}; run it again as bert-tutorial --debug {command} ... "
        "for the traceback, and report it"
    )


@click.group(cls=Command, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="bert_tutorial")
@click.option("--debug", is_flag=True, help="Show the traceback of an error, too.")
def main(debug):
    """Pre-train a BERT, fine-tune one for film reviews or a task of your own, and use it."""


@main.command()
def doctor():
    """Show versions, CPU, threads, GPUs and what can be used offline."""
    show_doctor()


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="All that the course uses: minilm-l6, bert-base, imdb.")
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, resolve_path=True),
    help="Fill this folder instead of the cache; BERT_TUTORIAL_CACHE=DIR then makes it the cache.",
)
def fetch(names, everything, folder):
    """Fetch NAMEs into the cache: minilm-l6, bert-base, hf:ORG/NAME, or imdb (the whole data set)."""
    if everything == bool(names):
        raise click.UsageError("give at least one NAME, or --all")
    if folder:
        make_folder(Path(folder))
        os.environ["BERT_TUTORIAL_CACHE"] = folder
    failures = {}
    for name in COURSE if everything else names:
        try:
            click.echo(f"{name}: {fetch_imdb() if name == 'imdb' else pretrained_folder(name)}")
        except FetchError as error:
            failures[name] = str(error)
    if failures:
        raise FetchError("\n".join([*failures.values(), f"Not fetched: {', '.join(failures)}"]))


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def course(folder):
    """Write the notebooks and their solutions into DIR, to be opened there: jupyter lab DIR."""
    source = shipped_folder("notebooks")
    names = [path.relative_to(source) for path in sorted([*source.glob("*.ipynb"), *source.glob("solutions/*.ipynb")])]
    if there := [str(name) for name in names if (folder / name).exists()]:
        raise FileExistsError(f"{folder} holds {there[0]} already, perhaps with your work in it: name another folder")
    for name in names:
        make_folder((folder / name).parent)
        shutil.copyfile(source / name, folder / name)
    click.echo(f"{len(names)} notebooks written; open them with: jupyter lab {folder}")


@main.command(context_settings=options.defaults_of(finetune_reviews))
@options.task
@options.multi_label
@click.option("--class-weights", is_flag=True, help="For classify: rare classes count as much as frequent ones.")
@click.option("--pretrained", help="small, minilm-l6, bert-base, hf:ORG/NAME, or a folder.")
@options.data
@options.no_cache
@options.train_limit
@options.test_limit
@click.option("--epochs", type=click.IntRange(1))
@click.option("--batch-size", type=click.IntRange(1))
@click.option("--max-length", type=click.IntRange(3), help="Word pieces of a text; the rest is cut.")
@click.option(
    "--pooling",
    type=click.Choice(POOLINGS),
    help="What the new layer reads: BERT's pooler, the encoding of [CLS] itself, or the mean of all words' encodings.  "
    "[default: as the checkpoint was last trained to be read]",
)
@click.option("--lr", type=float, help="Peak of the learning rate; 2e-5 to 5e-5 for BERT base.")
@click.option(
    "--patience", type=click.IntRange(1), help="Stop when so many epochs in a row were no better.  [default: never]"
)
@click.option("--accumulate", type=click.IntRange(1), help="Batches whose gradients make one step.")
@click.option("--layer-decay", type=click.FloatRange(0, min_open=True), help="Of the learning rate, a layer down.")
@click.option("--freeze", type=click.IntRange(0), help="Train neither the embeddings nor so many of the lowest layers.")
@options.precision
@options.seed
@options.output(default="runs/finetuned")
@options.resume
@options.overwrite
def finetune(task, output, no_cache, multi_label, class_weights, **settings):
    """Fine-tune a pre-trained BERT for sentiment, or for a task of your own, and score it on the test split."""
    workers = join_workers()
    settings |= {"output": output, "workers": workers}
    with _resumable(output):
        if task == SentimentClassifier.task:
            if multi_label or class_weights:
                raise click.UsageError("--multi-label and --class-weights are for --task classify")
            _, _, score = finetune_reviews(**settings, cached=not no_cache)
        else:
            _, _, score = finetune_task(task, **settings, multi_label=multi_label, class_weights=class_weights)
    if workers.rank == 0:
        click.echo(f"test {printing.describe(score, but='loss')}; saved in {output}")
    workers.leave()


@main.command()
@options.task
@options.multi_label
@options.data
@options.train_limit
@options.test_limit
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line: the name and its metrics.")
def baseline(task, multi_label, data, train_limit, test_limit, as_json):
    """Score what BERT has to beat.

    For classes and numbers, what sees only which words and pairs of words there are; for tags, the tag that a word has
    most often; for answers, the sentence that shares most words with the question.

    There is no seed, for nothing in them is random: the same texts give the same scores. All texts are in memory at
    once. low and high are the limits of the accuracy's 95 % interval.
    """
    if multi_label and task != TextClassifier.task:
        raise click.UsageError("--multi-label is for --task classify")
    if task != SentimentClassifier.task:
        own = {"multi_label": multi_label} if task == TextClassifier.task else {}
        train, test = (
            TASKS[task].read(data, split, limit, **own)
            for split, limit in (("train", train_limit), ("test", test_limit))
        )
        for name, metrics in score_task_baselines(task, train, test):
            click.echo(json.dumps({"name": name, **metrics}) if as_json else f"{name}: {printing.describe(metrics)}")
        return
    train, test = load_datasets(data, "train", train_limit), load_datasets(data, "test", test_limit)
    if not as_json:
        click.echo(f"{len(train)} texts to train on, {len(test)} for the test\n")
        click.echo(f"{'':<29} accuracy    95 % interval  seconds")
    for row in score_baselines(train, test):
        if as_json:
            click.echo(json.dumps(row._asdict()))
        else:
            interval = f"{row.low:.3f} to {row.high:.3f}"
            click.echo(f"{row.name:<29} {row.accuracy:>8.4f}  {interval:>15} {row.seconds:>8.1f}")


@main.command(context_settings=options.defaults_of(pretrain_corpus))
@click.option(
    "--corpus",
    help="docstrings (of the libraries installed with the course), imdb (its reviews but those for the test), or a "
    "path: a folder of text files, or a folder or archive laid out as aclImdb.",
)
@click.option("--limit", type=click.IntRange(2), help="Use this many documents.  [default: all]")
@click.option("--pretrained", help="Go on from this BERT: a name or a folder, as for finetune.  [default: a new BERT]")
@click.option("--layers", type=click.IntRange(1), help="Of a new BERT.")
@click.option("--units", type=click.IntRange(1), help="Of a new BERT; a multiple of --heads.")
@click.option("--heads", type=click.IntRange(1), help="Of a new BERT.")
@click.option("--vocab-size", type=click.IntRange(6), help="Word pieces a new BERT learns to read.")
@click.option("--steps", type=click.IntRange(1), help="A batch each.")
@click.option("--batch-size", type=click.IntRange(1))
@click.option("--max-length", type=click.IntRange(5), help="Word pieces of an example.")
@click.option("--lr", type=float, help="Peak of the learning rate; about 1e-4 to go on from a published BERT.")
@click.option("--whole-words", is_flag=True, help="Mask whole words, not word pieces.")
@click.option("--mlm-only", is_flag=True, help="No next-sentence prediction: examples are stretches of one document.")
@options.precision
@options.seed
@options.output(default="runs/pretrained")
@options.resume
@options.overwrite
def pretrain(output, **settings):
    """Pre-train a BERT on plain text, and score it on held-out text; --pretrained DIR of finetune takes the result."""
    workers = join_workers()
    with _resumable(output):
        _, _, history, score, most_frequent = pretrain_corpus(**settings, output=output, workers=workers)
    if workers.rank == 0:
        printing.print_pretraining_score(score, most_frequent)
        click.echo(f"{sum(row['seconds'] for row in history):.0f} seconds of training; saved in {output}")
    workers.leave()


@main.command(context_settings={"allow_interspersed_args": False})
@click.option("--workers", default=2, type=click.IntRange(1), help="Processes that train.")
@click.option("--servers", default=1, type=click.IntRange(1), help="Processes that add up gradients.")
@click.option(
    "--hosts",
    type=click.File(encoding="utf-8"),
    help="File of machines, one name or address a line, to deal workers and servers out to in turn; worker 0, which "
    "writes, runs on the first. They have this project in the same folder, and are reached by ssh without a password.  "
    "[default: this machine]",
)
@click.option(
    "--bind",
    "address",
    default=LOOPBACK,
    help="Address of this machine in the network of the others. Whoever reaches the ports there can read and change "
    "what is trained: use a network of your own only.",
)
@click.argument("command", nargs=-1, required=True, metavar="finetune|pretrain [OPTIONS]...")
def launch(workers, servers, hosts, address, command):
    """Run finetune or pretrain in several processes, which train one network together.

    --batch-size is that of each worker. The result is that of one worker with a batch as large as all of theirs.
    """
    name, *arguments = command
    if name not in ("finetune", "pretrain"):
        raise click.UsageError(f"launch runs finetune or pretrain, not {name!r}")
    lines = (line.partition("#")[0].strip() for line in hosts or [LOOPBACK])
    names = [line for line in lines if line]
    if not names:
        raise click.UsageError(f"{hosts.name} names no host")
    with main.get_command(None, name).make_context(name, arguments) as context:  # says now what is wrong in them
        output, resume, overwrite = (context.params[name] for name in ("output", "resume", "overwrite"))
        if names[0] in (LOOPBACK, address):  # worker 0 does it again: one line says now what it would refuse
            with claim(output, resume, overwrite, _settings_of_run(context.params)):
                pass
    debug = ["--debug"] * click.get_current_context().find_root().params["debug"]
    try:
        launch_workers([sys.executable, "-m", "bert_tutorial", *debug, *command], workers, servers, names, address)
    except WorkerError as error:
        click.echo(err=True)  # ends the line of worker 0's progress bar
        raise WorkerError(f"{error}\nThe run has ended. {_how_to_resume(output)}".rstrip()) from None


@main.command("evaluate")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@options.data
@options.no_cache
@click.option("--limit", type=click.IntRange(2), help="Use this many test texts of each data set.  [default: all]")
@options.batch_size
@options.int8
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: the metrics of the task.")
def evaluate_command(folder, data, no_cache, limit, batch_size, int8, as_json):
    """Score the network in DIR on the test split of its task."""
    model = _load(folder, int8)
    if model.task == SentimentClassifier.task:
        batches = model.batches(load_datasets(data, "test", limit), batch_size, cached=not no_cache)
        evaluation = evaluate(model.net, batches, model.ctx)
        score = {**evaluation._asdict(), "interval": evaluation.interval}
    else:
        score = model.score(model.read(data, "test", limit, **model.options), batch_size)
    if as_json:
        click.echo(json.dumps(score))
        return
    click.echo(printing.describe(score))
    if "confusion" in score:
        printing.print_confusion(model.labels, score["confusion"])


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--file", "-f", "file", type=click.File("rb"), help="Read texts, one a line; - is the input.")
@click.option("--context", type=click.File("rb"), help="For answer: the text that each TEXT is a question about.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object a line: text, and label and probability, or what else the task gives.",
)
@options.batch_size
@options.int8
def predict(folder, texts, file, context, as_json, batch_size, int8):
    """Say whether each TEXT is positive or negative, or what else the network in DIR has learned to say."""
    source = getattr(file, "name", "the input")
    lines = (decode(line, f"{source}, line {i}") for i, line in enumerate(file or [], start=1))
    texts = [*texts, *(line.rstrip("\r\n") for line in lines)]
    if not texts:
        raise click.UsageError("give at least one TEXT, or --file")
    for i, text in enumerate(texts, start=1):
        if not text.strip():
            raise ValueError(f"text {i} is empty")
    takes_context = task_of(folder) == QuestionAnswerer.task
    if takes_context and not context:
        raise click.UsageError(f"{folder} answers questions about a text: give it with --context FILE")
    if context and not takes_context:
        raise click.UsageError(f"{folder} answers no questions about a text: leave out --context")
    model = _load(folder, int8)
    pairs = [text.split("\t", 1) for text in texts]
    if model.task == SentimentClassifier.task:
        answers = (printing.sentiment(positive) for positive in model.predict(texts, batch_size).tolist())
    elif context:
        passage = decode(context.read(), context.name)
        if not passage.strip():
            raise ValueError(f"{context.name} is empty")
        answers = model.answer(texts, [passage] * len(texts), batch_size)
    elif model.task == TokenTagger.task:
        answers = model.answer(texts, batch_size)
    elif any(len(pair) == 2 for pair in pairs):
        if alone := [i for i, pair in enumerate(pairs, start=1) if len(pair) == 1]:
            raise ValueError(f"text {alone[0]} has no tab, but others do: between the texts of a pair there is one")
        answers = model.answer(*map(list, zip(*pairs, strict=True)), batch_size=batch_size)
    else:
        answers = model.answer(texts, batch_size=batch_size)
    for text, answer in zip(texts, answers, strict=True):
        if as_json:
            click.echo(json.dumps({"text": text, **answer}, ensure_ascii=False))
        elif "tags" in answer:
            click.echo(mark(text, **answer))
        else:
            click.echo("  ".join([*map(printing.shown, answer.values()), text]))


@main.command()
@click.argument("question", nargs=-1, required=True)
@click.option(
    "--corpus",
    default="docstrings",
    help="docstrings (of Python and the libraries installed with the course), or a path: a .txt or .md file, a folder "
    "of them, or a table (.tsv, .csv, .jsonl) with the column text and, for what is shown, name.",
)
@click.option("--pretrained", default="minilm-l6", help="small, minilm-l6, bert-base, hf:ORG/NAME, or a folder.")
@click.option("--count", default=5, type=click.IntRange(1), help="How many passages to show.")
@click.option("--bm25", is_flag=True, help="Search by words, without a network.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line: score, name, text.")
def search(question, corpus, pretrained, count, bm25, as_json):
    """Find the passages that answer a QUESTION, the best first.

    The first search of a corpus turns all its passages into vectors, which for docstrings takes minutes; they are kept.
    """
    question = " ".join(question)
    if not question.strip():
        raise ValueError("the question is empty")
    passages = load_passages(corpus)
    if bm25:
        index = WordIndex(passages)
    else:
        encoder = TextEncoder.load(pretrained, ctx=choose_device()[0])
        click.echo(f"{len(passages):,} passages, whose vectors are computed once and kept", err=True)
        index = VectorIndex(passages, encoder)
    hits = index.search(question, count)
    if not hits:
        click.echo("nothing shares a word with the question", err=True)
    for score, passage in hits:
        if as_json:
            click.echo(json.dumps({"score": score, **passage._asdict()}, ensure_ascii=False))
        else:
            click.echo(f"{score:6.3f}  {passage.name}\n        {shorten(passage.text, SHOWN, placeholder=' ...')}")


def _settings_of_run(parameters):
    """What the recipe that a command calls with these parameters writes down."""
    if parameters.get("task") == SentimentClassifier.task:
        of_tasks = ("task", "multi_label", "class_weights")
        parameters = {name: value for name, value in parameters.items() if name not in of_tasks}
    return settings_of(parameters)


@contextmanager
def _resumable(output):
    """Say how to continue a run that is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        if message := _how_to_resume(output):
            click.echo(message, err=True)
        raise


def _how_to_resume(output):
    if checkpoint_exists(output / CHECKPOINT):
        return f"The run is in {output / CHECKPOINT}; the same command with --resume continues it."
    return ""


def _load(folder, int8):
    ctx = mx.cpu() if int8 else choose_device()[0]
    task = task_of(folder)
    if task == ENCODE:
        raise ValueError(f"{folder} holds a text encoder, which gives vectors: use search --pretrained {folder}")
    if task not in TASKS:
        raise ValueError(f"{folder} was fine-tuned for the task {task!r}, which this version does not know")
    model = TASKS[task].load(folder, ctx)
    if int8:
        quantize(model.net)
    return model
