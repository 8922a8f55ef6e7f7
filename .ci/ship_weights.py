"""Write weights into data/, in half the bits: they ship with the course.

python .ci/ship_weights.py RUN NAME     what `bert-tutorial pretrain --output RUN` has made, as data/NAME
python .ci/ship_weights.py small-2400   `small` after 2,400 of its 7,000 steps, trained anew
"""

import shutil
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import bert_tutorial as bt
from bert_tutorial.text.pretraining_examples import Examples
from bert_tutorial.text.sentence_pairs import tokenize_corpus
from bert_tutorial.text.vocabulary import learn_vocabulary, load_vocabulary
from bert_tutorial.training.initialization import initialize_for_pretraining, word_frequencies
from bert_tutorial.weights.config import model_arguments, read_config, tokenizer_settings
from bert_tutorial.weights.folder import read_tensors, write_weights

import mxnet as mx
import numpy as np

DATA = Path(__file__).parent.parent / "data"
EARLY_STEP = 2400


def ship(run, name):
    """Write a folder of weights as float16: what is lost is far less than a step of training changes."""
    tensors = {key: tensor.astype(np.float16) for key, tensor in read_tensors(run).items()}
    config = read_config(run) | {"bert_tutorial": {"tokenizer": tokenizer_settings(run)}}
    write_weights(DATA / name, tensors, load_vocabulary(run / "vocab.txt"), config)
    if (run / "metrics.json").exists():
        shutil.copy(run / "metrics.json", DATA / name)


def train_early(folder):
    """Pre-train `small` as its command does, and save it once attention is about to be of use."""
    bt.seed_everything(1)
    train_text, held_out_text = bt.load_corpus("docstrings").split()
    vocabulary = learn_vocabulary((s for document in train_text.documents for s in document.sentences), 6000)
    tokenizer = bt.FastTokenizer(vocabulary)
    train, held_out = (
        Examples(tokenize_corpus(text.documents, tokenizer), vocabulary, batch_size=32, max_length=64)
        for text in (train_text, held_out_text)
    )
    config = bt.pretrained_config(len(vocabulary), 128, 512, num_heads=2, num_layers=2, dropout=0, max_length=64)
    net = bt.BERTForPreTraining(bt.BERTModel(**model_arguments(config)))
    initialize_for_pretraining(net, word_frequencies(train.corpus, len(vocabulary)), mx.cpu())
    net.hybridize(static_alloc=True)

    class Reached(Exception):
        pass

    def stop(row):
        if row["step"] == EARLY_STEP:
            bt.save_pretrained(folder, net, vocabulary, config | {"bert_tutorial": {"tokenizer": tokenizer.settings}})
            raise Reached

    with suppress(Reached):
        bt.pretrain_loop(net, train, held_out, 7000, 2e-3, mx.cpu(), rounds=35, seed=1, on_round=stop)


if sys.argv[1:] == [f"small-{EARLY_STEP}"]:
    with TemporaryDirectory() as scratch:
        train_early(Path(scratch))
        ship(Path(scratch), sys.argv[1])
else:
    ship(Path(sys.argv[1]), sys.argv[2])
