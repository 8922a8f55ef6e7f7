"""The two pre-training heads, the classifier, the tagger, and the head for answers."""

import warnings

from bert_tutorial import (
    BERTClassifier,
    BERTForQA,
    BERTModel,
    BERTTagger,
    MLMDecoder,
    NSClassifier,
    SentenceEncoder,
    TokenTagger,
    load_pretrained,
    seed_everything,
    train_loop,
)
from bert_tutorial.blocks import EncoderBlock
from bert_tutorial.heads import POOLINGS
from bert_tutorial.machine import operators
from bert_tutorial.tasks.answer import span_loss
from bert_tutorial.weights.names import network_parameters

import gluonnlp as nlp
import mxnet as mx
import numpy as np
import pytest
from golden_weights import GOLDEN, TOLERANCE
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import autograd, gluon, nd


@pytest.fixture(autouse=True)
def seed():
    seed_everything(5)


def encodings(samples=2, length=8, units=12):
    return nd.random.normal(shape=(samples, length, units))


@pytest.mark.parametrize("hybridize", [False, True])
def test_next_sentence_classifier_reads_the_first_position_only(hybridize):
    head = NSClassifier(units=12)
    head.initialize()
    if hybridize:
        head.hybridize()
    X = encodings()
    logits = head(X)
    assert logits.shape == (2, 1)
    X[:, 1:] = 0
    np.testing.assert_array_equal(head(X).asnumpy(), logits.asnumpy())
    loss = gluon.loss.SigmoidBinaryCrossEntropyLoss()(logits, nd.array([0, 1]))
    assert np.isfinite(loss.asnumpy()).all()


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 7)), min_size=1, max_size=12))
def test_decoder_scores_exactly_the_masked_positions(pairs):
    decoder = MLMDecoder(vocab_size=30, units=12)
    decoder.initialize()
    X = encodings()
    logits = decoder(X, nd.array(np.array(pairs).T))
    assert logits.shape == (len(pairs), 30)
    for row, (sample, position) in zip(logits, pairs, strict=True):
        alone = decoder.decoder(X[sample, position].reshape((1, -1)))
        np.testing.assert_allclose(row.asnumpy(), alone[0].asnumpy(), atol=1e-6)


def test_the_seeds_wrong_position_raises_at_the_call():
    decoder = MLMDecoder(vocab_size=30, units=12)
    decoder.initialize()
    with pytest.raises(IndexError, match="position 8"):
        decoder(encodings(), nd.array([[0, 1], [4, 8]]))


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("pair", [(2, 0), (-1, 0), (0, 8), (1, -1)])
def test_out_of_range_positions_raise(hybridize, pair):
    decoder = MLMDecoder(vocab_size=30, units=12)
    decoder.initialize()
    if hybridize:
        decoder.hybridize()
        decoder(encodings(), nd.array([[0], [0]]))
    with pytest.raises(IndexError, match=str(pair[1])):
        decoder(encodings(), nd.array([[0, pair[0]], [0, pair[1]]]))


@pytest.mark.parametrize("shape", [(3, 2), (2,), (1, 2, 2)])
def test_positions_of_a_wrong_shape_raise(shape):
    decoder = MLMDecoder(vocab_size=30, units=12)
    decoder.initialize()
    with pytest.raises(ValueError, match=r"\(2, M\)"):
        decoder(encodings(), nd.zeros(shape))


def test_tied_decoder_trains_the_word_embedding_from_both_sides():
    bert = BERTModel(30, 12, 24, 2, 1, 0.0, max_length=8)
    bert.initialize()
    decoder = MLMDecoder(30, 12, word_embed=bert.encoder.word_embed)
    assert decoder.decoder[3].weight is bert.encoder.word_embed.weight
    for layer in decoder.decoder[:3]:
        layer.initialize()
    decoder.decoder[3].bias.initialize()
    words = nd.array([[3, 4, 5]])
    with autograd.record():
        sequence, _ = bert(words, nd.zeros((1, 3)), None)
        loss = gluon.loss.SoftmaxCELoss()(decoder(sequence, nd.array([[0], [1]])), nd.array([9])).sum()
    loss.backward()
    gradient = bert.encoder.word_embed.weight.grad().asnumpy()
    assert abs(gradient[9]).max() > 0  # as an output
    assert abs(gradient[3]).max() > 0  # as an input


