"""Everything runs on the devices it is told to, one or several, where the default device cannot be used."""

from types import SimpleNamespace

from bert_tutorial import (
    BERTClassifier,
    BERTForPreTraining,
    BERTModel,
    FastTokenizer,
    Recipe,
    SentimentClassifier,
    evaluate,
    fill_mask,
    load_for_pretraining,
    load_pretrained,
    load_pretrained_heads,
    load_vocabulary,
    predict_sentiment,
    pretrain_loop,
    train_loop,
)
from bert_tutorial.course.transfer import LEARNERS, Task, compare
from bert_tutorial.machine import operators
from bert_tutorial.machine.cpu import cpu_flags
from bert_tutorial.machine.cuda import mxnet_has_cuda
from bert_tutorial.machine.devices import list_devices
from bert_tutorial.quantization import VNNI, quantize
from bert_tutorial.text.pretraining_examples import Examples
from bert_tutorial.text.sentence_pairs import tokenize_corpus
from bert_tutorial.training import checkpoint
from bert_tutorial.training.initialization import initialize_for_pretraining, word_frequencies

import mxnet as mx
import pytest
from mxnet import gluon

REVIEWS = [("great film", 1), ("awful film", 0)] * 4
TEXTS = [text for text, _ in REVIEWS[:2]]


@pytest.fixture(autouse=True)
def unusable_default():
    """Any array made without a device raises."""
    if mxnet_has_cuda():
        pytest.skip("the GPU build could use the device that must not be used")
    with mx.gpu(0):
        yield


@pytest.fixture(params=[mx.cpu(1), [mx.cpu(1), mx.cpu(2)]], ids=["one", "two"])
def ctx(request):
    """Gluon takes them for other devices than cpu(0)."""
    return request.param


def assert_on(net, ctx):
    assert all(parameter.list_ctx() == list_devices(ctx) for parameter in net.collect_params().values())


def test_fine_tuning_and_prediction(tiny_checkpoint, tmp_path, ctx):
    classifier = SentimentClassifier.from_pretrained(tiny_checkpoint, 16, ctx)
    train = classifier.batches(REVIEWS, 4, shuffle=True)
    options = {"valid_data": train, "recipe": Recipe(accumulate=2), "seed": 1, "checkpoint": tmp_path / "run"}
    loss_fn = gluon.loss.SoftmaxCELoss()
    train_loop(classifier.net, train, None, 2, 1e-3, ctx, loss_fn, **options)
    assert len(train_loop(classifier.net, train, None, 2, 1e-3, ctx, loss_fn, resume=True, **options)) == 2
    assert_on(classifier.net, ctx)
    assert evaluate(classifier.net, train, ctx).count == len(REVIEWS)
    classifier.save(tmp_path / "saved")
    loaded = SentimentClassifier.load(tmp_path / "saved", ctx)
    assert_on(loaded.net, ctx)
    assert loaded.predict(TEXTS) == pytest.approx(classifier.predict(TEXTS))
    label = predict_sentiment(loaded.net, ctx, loaded.vocabulary, loaded.tokenizer, TEXTS[0])
    assert label == ("positive" if loaded.predict(TEXTS[:1])[0] > 0.5 else "negative")


def test_a_checkpoint_is_of_no_device(tmp_path):
    """MXNet reads an array back to the GPU it was saved from; elsewhere there may be none of that number."""
    checkpoint.save_checkpoint(tmp_path / "run", {"weight": mx.nd.ones(2, mx.cpu(1))}, {})
    arrays, _ = checkpoint.load_checkpoint(tmp_path / "run")
    assert {array.context for array in arrays.values()} == {mx.cpu(0)}


def test_gluonnlp(tiny_checkpoint, ctx):
    bert, vocabulary = load_pretrained(tiny_checkpoint, ctx, backend="gluonnlp")
    net = BERTClassifier(bert, 2)
    net.classifier.initialize(ctx=ctx)
    assert_on(net, ctx)
    assert predict_sentiment(net, ctx, vocabulary, FastTokenizer(vocabulary), TEXTS[0]) in ("positive", "negative")


@pytest.mark.skipif(not (cpu_flags() & VNNI and operators.available()), reason="int8 needs VNNI and our operators")
def test_int8(tiny_checkpoint, ctx):
    classifier = SentimentClassifier.from_pretrained(tiny_checkpoint, 16, ctx)
    exact = classifier.predict(TEXTS)
    quantize(classifier.net)
    assert_on(classifier.net, ctx)
    assert classifier.predict(TEXTS) == pytest.approx(exact, abs=0.05)


def test_pre_training(tiny_checkpoint, tmp_path, ctx):
    vocabulary = load_vocabulary(tiny_checkpoint / "vocab.txt")
    documents = [SimpleNamespace(sentences=["the film was great", "the plot was not", "the acting was awful"] * 2)] * 4
    corpus = tokenize_corpus(documents, FastTokenizer(vocabulary))
    examples = Examples(corpus, vocabulary, 4, 32)
    net = BERTForPreTraining(BERTModel(len(vocabulary), 16, 32, 2, 1, 0.1, 32))
    initialize_for_pretraining(net, word_frequencies(examples.corpus, len(vocabulary)), ctx)
    net.hybridize(static_alloc=True)
    options = {"rounds": 2, "seed": 1, "checkpoint": tmp_path / "run"}
    history = pretrain_loop(net, examples, examples, 4, 1e-3, ctx, **options)
    resumed = pretrain_loop(net, examples, examples, 4, 1e-3, ctx, resume=True, **options)
    assert [row["mlm_loss"] for row in resumed] == [row["mlm_loss"] for row in history]
    assert_on(net, ctx)


def test_the_cpu_is_taken_if_no_device_is_named(tiny_checkpoint):
    loaded, _ = load_for_pretraining(tiny_checkpoint)
    fresh = BERTForPreTraining(BERTModel(9, 16, 32, 2, 1, 0.1, 32))
    initialize_for_pretraining(fresh, [1 / 9] * 9)
    for net in (loaded, fresh, SentimentClassifier.from_pretrained(tiny_checkpoint, 16).net):
        assert_on(net, mx.cpu())


def test_guessing_a_masked_word(ctx):
    text = "returns the [MASK] of the array"
    net, vocabulary = load_for_pretraining("small", ctx)
    assert_on(net, ctx)
    guesses = fill_mask(text, net, vocabulary)
    assert [word for word, _ in guesses] == [word for word, _ in fill_mask(text)]


def test_published_heads(ctx):
    bert, _ = load_pretrained("small", ctx)
    for head in load_pretrained_heads("small", bert, ctx):
        assert_on(head, ctx)


def test_comparing_two_starts(tiny_checkpoint, ctx):
    task = Task(("great", "awful"), REVIEWS, REVIEWS)
    results = compare(task, tiny_checkpoint, label_counts=(4,), seeds=1, lrs=(1e-3,), num_steps=2, ctx=ctx)
    assert [result.learner for result in results] == list(LEARNERS)
