"""The `bert-tutorial` command."""

import json
import math
import os
import platform
import sys
import traceback
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

import click
import mxnet as mx
from mxnet import gluon

from .classifier import LABELS, SentimentClassifier
from .doctor import doctor as show_doctor
from .encoder import BERTModel
from .finetuning import train_loop
from .heads import BERTForPreTraining
from .machine.devices import choose_device
from .machine.fetching import FetchError
from .machine.files import last_line, write_text
from .machine.interrupts import keep_interrupts
from .machine.memory import peak_memory
from .machine.seeds import seed_everything
from .precision import DTYPES, refuse_precision, set_precision
from .pretraining import initialize_for_pretraining, pretrain_loop, start_decoder, word_frequencies
from .quantization import quantize
from .text.corpora import load_corpus
from .text.datasets import load_dataset, split_off_validation
from .text.imdb import fetch_imdb
from .text.pretraining_examples import Examples
from .text.reviews import decode
from .text.sentence_pairs import tokenize_corpus
from .text.vocabulary import learn_vocabulary
from .text.wordpiece import make_tokenizer
from .training.checkpoint import checkpoint_exists, remove_checkpoint
from .training.launching import LOOPBACK, WorkerError
from .training.launching import launch as launch_workers
from .training.progress import TrainingDivergedError
from .training.run_folder import CHECKPOINT, claim, discard_unfinished, make_folder
from .training.scoring import evaluate, evaluate_pretraining
from .training.workers import join_workers
from .weights.config import model_settings, pretrained_config, read_config, tokenizer_settings
from .weights.loading import load_for_pretraining
from .weights.saving import save_pretrained
from .weights.sources import pretrained_folder

VERSIONED = ("gluonnlp", "d2l", "numpy", "tokenizers")
COURSE = ("minilm-l6", "bert-base", "imdb")
EXPECTED = (FetchError, TrainingDivergedError, WorkerError, NotImplementedError, ValueError, IndexError, OSError)
MINIMUM_FOR_VALIDATION = 1000  # reviews; a tenth of fewer cannot tell one epoch from another


class Command(click.Group):
    """Turns what can go wrong into one line and exit code 1; click itself answers bad usage with 2."""

    def invoke(self, ctx):
        """See click."""
        keep_interrupts()
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click knows them; the last one means that nobody reads on, as in `predict ... | head`
        except (Exception, KeyboardInterrupt) as error:
            if ctx.params["debug"]:
                traceback.print_exc()
            click.echo(f"Error: {_explain(error, ctx.invoked_subcommand)}", err=True)
            sys.exit(1)


def _explain(error, command):
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MemoryError):
        return "out of memory: try a smaller --batch-size or --max-length"
    if isinstance(error, mx.MXNetError):
        return f"MXNet: {last_line(error)}"
    if isinstance(error, EXPECTED):
        return str(error) or type(error).__name__
    return (
        f"unexpected {type(error).__name__}: {last_line(error)}; run it again as bert-tutorial --debug {command} ... "
        "for the traceback, and report it"
    )


data_option = click.option(
    "--data",
    default="sample",
    show_default=True,
    help="sample (the shipped reviews), imdb, or a path: a folder or archive laid out as aclImdb, or a .tsv or .csv "
    "table with the columns split, label, text.",
)
no_cache_option = click.option(
    "--no-cache",
    is_flag=True,
    help="Keep no word ids of the reviews for the next time: they can be turned back into text.",
)
batch_size_option = click.option("--batch-size", default=16, show_default=True, type=click.IntRange(1))
precision_option = click.option(
    "--precision",
    default="float32",
    type=click.Choice(list(DTYPES)),
    help="Of the dense layers in training: bfloat16 on CPUs with AVX512-BF16, float16 on GPUs. The result is scored "
    "and saved in float32.",
)
output_option = partial(
    click.option, "--output", type=click.Path(path_type=Path), help="Folder for the result, which no other run is in."
)
resume_option = click.option(
    "--resume", is_flag=True, help="Continue an interrupted run in --output, with the same settings."
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace the run in --output; its result stays until the new one takes its place."
)
int8_option = click.option(
    "--int8",
    is_flag=True,
    help="Compute in int8: faster, a little less exact. On the CPU, which must have VNNI.",
)


