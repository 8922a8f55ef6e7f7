"""Memory and time of the way from a data set on disk to batches, without any network: does it grow with the reviews?

Reviews are made of the shipped ones' sentences, as long as IMDB's. Each line is a process of its own, which loads both
splits, tokenises them and goes once through their batches, 32 reviews of 128 word pieces each.

Run: python -m benchmarks.streaming [NUMBER_OF_REVIEWS ...]
"""

import io
import multiprocessing
import os
import random
import re
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import bert_tutorial as bt
from bert_tutorial.machine.memory import peak_memory
from bert_tutorial.text.batches import encode_dataset, make_loader
from bert_tutorial.text.datasets import load_dataset
from bert_tutorial.weights.sources import pretrained_folder

BATCH_SIZE, MAX_LENGTH = 32, 128
SIZES = (2_000, 25_000)  # reviews of each split; IMDB has 25,000
MEDIAN_WORDS, SPREAD, MOST_WORDS = 172, 0.65, 2_500  # log-normal, about as long as IMDB's


def make_reviews(count, seed):
    """Yield `count` reviews, (text, label)."""
    draw = random.Random(seed)
    sentences = [sentence for text, _ in bt.load_reviews("train") for sentence in re.split(r"(?<=[.!?]) ", text)]
    for i in range(count):
        words = min(MEDIAN_WORDS * draw.lognormvariate(0, SPREAD), MOST_WORDS)
        text = []
        while sum(len(sentence.split()) for sentence in text) < words:
            text.append(draw.choice(sentences))
        yield " ".join(text), i % 2


def write_sources(folder, count):
    """Write the same reviews in three ways.

    Returns
    -------
    dict of str to pathlib.Path
        By name.
    """
    sources = {"folder": folder / "aclImdb", "archive": folder / "aclImdb.tar.gz", "table": folder / "reviews.tsv"}
    with tarfile.open(sources["archive"], "w:gz") as archive, sources["table"].open("w") as table:
        table.write("split\tlabel\ttext\n")
        for seed, split in enumerate(("train", "test")):
            for i, (text, label) in enumerate(make_reviews(count, seed)):
                name = f"{split}/pos/{i}_9.txt" if label else f"{split}/neg/{i}_2.txt"
                path = sources["folder"] / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
                member = tarfile.TarInfo(f"aclImdb/{name}")
                member.size = path.stat().st_size
                archive.addfile(member, io.BytesIO(path.read_bytes()))
                table.write(f"{split}\t{label}\t{text}\n")
    return sources


def measure(path, cache):
    """Seconds for the whole data path (None: for none), and the largest resident memory of the process in bytes."""
    vocabulary = bt.load_vocabulary(pretrained_folder("minilm-l6") / "vocab.txt")
    tokenizer = bt.FastTokenizer(vocabulary)
    os.environ["BERT_TUTORIAL_CACHE"] = cache
    started = time.perf_counter()
    datasets = [load_dataset(path, split) for split in ("train", "test")] if path else []
    for dataset in datasets:
        encoded = encode_dataset(dataset, tokenizer, MAX_LENGTH)
        for _ in make_loader(encoded, vocabulary, BATCH_SIZE, shuffle=True, max_length=MAX_LENGTH):
            pass
    return time.perf_counter() - started, peak_memory()


def measure_alone(*arguments):
    """`measure` in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def print_row(*cells):
    """Print one line of the table."""
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def main():
    """See the module."""
    sizes = [int(argument) for argument in sys.argv[1:]] or SIZES
    print_row("reviews", "source", "first time, s", "next time, s", "MB", "MB next time")
    print_row("---:", "---", "---:", "---:", "---:", "---:")
    print_row(0, "imports alone", "", "", f"{measure_alone(None, '')[1] / 1e6:.0f}", "")
    for count in sizes:
        with tempfile.TemporaryDirectory() as folder:
            for name, path in write_sources(Path(folder), count).items():
                with tempfile.TemporaryDirectory() as cache:
                    first, again = (measure_alone(str(path), cache) for _ in range(2))
                seconds = [f"{elapsed:.1f}" for elapsed, _ in (first, again)]
                megabytes = [f"{memory / 1e6:.0f}" for _, memory in (first, again)]
                print_row(f"{count:,} + {count:,}", name, *seconds, *megabytes)


if __name__ == "__main__":
    main()
