"""Our side: `bert_tutorial`, by its public names, as a reader calls it. Runs in .venv; see `common.py`."""

import json
import platform
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import bert_tutorial as bt
from bert_tutorial.doctor import INSTRUCTION_SETS
from bert_tutorial.machine import cpu
from bert_tutorial.machine.chosen import chosen
from bert_tutorial.quantization import quantize as make_int8
from bert_tutorial.text.datasets import load_dataset
from bert_tutorial.weights.config import read_config
from bert_tutorial.weights.sources import pretrained_folder

import gluonnlp as nlp
import mxnet as mx
import numpy as np
import psutil
from mxnet import gluon, nd
from safetensors.numpy import save_file

from .common import NUM_CLASSES, SENTENCE, make_batch, make_head, peak_memory, run_job, timed_steps
from .limit import layer_products

LEARNING_RATE = 2e-5


def describe(channel):
    """What this machine and this environment are."""
    flags = cpu.cpu_flags()
    channel.reply(
        cpu=_cpu_name(),
        cores=cpu.usable_cores(),
        available_memory=psutil.virtual_memory().available,
        instruction_sets=[name for name in INSTRUCTION_SETS if name in flags],
        threads=chosen.threads,
        kernels=chosen.blas_kernels,
        versions={"Python": platform.python_version(), "mxnet": mx.__version__}
        | {name: version(name) for name in ("gluonnlp", "numpy", "tokenizers")},
    )


def _cpu_name():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def fetch(channel, name):
    """The folder of published weights."""
    channel.reply(folder=str(pretrained_folder(name)))


def random_checkpoint(channel, folder, vocabulary, units, hidden_size, num_heads, num_layers):
    """Write a checkpoint of random weights in Hugging Face's layout, with the `vocab.txt` of another."""
    tokens = Path(vocabulary).read_text(encoding="utf-8")
    config = {
        "model_type": "bert",
        "vocab_size": tokens.count("\n"),
        "hidden_size": units,
        "intermediate_size": hidden_size,
        "num_attention_heads": num_heads,
        "num_hidden_layers": num_layers,
        "hidden_dropout_prob": 0.1,
        "max_position_embeddings": 512,
    }
    shapes = {
        "embeddings.word_embeddings": (config["vocab_size"], units),
        "embeddings.position_embeddings": (config["max_position_embeddings"], units),
        "embeddings.token_type_embeddings": (2, units),
        "embeddings.LayerNorm": (units,),
        "pooler.dense": (units, units),
    }
    for layer in (f"encoder.layer.{i}" for i in range(num_layers)):
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shapes[f"{layer}.attention.{name}"] = (units, units)
        shapes[f"{layer}.attention.output.LayerNorm"] = shapes[f"{layer}.output.LayerNorm"] = (units,)
        shapes[f"{layer}.intermediate.dense"] = (hidden_size, units)
        shapes[f"{layer}.output.dense"] = (units, hidden_size)
    random = np.random.RandomState(0)
    tensors = {f"{name}.bias": np.zeros(shape[0]) for name, shape in shapes.items() if "_embeddings" not in name}
    for name, shape in shapes.items():
        tensors[f"{name}.weight"] = np.ones(shape) if len(shape) == 1 else random.normal(0, 0.02, shape)
    folder = Path(folder)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "vocab.txt").write_text(tokens, encoding="utf-8")
    save_file({name: tensor.astype("float32") for name, tensor in tensors.items()}, folder / "model.safetensors")
    channel.reply(done=True)


def gluonnlp_parameters(channel, folder, path):
    """Write a checkpoint as GluonNLP's BERTModel reads it."""
    bert, _ = bt.load_pretrained(folder, backend="gluonnlp")
    bert.save_parameters(path)
    channel.reply(done=True)


def reviews(channel, data, train_limit, test_limit, path):
    """Write reviews as JSON, for both sides: {"train": [[text, label], ...], "test": ...}."""
    splits = {"train": train_limit, "test": test_limit}
    texts = {split: list(load_dataset(data, split, limit)) for split, limit in splits.items()}
    Path(path).write_text(json.dumps(texts), encoding="utf-8")
    channel.reply(**{split: len(pairs) for split, pairs in texts.items()})


def predict(channel, folder, batch_size, length, quantize=False):
    """Answer with the logits, then time predictions of one batch."""
    net, (words, valid_length, segments, _) = _load(folder, batch_size, length)
    if quantize:
        make_int8(net)
    channel.reply(logits=net(words, segments, valid_length).asnumpy().tolist())
    for _ in timed_steps(channel):
        net(words, segments, valid_length).wait_to_read()