@click.group(cls=Command, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="bert_tutorial")
@click.option("--debug", is_flag=True, help="Show the traceback of an error, too.")
def main(debug):
    """Pre-train a BERT, fine-tune one on film reviews, and use it."""


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
@click.option("--pretrained", default="minilm-l6", help="small, minilm-l6, bert-base, hf:ORG/NAME, or a folder.")
@data_option
@no_cache_option
@click.option("--train-limit", type=click.IntRange(2), help="Use this many training reviews.  [default: all]")
@click.option("--test-limit", type=click.IntRange(2), help="Use this many test reviews.  [default: all]")
@click.option("--epochs", default=4, type=click.IntRange(1))
@batch_size_option
@click.option("--max-length", default=256, type=click.IntRange(3), help="Word pieces of a review; the rest is cut.")
@click.option("--lr", default=3e-5, help="Peak of the learning rate.")
@precision_option
@click.option("--seed", default=1, type=click.IntRange(0, 2**31 - 1))
@output_option(default="runs/finetuned")
@resume_option
@overwrite_option
def finetune(
    pretrained, data, no_cache, train_limit, test_limit, epochs, batch_size, max_length, lr, precision, seed, output,
    resume, overwrite,
):  # fmt: skip
    """Fine-tune a pre-trained BERT for sentiment, and score it on the test split."""
    workers = join_workers()
    checkpoint = _checkpoint(workers)
    train, test = load_dataset(data, "train", train_limit), load_dataset(data, "test", test_limit)
    ctx, reason = choose_device()
    click.echo(f"seed {seed}, device {ctx} ({reason})")
    seed_everything(seed)
    classifier = SentimentClassifier.from_pretrained(pretrained, max_length, ctx)
    set_precision(classifier.net, precision)
    valid = None
    if epochs > 1 and len(train) >= MINIMUM_FOR_VALIDATION:  # one epoch leaves nothing to choose
        train, valid = split_off_validation(train)
    click.echo(f"{len(train)} reviews to train on, {len(valid or [])} for validation, {len(test)} for the test")
    with _training(checkpoint, overwrite, workers):
        history = train_loop(
            classifier.net,
            classifier.batches(train, batch_size * workers.size, shuffle=True, cached=not no_cache),
            None,
            epochs,
            lr,
            ctx,
            gluon.loss.SoftmaxCELoss(),
            valid_data=valid and classifier.batches(valid, batch_size, cached=not no_cache),
            seed=seed,
            checkpoint=checkpoint,
            resume=resume,
            settings={**_settings(), "workers": workers.size},
            workers=workers,
        )
    if workers.rank == 0:
        classifier.save(output)
    set_precision(classifier.net, "float32")
    test_batches = classifier.batches(test, batch_size * workers.size, cached=not no_cache)
    score = evaluate(classifier.net, test_batches, ctx, workers=workers)
    if workers.rank == 0:
        _write_metrics(output, score._asdict(), history, ctx, workers)
        remove_checkpoint(checkpoint)
        click.echo(f"test accuracy {score.accuracy:.4f} on {score.count} reviews; saved in {output}")
    workers.leave()


