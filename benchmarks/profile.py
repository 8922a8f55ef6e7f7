"""Where the time goes: MXNet's profiler on one training step and one prediction, before and after each gain.

Run: .venv/bin/python -m benchmarks.profile (two minutes). MiniLM-L6, 32 x 128. Operators may overlap, and
measuring them costs time itself: the sums need not be the time of a step, which stands in the last row.
"""

import json
import os
import subprocess
import sys
import time
from statistics import median

import bert_tutorial as bt

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

from .report import table

BATCH_SIZE, LENGTH, STEPS = 32, 128, 5
VARIANTS = {  # name: (environment, whether the last block computes every position)
    "MXNet's operators": ("plain", True),
    "only [CLS] in the last block": ("plain", False),
    "and BERT's own operators": ("", False),
}
KINDS = {  # the first kind whose word an operator's name holds
    "attention": ("bert_attention", "batch_dot", "softmax", "div_sqrt", "transpose", "repeat", "broadcast_add"),
    "dense layers": ("FullyConnected", "bert_dense"),
    "LayerNorm, residuals and their dropout": ("LayerNorm", "bert_add_norm", "Dropout", "elemwise_add"),
    "GELU": ("LeakyReLU", "gelu"),
    "optimiser and clipping": ("adamw", "multi_sum_sq", "broadcast_mul"),
    "embeddings": ("Embedding",),
    "all else": ("",),
}


class WholeLastBlock(bt.BERTClassifier):
    """Takes [CLS] from the encodings of all positions."""

    def hybrid_forward(self, F, inputs, segment_types, valid_length):
        """See BERTClassifier."""
        return self.classifier(self.dropout(self.bert(inputs, segment_types, valid_length)[1]))


def measure(whole_last_block):
    """Milliseconds by kind of operator, and of the whole, for a training step and a prediction."""
    bert, _ = bt.load_pretrained("minilm-l6")
    net = (WholeLastBlock if whole_last_block else bt.BERTClassifier)(bert, num_classes=2)
    net.classifier.initialize()
    net.hybridize(static_alloc=True)
    words = nd.array(np.random.RandomState(0).randint(1000, 30000, (BATCH_SIZE, LENGTH)), dtype="int32")
    valid_length, segments = nd.full((BATCH_SIZE,), LENGTH), nd.zeros((BATCH_SIZE, LENGTH), dtype="int32")
    batch = (words, valid_length, segments, nd.array([0, 1] * (BATCH_SIZE // 2)))

    def train(steps):
        bt.train_loop(net, _Timed([batch] * steps), None, 1, 2e-5, mx.cpu(), gluon.loss.SoftmaxCELoss())

    def predict(steps):
        for _ in _Timed([batch] * steps):
            net(words, segments, valid_length)

    return {"training step": _profile(train), "prediction": _profile(predict)}


class _Timed(list):
    """A list of batches that notes when each is asked for, all computing done; profiles the last one."""

    seconds = ()

    def __iter__(self):
        _Timed.seconds = []
        for i, batch in enumerate(super().__iter__()):
            mx.profiler.set_state("run" if i == len(self) - 1 else "stop")
            start = time.perf_counter()
            yield batch
            nd.waitall()
            _Timed.seconds.append(time.perf_counter() - start)
        mx.profiler.set_state("stop")


def _profile(run):
    run(1)
    json.loads(mx.profiler.dumps(reset=True, format="json"))
    run(STEPS + 1)
    operators = json.loads(mx.profiler.dumps(reset=True, format="json"))["Time"].get("operator", {})
    sums = dict.fromkeys(KINDS, 0.0)
    for name, times in operators.items():
        kind = next(kind for kind, words in KINDS.items() if any(word in name for word in words))
        sums[kind] += times["Total"]
    return sums | {"the whole": 1000 * median(_Timed.seconds[:STEPS])}


def main():
    """Print a table for the training step and one for the prediction."""
    found = {}
    for name, (operators, whole_last_block) in VARIANTS.items():
        environment = {**os.environ, "BERT_TUTORIAL_OPERATORS": operators}
        command = [sys.executable, "-m", "benchmarks.profile", str(int(whole_last_block))]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found[name] = json.loads(done.stdout.strip().splitlines()[-1])
    for what in ("training step", "prediction"):
        print(f"### One {what}, ms\n")
        rows = [[kind, *(f"{found[name][what][kind]:.0f}" for name in VARIANTS)] for kind in (*KINDS, "the whole")]
        print(table(["", *VARIANTS], rows), flush=True)
        print()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        mx.profiler.set_config(
            profile_symbolic=True,
            profile_imperative=True,
            profile_memory=False,
            profile_api=False,
            aggregate_stats=True,
            filename=os.devnull,
        )
        print(json.dumps(measure(sys.argv[1] == "1")))
    else:
        main()
