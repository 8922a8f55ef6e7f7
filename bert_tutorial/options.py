"""Options that several commands have."""

import inspect
from functools import partial
from pathlib import Path

import click

from .classifier import SentimentClassifier
from .finetuning import TASKS
from .precision import DTYPES


def defaults_of(recipe):
    """Settings of a command whose options have the defaults of the recipe's parameters of the same names."""
    parameters = inspect.signature(recipe).parameters.values()
    return {"default_map": {p.name: p.default for p in parameters if p.default not in (None, p.empty)}}


def _one_of_both(ctx, option, overwrite):
    if overwrite and ctx.params["resume"]:
        raise click.UsageError("--resume continues the run in --output, --overwrite replaces it: give one of them")
    return overwrite


task = click.option(
    "--task",
    type=click.Choice(list(TASKS)),
    default=SentimentClassifier.task,
    help="What is learned: sentiment; classify, any labels of a text or a pair of texts; regress, a number for them; "
    "tag, a tag for each word; answer, the stretch of a text that answers a question.",
)
data = click.option(
    "--data",
    default=["sample"],
    multiple=True,
    help="For sentiment: sample (the shipped reviews), sentences (shipped, too; counting words does not tell them "
    "apart), imdb, or a path: a folder or archive laid out as aclImdb, or a .tsv or .csv table with the columns split, "
    "label, text. For classify and regress: tickets or pairs (shipped), docstring-libraries or docstring-pairs (made "
    "of the libraries on your disk), a .tsv, .csv or .jsonl file with split, label, text and, for pairs, text_b, or a "
    "standard data set: mrpc, sts-b, mnli, atis, snips, or a folder laid out as one of them or as GLUE's. For tag: "
    "tickets, a .jsonl file with split, tokens, tags, a folder of CoNLL files, atis or snips. For answer: questions "
    "(shipped), docstring-questions (made of the libraries on your disk), a .json file as SQuAD's, each entry with a "
    "split, or a folder with train-v2.0.json and dev-v2.0.json. Give it several times to join data sets, in that "
    "order.",
)
multi_label = click.option(
    "--multi-label", is_flag=True, help='For classify: a text may have several labels, as in "a|b", or none.'
)
train_limit = click.option(
    "--train-limit", type=click.IntRange(2), help="Use this many training texts of each data set.  [default: all]"
)
test_limit = click.option(
    "--test-limit", type=click.IntRange(2), help="Use this many test texts of each data set.  [default: all]"
)
no_cache = click.option(
    "--no-cache",
    is_flag=True,
    help="Keep no word ids of the reviews for the next time: they can be turned back into text.",
)
batch_size = click.option("--batch-size", default=16, type=click.IntRange(1))
precision = click.option(
    "--precision",
    type=click.Choice(list(DTYPES)),
    help="Of the dense layers in training: bfloat16 on CPUs with AVX512-BF16, float16 on GPUs. The result is scored "
    "and saved in float32.",
)
seed = click.option("--seed", type=click.IntRange(0, 2**31 - 1))
output = partial(
    click.option, "--output", type=click.Path(path_type=Path), help="Folder for the result, which no other run is in."
)
resume = click.option(
    "--resume",
    is_flag=True,
    is_eager=True,  # before --overwrite
    help="Continue an interrupted run in --output, with the same settings.",
)
overwrite = click.option(
    "--overwrite",
    is_flag=True,
    callback=_one_of_both,
    help="Replace the run in --output; its result stays until the new one takes its place.",
)
int8 = click.option(
    "--int8",
    is_flag=True,
    help="Compute in int8: faster, a little less exact. On the CPU, which must have VNNI.",
)
