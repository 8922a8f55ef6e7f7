"""Which search finds the docstring that answers a question: python -m benchmarks.search

By words, by the vectors of minilm-l6, and by those of minilm-l6 after fine-tuning on the docstrings themselves: each
first sentence and the rest of its docstring. The questions are those of data/howto.tsv's test. Encoding all docstrings
takes minutes, once for each encoder; --limit takes fewer.
"""

import sys
from contextlib import redirect_stdout

from bert_tutorial import TextEncoder, finetune_encoder
from bert_tutorial.search import VectorIndex, WordIndex, mean_reciprocal_rank, recall_at
from bert_tutorial.text.passages import load_howto, load_passages, summary_pairs, with_answers
from bert_tutorial.text.reviews import draw

import click

from .report import table

PRETRAINED = "minilm-l6"
MAX_LENGTH = 128  # word pieces of a docstring
CUTS = (1, 5, 10)
FOUND = 100  # passages; what comes later counts 0 for the reciprocal rank


def line(name, index, queries):
    """One row of the table."""
    found = [[hit.passage.name for hit in index.search(query.text, FOUND)] for query in queries]
    right = [query.names for query in queries]
    scores = [*(recall_at(k, found, right) for k in CUTS), mean_reciprocal_rank(found, right)]
    return [name, *(f"{score:.3f}" for score in scores)]


@click.command(context_settings={"show_default": True})
@click.option("--limit", type=click.IntRange(1), help="Search so many passages and the answers.  [default: all]")
@click.option("--pairs", "num_pairs", default=4000, type=click.IntRange(2), help="To fine-tune on.")
@click.option("--seed", default=1)
def main(limit, num_pairs, seed):
    """Print a table in Markdown."""
    queries = load_howto("test")
    passages = with_answers(load_passages("docstrings"), queries, limit)
    pairs = draw(summary_pairs(passages), num_pairs)
    rows = [line("BM25", WordIndex(passages), queries)]
    encoder = TextEncoder.load(PRETRAINED, MAX_LENGTH)
    rows.append(line(PRETRAINED, VectorIndex(passages, encoder), queries))
    with redirect_stdout(sys.stderr):  # a line for each epoch
        encoder, _ = finetune_encoder(pairs, PRETRAINED, max_length=MAX_LENGTH, seed=seed)
    rows.append(line(f"{PRETRAINED}, fine-tuned on {len(pairs):,} pairs", VectorIndex(passages, encoder), queries))
    print(f"\n{len(queries)} questions, {len(passages):,} passages\n")
    print(table(["search", *(f"recall@{k}" for k in CUTS), "MRR"], rows))


if __name__ == "__main__":
    main()