def train(channel, folder, batch_size, length):
    """Time training steps on one batch."""
    net, batch = _load(folder, batch_size, length)
    channel.reply(ready=True)
    data = _RequestedSteps(channel, batch)
    with suppress(_NoMoreSteps):
        bt.train_loop(net, data, None, 1, LEARNING_RATE, mx.cpu(), gluon.loss.SoftmaxCELoss())


class _NoMoreSteps(Exception):
    """No further step is asked for."""


class _RequestedSteps:
    """Training data that `train_loop` gets a batch of whenever a step is asked for."""

    def __init__(self, channel, batch):
        self.channel = channel
        self.batch = batch

    def __len__(self):
        return 1000  # more than are asked for; only the learning rate's schedule depends on it

    def __iter__(self):
        for _ in timed_steps(self.channel, wait=nd.waitall):
            yield self.batch
        raise _NoMoreSteps


def _load(folder, batch_size, length):
    bert, vocabulary = bt.load_pretrained(folder)
    net = bt.BERTClassifier(bert, NUM_CLASSES)
    net.classifier.initialize(ctx=mx.cpu())
    head = make_head(read_config(folder)["hidden_size"])
    net.classifier.weight.set_data(nd.array(head, mx.cpu()))
    net.hybridize(static_alloc=True)
    words, valid_length, labels = make_batch(len(vocabulary), batch_size, length)
    arrays = (words, valid_length.astype("float32"), np.zeros_like(words), labels.astype("float32"))
    return net, tuple(nd.array(array, mx.cpu(), array.dtype) for array in arrays)


def limit(channel, folder, batch_size, length, training):
    """Answer with the number of layers, then time the matrix products of one layer alone."""
    config = read_config(folder)
    sizes = [config[key] for key in ("hidden_size", "intermediate_size", "num_attention_heads")]
    products = layer_products(batch_size, length, *sizes, training)
    channel.reply(layers=config["num_hidden_layers"])
    for _ in timed_steps(channel):
        for product in products:
            product().wait_to_read()


def finetune(channel, folder, texts, epochs, batch_size, max_length, lr, seed):
    """Fine-tune on the reviews in the file `texts` and score the test reviews."""
    start = time.perf_counter()
    data = json.loads(Path(texts).read_text(encoding="utf-8"))
    bt.seed_everything(seed)
    classifier = bt.SentimentClassifier.from_pretrained(folder, max_length)
    batches = classifier.batches(data["train"], batch_size, shuffle=True)
    loss_fn = gluon.loss.SoftmaxCELoss()
    history = bt.train_loop(classifier.net, batches, None, epochs, lr, mx.cpu(), loss_fn, seed=seed)
    score = bt.evaluate(classifier.net, classifier.batches(data["test"], batch_size), mx.cpu())
    channel.reply(
        seconds=time.perf_counter() - start,
        training_seconds=sum(row["seconds"] for row in history),
        tokens=round(sum(row["tokens_per_second"] * row["seconds"] for row in history)),
        accuracy=score.accuracy,
        peak_memory=peak_memory(),
    )


def tokenise(channel, folder, texts, max_length, tokenizer="ours"):
    """Answer with the ids, then time passes over the reviews in the file `texts`."""
    data = json.loads(Path(texts).read_text(encoding="utf-8"))
    texts = [text for split in data.values() for text, _ in split]
    vocabulary = bt.load_vocabulary(Path(folder) / "vocab.txt")
    if tokenizer == "ours":
        fast = bt.FastTokenizer(vocabulary)

        def encode():
            return fast.encode_batch(texts, max_length)
    else:
        transform = nlp.data.BERTSentenceTransform(
            nlp.data.BERTTokenizer(vocabulary), max_length, vocab=vocabulary, pad=False, pair=False
        )

        def encode():
            return [transform([text])[0] for text in texts]

    channel.reply(ids=[ids.tolist() for ids in encode()])
    for _ in timed_steps(channel):
        encode()


def first_prediction(channel, folder):
    """Load weights and classify one sentence."""
    bert, vocabulary = bt.load_pretrained(folder)
    net = bt.BERTClassifier(bert, NUM_CLASSES)
    net.classifier.initialize(ctx=mx.cpu())
    label = bt.predict_sentiment(net, mx.cpu(), vocabulary, bt.FastTokenizer(vocabulary), SENTENCE)
    channel.reply(label=label)


if __name__ == "__main__":
    run_job(
        *(describe, fetch, random_checkpoint, gluonnlp_parameters, reviews),
        *(predict, train, limit, finetune, tokenise, first_prediction),
    )
