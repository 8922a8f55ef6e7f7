"""What the input pipeline costs beside the computation: MiniLM-L6, 32 reviews of 128 word pieces a batch.

Run: python benchmarks/data_path.py [--imdb PATH] [--steps N]
"""

import argparse
import os
import tempfile
import time
from itertools import cycle, islice

import bert_tutorial as bt
from bert_tutorial.text.batches import encode_dataset, make_loader

from mxnet import gluon, nd

BATCH_SIZE, MAX_LENGTH = 32, 128
SIZE_OF_IMDB = 25_000  # reviews of its training split


class TimedLoader:
    """Serves another loader's batches and measures how long each takes to make.

    MXNet computes in the background. What still runs there is waited for first, outside the measured time.

    Attributes
    ----------
    milliseconds : float
        For one batch, mean over the last epoch.
    """

    def __init__(self, loader):
        self.loader = loader

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        elapsed, started = 0, time.perf_counter()
        for batch in self.loader:
            elapsed += time.perf_counter() - started
            yield batch
            nd.waitall()
            started = time.perf_counter()
        self.milliseconds = 1000 * elapsed / len(self)


def read_reviews(imdb):
    """Training reviews as (text, label)."""
    if imdb:
        return list(bt.load_imdb("train", imdb))
    shipped = list(bt.load_reviews("train"))
    # the shipped reviews are short: five in a row fill 128 word pieces
    return [(" ".join(text for text, _ in shipped[i : i + 5]), shipped[i][1]) for i in range(len(shipped) - 4)]


def seconds(function):
    """Result of a call, and how long it took."""
    started = time.perf_counter()
    result = function()
    return result, time.perf_counter() - started


def measure_tokenising(reviews, tokenizer):
    """Print how long a dataset of IMDB's size takes the first and the second time, in a cache of its own."""
    dataset = list(islice(cycle(reviews), SIZE_OF_IMDB))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BERT_TUTORIAL_CACHE"] = folder
        _, first = seconds(lambda: encode_dataset(dataset, tokenizer, MAX_LENGTH))
        _, second = seconds(lambda: encode_dataset(dataset, tokenizer, MAX_LENGTH))
    print(f"tokenising {len(dataset)} reviews: {first:.2f} s, the second time {second:.2f} s")


def print_share(what, loader, milliseconds):
    """Print one line: the time of a batch, and the loader's share of it."""
    share = 100 * loader.milliseconds / milliseconds
    print(f"{what}: {milliseconds:.0f} ms a batch, {loader.milliseconds:.2f} ms of it for input ({share:.2f} %)")


def main():
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--imdb", help="folder or archive of IMDB reviews; default: the shipped reviews")
    parser.add_argument("--steps", type=int, default=10, help="batches to train on and to predict (default: 10)")
    arguments = parser.parse_args()

    classifier = bt.SentimentClassifier.from_pretrained("minilm-l6", MAX_LENGTH)
    reviews = read_reviews(arguments.imdb)
    encoded = encode_dataset(reviews, classifier.tokenizer, MAX_LENGTH, cached=False)
    full = [sample for sample in encoded if sample[1] == MAX_LENGTH]
    samples = list(islice(cycle(full), arguments.steps * BATCH_SIZE))
    loader = TimedLoader(make_loader(samples, classifier.vocabulary, BATCH_SIZE, shuffle=True))

    list(loader)
    print(f"the loader alone: {loader.milliseconds:.2f} ms a batch")
    bt.evaluate(classifier.net, loader, classifier.ctx)  # warms up
    _, elapsed = seconds(lambda: bt.evaluate(classifier.net, loader, classifier.ctx))
    print_share("prediction", loader, 1000 * elapsed / len(loader))
    loss = gluon.loss.SoftmaxCELoss()
    history = bt.train_loop(classifier.net, loader, None, 2, 1e-5, classifier.ctx, loss)
    print_share("training", loader, 1000 * history[-1]["seconds"] / len(loader))
    measure_tokenising(reviews, classifier.tokenizer)


if __name__ == "__main__":
    main()
