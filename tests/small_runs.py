"""Small networks, data and trainings that several files of tests share."""

from bert_tutorial import (
    BERTClassifier,
    BERTForPreTraining,
    BERTModel,
    Recipe,
    pretrain_loop,
    seed_everything,
    train_loop,
)
from bert_tutorial.text.pretraining_examples import Examples
from bert_tutorial.text.sentence_pairs import tokenize_corpus
from bert_tutorial.text.vocabulary import learn_vocabulary
from bert_tutorial.text.wordpiece import FastTokenizer
from bert_tutorial.training.initialization import initialize_for_pretraining, word_frequencies

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

ONE = mx.cpu(0)
TWO = [mx.cpu(0), mx.cpu(1)]
THREE = [mx.cpu(2), mx.cpu(0), mx.cpu(1)]  # the first need not be cpu(0)
LOSS = gluon.loss.SoftmaxCELoss()
SPEED = ("seconds", "tokens_per_second")
SIZES = [4, 1, 5, 2, 3]  # of the batches: none is a multiple of three, and some have fewer samples than devices


def build(ctx, dropout=0.0, seed=1, hybridized=False):
    seed_everything(seed)
    net = BERTClassifier(BERTModel(30, 16, 32, 2, 2, dropout, max_length=16), 2, dropout)
    net.initialize(mx.init.Normal(0.3), ctx)
    if hybridized:
        net.hybridize(static_alloc=True)
    return net


def reviews(sizes, seed=0):
    random = np.random.RandomState(seed)
    columns = ((random.randint(10, 30, (n, 6)), random.randint(3, 7, n), np.zeros((n, 6)), None) for n in sizes)
    return [
        tuple(nd.array(random.randint(0, 2, len(words)) if c is None else c, dtype="float32") for c in (words, *rest))
        for words, *rest in columns
    ]


def fine_tune(net, ctx, loss=LOSS, lr=2e-3, valid=True, accumulate=1, **options):
    options |= {"valid_data": reviews([5, 1], seed=3) if valid else None, "recipe": Recipe(accumulate=accumulate)}
    return train_loop(net, reviews(SIZES), None, 3, lr, ctx, loss, seed=5, **options)


VERBS = ["sees", "likes", "follows", "finds"]


def make_examples(count, seed, **options):
    """Sentences of very different lengths: the devices' shares of the masked word pieces differ."""
    random = np.random.RandomState(seed)
    documents = [
        [f"the cat {' and '.join(random.choice(VERBS, random.choice([1, 9])))} the dog ." for _ in range(6)]
        for _ in range(count)
    ]
    corpus = [type("Document", (), {"sentences": sentences}) for sentences in documents]
    return Examples(tokenize_corpus(corpus, TOKENIZER), VOCABULARY, **{"batch_size": 5, "max_length": 40, **options})


VOCABULARY = learn_vocabulary(["the cat and the dog .", *VERBS] * 9, 60)
TOKENIZER = FastTokenizer(VOCABULARY)


def build_for_pretraining(ctx, dropout=0.0, hybridized=False):
    seed_everything(1)
    net = BERTForPreTraining(BERTModel(len(VOCABULARY), 16, 32, 2, 1, dropout, max_length=40))
    initialize_for_pretraining(net, word_frequencies(make_examples(9, 0).corpus, len(VOCABULARY)), ctx)
    if hybridized:
        net.hybridize(static_alloc=True)
    return net


def pretrain(net, ctx, train=None, next_sentence=True, **options):
    train = train or make_examples(9, 0, next_sentence=next_sentence)
    valid = make_examples(3, 1, next_sentence=next_sentence, batch_size=4)
    return pretrain_loop(net, train, valid, 8, 2e-3, ctx, rounds=2, seed=5, **options)


def parameters(net):
    """Of the first device, after a look at the copies on the others."""
    found = {}
    for name, parameter in net._collect_params_with_prefix().items():
        found[name], *others = (array.asnumpy() for array in parameter.list_data())
        for other in others:
            np.testing.assert_array_equal(other, found[name], err_msg=name)
    return found


def without_speed(history):
    return [{key: value for key, value in row.items() if key not in SPEED} for row in history]
