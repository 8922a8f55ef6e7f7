"""float32 against bfloat16: the time of a training step and of a prediction, and what a fine-tuning comes to.

Run: .venv/bin/python -m benchmarks.precision (two minutes), on a CPU with AVX512-BF16. MiniLM-L6; shipped reviews.
"""

import sys
import time
from contextlib import redirect_stdout
from statistics import median

import bert_tutorial as bt
from bert_tutorial.text.datasets import load_dataset

import mxnet as mx
from mxnet import gluon, nd

from .common import NUM_CLASSES, make_batch
from .report import ratio, table

PRECISIONS = ("float32", "bfloat16")
LENGTH, STEPS, PAIRS = 128, 3, 5
EPOCHS, BATCH_SIZE, LEARNING_RATE, SEED = 2, 16, 3e-5, 1  # of the fine-tuning
LOSS = gluon.loss.SoftmaxCELoss()


def batch(vocab_size, batch_size):
    """As `train_loop` takes it."""
    words, valid_length, labels = make_batch(vocab_size, batch_size, LENGTH)
    return nd.array(words), nd.array(valid_length), nd.zeros_like(nd.array(words)), nd.array(labels)


def train(net, data):
    """Seconds of a training step."""
    with redirect_stdout(sys.stderr):
        history = bt.train_loop(net, [data] * STEPS, None, 2, 1e-6, mx.cpu(), LOSS)  # the first epoch warms up
    return history[-1]["seconds"] / STEPS


def predict(net, data):
    """Seconds of a prediction."""
    words, valid_length, segments, _ = data
    net(words, segments, valid_length).wait_to_read()
    start = time.perf_counter()
    for _ in range(STEPS):
        net(words, segments, valid_length).wait_to_read()
    return (time.perf_counter() - start) / STEPS


def print_times():
    """Both precisions in turn, on the same network."""
    bert, vocabulary = bt.load_pretrained("minilm-l6")
    net = bt.BERTClassifier(bert, NUM_CLASSES)
    net.classifier.initialize()
    net.hybridize(static_alloc=True)
    rows = []
    for what, measure, size in (("training step", train, 16), ("prediction", predict, 32)):
        data, seconds = batch(len(vocabulary), size), {precision: [] for precision in PRECISIONS}
        for _ in range(PAIRS):
            for precision in PRECISIONS:
                bt.set_precision(net, precision)
                seconds[precision].append(measure(net, data))
        times = (f"{1000 * median(seconds[precision]):.0f}" for precision in PRECISIONS)
        rows.append([f"{what}, {size} x {LENGTH}", *times, ratio(*seconds.values())])
    print(table(["MiniLM-L6", *(f"{name} ms" for name in PRECISIONS), "float32 / bfloat16"], rows), flush=True)


def finetune(precision):
    """Seconds of training, the last epoch's training loss, and the score on the test reviews, in float32."""
    bt.seed_everything(SEED)
    classifier = bt.SentimentClassifier.from_pretrained("minilm-l6", LENGTH)
    bt.set_precision(classifier.net, precision)
    batches = classifier.batches(load_dataset("sample", "train"), BATCH_SIZE, shuffle=True)
    with redirect_stdout(sys.stderr):
        history = bt.train_loop(classifier.net, batches, None, EPOCHS, LEARNING_RATE, mx.cpu(), LOSS, seed=SEED)
    bt.set_precision(classifier.net, "float32")
    score = bt.evaluate(classifier.net, classifier.batches(load_dataset("sample", "test"), BATCH_SIZE), mx.cpu())
    seconds = sum(row["seconds"] for row in history)
    return f"{seconds:.0f}", f"{history[-1]['train_loss']:.4f}", f"{score.loss:.4f}", f"{score.accuracy:.3f}"


def main():
    """Print both tables."""
    print_times()
    rows = [[precision, *finetune(precision)] for precision in PRECISIONS]
    print()
    print(table(["precision", "seconds of training", "train loss", "test loss", "test accuracy"], rows))


if __name__ == "__main__":
    main()