def make_bert(backend="ours", layers=1):
    """With weights that make the positions matter."""
    sizes = {"units": 12, "hidden_size": 24, "num_heads": 2, "num_layers": layers, "dropout": 0.1, "max_length": 8}
    if backend == "ours":
        bert = BERTModel(30, **sizes)
    else:
        encoder = nlp.model.BERTEncoder(**sizes)
        bert = nlp.model.BERTModel(
            encoder, 30, token_type_vocab_size=2, units=12, embed_size=12, use_decoder=False, use_classifier=False
        )
    bert.initialize(mx.init.Normal(0.5))
    return bert


WORDS, SEGMENTS, LENGTHS = [[3, 4, 5, 9], [6, 7, 1, 1], [2, 8, 9, 1]], np.zeros((3, 4)), [4, 2, 3]


def batch():
    return nd.array(WORDS), nd.array(SEGMENTS), nd.array(LENGTHS)


def vectors(pooling, sequence, pooled, lengths):
    """What each pooling gives of BERT's outputs, by hand."""
    if pooling == "mean":
        return np.stack([row[:length].mean(axis=0) for row, length in zip(sequence, lengths, strict=True)])
    return pooled if pooling == "pooler" else sequence[:, 0]


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("backend", ["ours", "gluonnlp"])
def test_classifier_takes_either_bert(backend, pooling, hybridize):
    net = BERTClassifier(make_bert(backend), 3, pooling=pooling)
    net.classifier.initialize(mx.init.Normal(0.5))
    words, segments, lengths = batch()
    expected = []
    for valid_length, counted in ((lengths, LENGTHS), (None, [4, 4, 4])):
        sequence, pooled = (array.asnumpy() for array in net.bert(words, segments, valid_length))
        X = vectors(pooling, sequence, pooled, counted)
        expected.append(X @ net.classifier.weight.data().asnumpy().T + net.classifier.bias.data().asnumpy())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as Gluon's of a parameter that is not used
        if hybridize:
            net.hybridize(static_alloc=True)
        for valid_length, logits in zip((lengths, None), expected, strict=True):
            np.testing.assert_allclose(net(words, segments, valid_length).asnumpy(), logits, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_hybridized_classifier_finds_the_sizes_that_gluonnlp_leaves_open(pooling):
    net = BERTClassifier(make_bert("gluonnlp"), 3, pooling=pooling)
    net.classifier.initialize()
    net.hybridize(static_alloc=True)
    first = net(*batch()).asnumpy()
    net.hybridize(False)
    np.testing.assert_allclose(net(*batch()).asnumpy(), first, atol=1e-6)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("backend", ["ours", "gluonnlp"])
def test_sentence_encoder_takes_either_bert(backend, pooling, hybridize):
    net = SentenceEncoder(make_bert(backend), pooling)
    words, segments, lengths = batch()
    expected = []
    for valid_length, counted in ((lengths, LENGTHS), (None, [4, 4, 4])):
        sequence, pooled = (array.asnumpy() for array in net.bert(words, segments, valid_length))
        X = vectors(pooling, sequence, pooled, counted)
        expected.append(X / np.linalg.norm(X, axis=1, keepdims=True))
    if hybridize:
        net.hybridize(static_alloc=True)
    for valid_length, X in zip((lengths, None), expected, strict=True):
        np.testing.assert_allclose(net(words, segments, valid_length).asnumpy(), X, atol=1e-6)


@pytest.mark.parametrize("make", [lambda bert, **how: BERTClassifier(bert, 3, **how), SentenceEncoder])
def test_an_unknown_pooling_is_refused(make):
    with pytest.raises(ValueError, match="pooling must be one of pooler, cls, mean; got 'max'"):
        make(make_bert(), pooling="max")


@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_stands_in_the_padding_does_not_matter(pooling):
    net = BERTClassifier(make_bert(), 3, pooling=pooling)
    net.classifier.initialize()
    words, segments, lengths = batch()
    logits = net(words, segments, lengths).asnumpy()
    words[1, 2:] = 20
    np.testing.assert_allclose(net(words, segments, lengths).asnumpy(), logits, atol=1e-6)
    alone = net(words[1:2, :2], segments[1:2, :2])
    np.testing.assert_allclose(alone.asnumpy(), logits[1:2], atol=1e-6)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("backend", ["ours", "gluonnlp"])
def test_training_leaves_a_pooler_alone_that_nobody_reads(backend, pooling, hybridize):
    net = BERTClassifier(make_bert(backend), 2, pooling=pooling)
    net.classifier.initialize()
    words, segments, lengths = batch()
    net(words, segments, lengths)  # GluonNLP's layers wait to see their input's size
    if hybridize:
        net.hybridize(static_alloc=True)
    before = {name: p.data().asnumpy() for name, p in net._collect_params_with_prefix().items()}
    data = [(words, lengths, segments, nd.array([0, 1, 1]))]
    train_loop(net, data, None, 2, 1e-2, mx.cpu(), gluon.loss.SoftmaxCELoss(), seed=1)
    after = {name: p.data().asnumpy() for name, p in net._collect_params_with_prefix().items()}
    same = {name for name in before if (before[name] == after[name]).all()}
    assert same == (set() if pooling == "pooler" else {"bert.pooler.weight", "bert.pooler.bias"})


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_last_block_computes_no_more_than_is_read(pooling, monkeypatch):
    net = BERTClassifier(make_bert(layers=2), 2, pooling=pooling)
    net.classifier.initialize()
    calls, encode_cls = [], EncoderBlock.encode_cls
    monkeypatch.setattr(EncoderBlock, "encode_cls", lambda *args: calls.append(1) or encode_cls(*args))
    net(*batch())
    assert len(calls) == (pooling != "mean")


def test_classifier_raises_out_of_range_even_when_hybridized():
    bert = BERTModel(30, 12, 24, 2, 1, 0.1, max_length=8)
    net = BERTClassifier(bert, 2)
    net.initialize()
    net.hybridize(static_alloc=True)
    segments = nd.zeros((1, 3))
    net(nd.array([[3, 4, 5]]), segments)
    with pytest.raises(IndexError, match="30"):
        net(nd.array([[3, 4, 30]]), segments)


def test_classifier_drops_out_in_training_only():
    bert = BERTModel(30, 12, 24, 2, 1, 0.0, max_length=8)
    net = BERTClassifier(bert, 2, dropout=0.9)
    net.initialize()
    inputs = nd.array([[3, 4, 5]]), nd.zeros((1, 3))
    np.testing.assert_array_equal(net(*inputs).asnumpy(), net(*inputs).asnumpy())
    with autograd.train_mode():
        outputs = {net(*inputs).asnumpy().tobytes() for _ in range(8)}
    assert len(outputs) > 1


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_classifier_equals_what_is_computed_from_the_whole_output(pooling, hybridize):
    """Logits and all gradients, against BERTModel's full output, also where the last block computes [CLS] alone."""
    bert = BERTModel(vocab_size=30, units=8, hidden_size=16, num_heads=2, num_layers=2, dropout=0.0)
    net = BERTClassifier(bert, 2, dropout=0.0, pooling=pooling)
    net.initialize()
    for parameter in net.collect_params().values():  # weights that make the positions matter
        parameter.set_data(nd.random.normal(0, 0.5, shape=parameter.shape))
    words, segments = nd.array(np.random.randint(0, 30, (3, 6))), nd.zeros((3, 6))
    valid_length = nd.array([6, 2, 4])
    results = []

    def from_whole_output():
        sequence, pooled = bert(words, segments, valid_length)
        means = [sequence[i, :length].mean(axis=0, keepdims=True) for i, length in enumerate((6, 2, 4))]
        means = nd.concat(*means, dim=0)
        return net.classifier({"pooler": pooled, "cls": sequence[:, 0], "mean": means}[pooling])

    for whole in (True, False):
        if hybridize and not whole:
            net.hybridize(static_alloc=True)
        with autograd.record():
            logits = from_whole_output() if whole else net(words, segments, valid_length)
            loss = (logits * nd.array([[1, -2], [3, 1], [-1, 2]])).sum()
        loss.backward()
        gradients = {name: p.grad().asnumpy() for name, p in net._collect_params_with_prefix().items()}
        results.append({"logits": logits.asnumpy(), **gradients})
    for name, expected in results[0].items():
        np.testing.assert_allclose(results[1][name], expected, atol=1e-4, err_msg=name)
    unused = {name for name, value in results[0].items() if np.abs(value).max() == 0 and "W_k.bias" not in name}
    assert unused == ({"bert.pooler.weight", "bert.pooler.bias"} if pooling != "pooler" else set())


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("backend", ["ours", "gluonnlp"])
def test_answers_take_either_bert_and_leave_its_pooler_alone(backend, hybridize):
    net = BERTForQA(make_bert(backend))
    net.classifier.initialize(mx.init.Normal(0.5))
    words, segments, lengths = batch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as Gluon's of a parameter that is not used
        if hybridize:
            net.hybridize(static_alloc=True)
        logits = net(words, segments, lengths).asnumpy()
        alone = net(words[1:2, :2], segments[1:2, :2]).asnumpy()
    assert logits.shape == (3, 4, 2)
    np.testing.assert_allclose(alone, logits[1:2, :2], atol=1e-6)  # what stands in the padding does not matter
    encodings = net.bert(words, segments, lengths)[0].asnumpy()
    expected = encodings @ net.classifier.weight.data().asnumpy().T + net.classifier.bias.data().asnumpy()
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    before = {name: p.data().asnumpy() for name, p in net._collect_params_with_prefix().items()}
    labels = nd.array([[1, 3, 4], [0, 1, 2], [2, 2, 3]])
    train_loop(net, [(words, lengths, segments, labels)], None, 2, 1e-2, mx.cpu(), span_loss, seed=1)
    after = {name: p.data().asnumpy() for name, p in net._collect_params_with_prefix().items()}
    same = {name for name in before if (before[name] == after[name]).all()}
    assert same == {"bert.pooler.weight", "bert.pooler.bias"}


def test_answers_out_of_range_raise_even_when_hybridized():
    net = BERTForQA(make_bert())
    net.classifier.initialize()
    net.hybridize(static_alloc=True)
    net(*batch())
    with pytest.raises(IndexError, match="30"):
        net(nd.array([[3, 4, 30]]), nd.zeros((1, 3)))


def assert_answers_as_hugging_face(folder, data, hybridize):
    """Logits, losses and gradients of all parameters but the pooler's, which theirs has not."""
    bert, _ = load_pretrained(folder)
    net = BERTForQA(bert)
    net.classifier.initialize()
    parameters = network_parameters(net, "qa_outputs")
    for name in ("qa_outputs.weight", "qa_outputs.bias"):
        parameters[name].set_data(nd.array(data[name]))
    if hybridize:
        net.hybridize(static_alloc=True)
    words, segments, lengths = (nd.array(data[key]) for key in ("words", "segments", "valid_length"))
    labels = nd.array(np.column_stack([data["labels"], data["valid_length"]]))
    with autograd.record(train_mode=False):
        logits = net(words, segments, lengths)
        losses = span_loss(logits, labels)
    losses.backward()
    valid = np.arange(words.shape[1]) < data["valid_length"][:, None]
    np.testing.assert_allclose(logits.asnumpy()[valid], data["logits"][valid], atol=TOLERANCE)
    np.testing.assert_allclose(losses.asnumpy(), data["losses"], atol=TOLERANCE)
    theirs = {name.removeprefix("gradient.").removeprefix("bert.") for name in data if name.startswith("gradient.")}
    assert set(parameters) - theirs == {"pooler.dense.weight", "pooler.dense.bias"}
    for name in theirs:
        expected = data[f"gradient.{name}" if name.startswith("qa") else f"gradient.bert.{name}"]
        found = parameters[name].grad().asnumpy()
        np.testing.assert_allclose(found, expected, atol=TOLERANCE * max(1, np.abs(expected).max()), err_msg=name)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("name", ["deep", "odd"])
def test_golden_answers(name, hybridize):
    with np.load(GOLDEN / name / "answers.npz") as data:
        assert data["valid_length"].min() < data["words"].shape[1], "the batch is padded"
        assert_answers_as_hugging_face(GOLDEN / name, data, hybridize)


@pytest.mark.parametrize("seed", range(300, 303))
def test_answers_of_hugging_face_of_today(tmp_path, seed):
    """As the golden files, with the torch and transformers that are installed, and shapes drawn afresh."""
    for package in ("torch", "transformers"):
        pytest.importorskip(package)
    from golden import make_golden

    rng = np.random.default_rng(seed)
    num_heads = int(rng.integers(1, 9))
    units = num_heads * int(rng.integers(1, 17))
    shape = (rng.integers(6, 500), units, rng.integers(1, 200), num_heads, rng.integers(1, 6), rng.integers(4, 80))
    model = make_golden.make_model([int(size) for size in shape], seed)
    make_golden.save_checkpoint(model, tmp_path)
    assert_answers_as_hugging_face(tmp_path, make_golden.answer(model, seed), hybridize=seed % 2)


# The tagger


def make_tagger(backend="ours"):
    net = BERTTagger(make_bert(backend), 5)
    net.classifier.initialize(mx.init.Normal(0.5))
    return net


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("backend", ["ours", "gluonnlp"])
def test_a_tagger_reads_every_position_of_either_bert(backend, hybridize):
    net = make_tagger(backend)
    words, segments, lengths = batch()
    sequences = [net.bert(words, segments, valid_length)[0].asnumpy() for valid_length in (lengths, None)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as Gluon's of the pooler, which is not used
        if hybridize:
            net.hybridize(static_alloc=True)
        for valid_length, sequence in zip((lengths, None), sequences, strict=True):
            logits = net(words, segments, valid_length).asnumpy()
            expected = sequence @ net.classifier.weight.data().asnumpy().T + net.classifier.bias.data().asnumpy()
            assert logits.shape == (3, 4, 5)
            np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_a_tagger_does_not_see_the_padding():
    net = make_tagger()
    words, segments, lengths = batch()
    logits = net(words, segments, lengths).asnumpy()
    words[1, 2:] = 20
    np.testing.assert_allclose(net(words, segments, lengths).asnumpy()[1, :2], logits[1, :2], atol=1e-6)
    alone = net(words[1:2, :2], segments[1:2, :2])
    np.testing.assert_allclose(alone.asnumpy(), logits[1:2, :2], atol=1e-6)


def test_a_hybridized_tagger_checks_its_inputs():
    net = make_tagger()
    net.hybridize(static_alloc=True)
    words, segments, lengths = batch()
    net(words, segments, lengths)
    with pytest.raises(IndexError, match="word id 30 is out of range"):
        net(words * 0 + 30, segments, lengths)
    with pytest.raises(IndexError, match="segment 2 is out of range"):
        net(words, segments + 2, lengths)
    with pytest.raises(ValueError, match="valid lengths must lie between 1 and 4"):
        net(words, segments, lengths + 1)


def differences_of_tagger(net, data):
    """Of the logits, largest; of the loss and of all gradients by name, relative; from make_golden.tag's."""
    labels = nd.array(data["labels"])
    num_words = (labels >= 0).sum(axis=1)  # (B,)
    with autograd.record(train_mode=False):  # no dropout
        logits = net(*(nd.array(data[name]) for name in ("words", "segments", "valid_length")))
        losses = TokenTagger.loss(None)(logits, labels)  # the mean over a sentence's words, (B,)
        loss = (losses * num_words).sum() / num_words.sum()  # theirs: over all words
    loss.backward()
    valid = np.arange(labels.shape[1]) < data["valid_length"][:, None]
    found = {
        "logits": np.abs(logits.asnumpy() - data["logits"])[valid].max(),
        "loss": abs(loss.asscalar() / data["loss"] - 1),
    }
    expected = {name.removeprefix("gradient.").removeprefix("bert."): data[name] for name in data if "gradient" in name}
    parameters = network_parameters(net, "classifier")
    assert parameters.keys() - expected.keys() == {"pooler.dense.weight", "pooler.dense.bias"}  # they have none
    for name, gradient in expected.items():
        # attention does not change when all keys move alike: the true gradient of their bias is 0
        scale = np.linalg.norm(expected[name.replace("self.key.bias", "self.query.bias")])
        found[name] = np.linalg.norm(parameters[name].grad().asnumpy() - gradient) / scale
    return found


def assert_tags_as_hugging_face(net, data):
    assert data["valid_length"].min() < data["words"].shape[1], "the batch is padded"
    assert (data["labels"] < 0).any()
    for name, difference in differences_of_tagger(net, data).items():
        assert difference < (TOLERANCE if name == "logits" else 1e-4), name


@pytest.mark.parametrize("form", ["compiled", "plain"])
@pytest.mark.parametrize("hybridize", [False, True])
def test_a_tagger_has_hugging_faces_logits_and_gradients(hybridize, form, monkeypatch):
    monkeypatch.setenv("BERT_TUTORIAL_OPERATORS", form)
    if form == "compiled" and not operators.available():
        pytest.skip(operators.status()[1])
    net = BERTTagger(load_pretrained(GOLDEN / "odd")[0], 5)
    net.classifier.initialize()
    if hybridize:
        net.hybridize(static_alloc=True)
    with np.load(GOLDEN / "odd" / "tagging.npz") as data:
        for kind in ("weight", "bias"):
            getattr(net.classifier, kind).set_data(nd.array(data[kind]))
        assert_tags_as_hugging_face(net, data)


@pytest.mark.parametrize("seed", [300, 301])
def test_hugging_face_of_today_reads_a_taggers_folder_and_trains_alike(tmp_path, seed):
    """From our weights to its logits, loss and gradients."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from golden import make_golden

    seed_everything(seed)
    labels = ["O", "B-film", "I-film", "B-day", "I-day"]
    tagger = TokenTagger.from_pretrained(GOLDEN / ("odd" if seed % 2 else "deep"), 16, labels=labels)
    tagger.net.classifier.initialize(mx.init.Normal(0.5), force_reinit=True)
    tagger.save(tmp_path)
    model, loading = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert type(model).__name__ == "BertForTokenClassification"
    assert not loading["missing_keys"]
    assert set(loading["unexpected_keys"]) == {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert list(model.config.id2label.values()) == labels
    assert_tags_as_hugging_face(TokenTagger.load(tmp_path).net, make_golden.tag(model.eval(), seed))