@main.command()
@click.option(
    "--corpus",
    default="docstrings",
    help="docstrings (of the libraries installed with the course), imdb (its unlabelled reviews), or a path: a folder "
    "of text files, or a folder or archive laid out as aclImdb.",
)
@click.option("--limit", type=click.IntRange(2), help="Use this many documents.  [default: all]")
@click.option("--pretrained", help="Go on from this BERT: a name or a folder, as for finetune.  [default: a new BERT]")
@click.option("--layers", default=2, type=click.IntRange(1), help="Of a new BERT.")
@click.option("--units", default=128, type=click.IntRange(1), help="Of a new BERT; a multiple of --heads.")
@click.option("--heads", default=2, type=click.IntRange(1), help="Of a new BERT.")
@click.option("--vocab-size", default=6000, type=click.IntRange(6), help="Word pieces a new BERT learns to read.")
@click.option("--steps", default=7000, type=click.IntRange(1), help="A batch each.")
@click.option("--batch-size", default=32, type=click.IntRange(1))
@click.option("--max-length", default=64, type=click.IntRange(5), help="Word pieces of an example.")
@click.option("--lr", default=2e-3, help="Peak of the learning rate; about 1e-4 to go on from a published BERT.")
@click.option("--whole-words", is_flag=True, help="Mask whole words, not word pieces.")
@click.option("--mlm-only", is_flag=True, help="No next-sentence prediction: examples are stretches of one document.")
@precision_option
@click.option("--seed", default=1, type=click.IntRange(0, 2**31 - 1))
@output_option(default="runs/pretrained")
@resume_option
@overwrite_option
def pretrain(
    corpus, limit, pretrained, layers, units, heads, vocab_size, steps, batch_size, max_length, lr, whole_words,
    mlm_only, precision, seed, output, resume, overwrite,
):  # fmt: skip
    """Pre-train a BERT on plain text, and score it on held-out text; --pretrained DIR of finetune takes the result."""
    workers = join_workers()
    checkpoint = _checkpoint(workers)
    ctx, reason = choose_device()
    click.echo(f"seed {seed}, device {ctx} ({reason})")
    refuse_precision(precision, [ctx])
    if not pretrained and units % heads:
        raise ValueError(f"--units must be a multiple of --heads: {units} is none of {heads}")
    seed_everything(seed)
    text = load_corpus(corpus, limit)
    click.echo(text.describe())
    texts = text.split()
    if pretrained:
        net, vocabulary = load_for_pretraining(pretrained, ctx)
        config = read_config(pretrained_folder(pretrained))
        positions = model_settings(config)["max_length"]
        if max_length > positions:
            raise ValueError(f"--max-length must be at most {positions}, the positions of {pretrained}")
    else:
        sentences = (sentence for document in texts[0].documents for sentence in document.sentences)
        vocabulary = learn_vocabulary(sentences, vocab_size)
        config = pretrained_config(len(vocabulary), units, 4 * units, heads, layers, 0.1, max_length)
        # dropout is for fine-tuning: a short run does not see its text often enough to learn it by heart
        net = BERTForPreTraining(BERTModel(**{**model_settings(config), "dropout": 0}))
    tokenizer = make_tokenizer(vocabulary, tokenizer_settings(pretrained_folder(pretrained)) if pretrained else {})
    train, valid = (
        Examples(
            tokenize_corpus(part.documents, tokenizer),
            vocabulary,
            batch_size * workers.size,
            max_length,
            not mlm_only,
            whole_words,
        )
        for part in texts
    )
    frequencies = word_frequencies(train.corpus, len(vocabulary))
    if pretrained:
        start_decoder(net, frequencies)  # minilm-l6 was published without one
    else:
        initialize_for_pretraining(net, frequencies, ctx)
    net.hybridize(static_alloc=True)
    set_precision(net, precision)
    click.echo(
        f"vocabulary of {len(vocabulary)}; {len(train.corpus.ids):,} word pieces of text to train on, "
        f"{len(valid.corpus.ids):,} held out"
    )
    with _training(checkpoint, overwrite, workers):
        history = pretrain_loop(
            net,
            train,
            valid,
            steps,
            lr,
            ctx,
            seed=seed,
            checkpoint=checkpoint,
            resume=resume,
            settings={**_settings(), "text": text.describe(), "workers": workers.size},
            workers=workers,
        )
    if workers.rank == 0:
        save_pretrained(output, net, vocabulary, config | {"bert_tutorial": {"tokenizer": tokenizer.settings}})
    set_precision(net, "float32")
    score = evaluate_pretraining(net, valid, ctx, frequencies, workers=workers)
    if workers.rank == 0:
        _write_metrics(output, {**score._asdict(), "perplexity": score.perplexity}, history, ctx, workers)
        remove_checkpoint(checkpoint)
        _print_pretraining_score(score, vocabulary.idx_to_token[int(frequencies.argmax())])
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
        checkpoint = context.params["output"] / CHECKPOINT
        if names[0] in (LOOPBACK, address):
            _claim()  # worker 0 does it again: one line says now what it would refuse
    debug = ["--debug"] * click.get_current_context().find_root().params["debug"]
    try:
        launch_workers([sys.executable, "-m", "bert_tutorial", *debug, *command], workers, servers, names, address)
    except WorkerError as error:
        click.echo(err=True)  # ends the line of worker 0's progress bar
        raise WorkerError(f"{error}\nThe run has ended. {_how_to_resume(checkpoint)}".rstrip()) from None


@main.command("evaluate")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@data_option
@no_cache_option
@click.option("--limit", type=click.IntRange(2), help="Use this many test reviews.  [default: all]")
@batch_size_option
@int8_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: accuracy, loss, count.")
def evaluate_command(folder, data, no_cache, limit, batch_size, int8, as_json):
    """Score the classifier in DIR on the test split."""
    test = load_dataset(data, "test", limit)
    classifier = _load(folder, int8)
    score = evaluate(classifier.net, classifier.batches(test, batch_size, cached=not no_cache), classifier.ctx)
    if as_json:
        click.echo(json.dumps(score._asdict()))
    else:
        click.echo(f"accuracy {score.accuracy:.4f}, loss {score.loss:.4f} on {score.count} reviews")


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--file", "-f", "file", type=click.File("rb"), help="Read texts, one a line; - is the input.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line: text, label, probability.")
@batch_size_option
@int8_option
def predict(folder, texts, file, as_json, batch_size, int8):
    """Say whether each TEXT is positive or negative, with the classifier in DIR."""
    source = getattr(file, "name", "the input")
    lines = (decode(line, f"{source}, line {i}") for i, line in enumerate(file or [], start=1))
    texts = [*texts, *(line.rstrip("\r\n") for line in lines)]
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


def _claim():
    """Own the --output of the command that runs until it ends; end it now if there is nothing left to do."""
    context = click.get_current_context()
    output, resume, overwrite = (context.params[name] for name in ("output", "resume", "overwrite"))
    if resume and overwrite:
        raise click.UsageError("--resume continues the run in --output, --overwrite replaces it: give one of them")
    if resume and _has_finished(output):
        click.echo(f"the run in {output} has finished: nothing is left to do", err=True)
        context.exit()
    context.with_resource(claim(output, resume, overwrite))


def _has_finished(output):
    """Whether a run with the settings of the command that runs has ended there."""
    if checkpoint_exists(output / CHECKPOINT):
        return False
    try:
        return json.loads((output / "metrics.json").read_text(encoding="utf-8"))["settings"] == _settings()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _checkpoint(workers):
    """The file that holds the unfinished run in a folder, which worker 0 makes its own before any work."""
    params = click.get_current_context().params
    checkpoint = params["output"] / CHECKPOINT
    if workers.rank == 0:
        _claim()
        if params["resume"] and not checkpoint_exists(checkpoint):
            click.echo(f"no unfinished run in {params['output']}: starting anew", err=True)
    return checkpoint


@contextmanager
def _training(checkpoint, overwrite, workers):
    """Around a training: lets an older run go as the new one begins, and says how to continue what was interrupted."""
    if overwrite and workers.rank == 0:
        discard_unfinished(checkpoint.parent)
    try:
        yield
    except KeyboardInterrupt:
        if checkpoint_exists(checkpoint):
            click.echo(_how_to_resume(checkpoint), err=True)
        raise


def _how_to_resume(checkpoint):
    if checkpoint_exists(checkpoint):
        return f"The run is in {checkpoint}; the same command with --resume continues it."
    return ""


def _print_pretraining_score(score, most_frequent):
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


def _write_metrics(output, score, history, ctx, workers):
    metrics = {
        **score,
        "seconds": sum(row["seconds"] for row in history),
        "tokens_per_second": history[-1]["tokens_per_second"],
        "peak_memory_bytes": peak_memory(),
        "seed": click.get_current_context().params["seed"],
        "device": str(ctx),
        "workers": workers.size,
        "versions": {"python": platform.python_version(), "mxnet": mx.__version__}
        | {name: version(name) for name in VERSIONED},
        "settings": _settings(),
        "history": history,
    }
    metrics = json.loads(json.dumps(metrics), parse_constant=lambda nan: None)  # JSON has no NaN
    write_text(output / "metrics.json", json.dumps(metrics, indent=2))


def _settings():
    """What the command was told, as far as it matters to the numbers."""
    params = click.get_current_context().params
    unimportant = ("output", "resume", "overwrite", "no_cache")
    return {key: str(value) for key, value in params.items() if key not in unimportant}


def _load(folder, int8):
    ctx = mx.cpu() if int8 else choose_device()[0]
    classifier = SentimentClassifier.load(folder, ctx)
    if int8:
        quantize(classifier.net)
    return classifier
