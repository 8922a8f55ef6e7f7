"""The pre-training model: its losses and gradients against Hugging Face's, saved and loaded."""

import stat
from pathlib import Path

from bert_tutorial import (
    BERTModel,
    MLMDecoder,
    load_for_pretraining,
    load_pretrained,
    load_pretrained_heads,
    load_vocabulary,
    pretrained_config,
    save_pretrained,
    seed_everything,
)
from bert_tutorial.heads import BERTForPreTraining, PretrainingLoss
from bert_tutorial.machine import operators
from bert_tutorial.weights import sources
from bert_tutorial.weights.config import model_arguments, read_config
from bert_tutorial.weights.folder import WEIGHTS_FILES, read_tensors
from bert_tutorial.weights.names import pretraining_parameters

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import autograd, nd
from safetensors.numpy import load_file, save_file

GOLDEN = Path(__file__).parent / "golden"
TRAINED = ("deep", "odd")
TOLERANCE = 1e-4
ONE_LOGIT = {"cls.seq_relationship.weight", "cls.seq_relationship.bias"}


def train_step(net, data):
    """Both losses, and the gradients of their sum under Hugging Face's names without `bert.`, as arrays."""
    model_inputs = [nd.array(data[key]) for key in ("words", "segments", "valid_length", "masked_positions")]
    labels = [nd.array(data[key]) for key in ("masked_labels", "masked_weights", "ns_labels")]
    with autograd.record(train_mode=False):  # no dropout
        mlm_loss, ns_loss = PretrainingLoss()(*net(*model_inputs), *labels)
        loss = mlm_loss + ns_loss
    loss.backward()
    gradients = {name: parameter.grad().asnumpy() for name, parameter in pretraining_parameters(net).items()}
    return mlm_loss.asscalar(), ns_loss.asscalar(), gradients


def differences(found, data):
    """Relative differences of `train_step`'s results from make_golden.train's, by name."""
    mlm_loss, ns_loss, gradients = found
    expected = {
        name.removeprefix("gradient.").removeprefix("bert."): data[name] for name in data if "gradient." in name
    }
    for name in ONE_LOGIT:  # IsNext's row: our logit grows with it
        np.testing.assert_allclose(expected[name][0], -expected[name][1], atol=1e-6)
        expected[name] = expected[name][:1]
    assert gradients.keys() == expected.keys()
    result = {f"{key}_loss": abs(loss / data[f"{key}_loss"] - 1) for key, loss in (("mlm", mlm_loss), ("ns", ns_loss))}
    for name, gradient in gradients.items():
        # attention does not change when all keys move alike: the true gradient of their bias is 0
        scale = np.linalg.norm(expected[name.replace("self.key.bias", "self.query.bias")])
        result[name] = np.linalg.norm(gradient - expected[name]) / scale
    return result


def assert_same_as_hugging_face(net, data):
    for name, difference in differences(train_step(net, data), data).items():
        assert difference < TOLERANCE, name


@pytest.fixture(params=["own operators", "plain"])
def either_operators(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(operators, "available", lambda: False)


@pytest.mark.usefixtures("either_operators")
@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("name", TRAINED)
def test_golden_losses_and_gradients(name, hybridize):
    net, _ = load_for_pretraining(GOLDEN / name)
    if hybridize:
        net.hybridize(static_alloc=True)
    with np.load(GOLDEN / name / "training.npz") as data:
        assert data["valid_length"].min() < data["words"].shape[1], "the batch is padded"
        assert 0 in data["masked_weights"]
        assert_same_as_hugging_face(net, data)


def fresh_net(vocab_size=40, units=12, hidden_size=20, num_heads=3, num_layers=2, max_length=16, seed=3):
    """A net whose every parameter is random, its vocabulary, and its configuration."""
    config = pretrained_config(vocab_size, units, hidden_size, num_heads, num_layers, 0.1, max_length)
    net = BERTForPreTraining(BERTModel(**model_arguments(config)))
    net.initialize()
    rng = np.random.default_rng(seed)
    for name, parameter in pretraining_parameters(net).items():
        values = rng.normal("LayerNorm.weight" in name, 0.2, parameter.shape)
        parameter.set_data(nd.array(values))
    return net, config


@pytest.fixture
def vocabulary(tmp_path):
    return make_vocabulary(tmp_path / "words.txt")


def make_vocabulary(path, size=40):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{i}" for i in range(size - 5))]
    path.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return load_vocabulary(path)


def hugging_face(folder):
    """Hugging Face's BertForPreTraining, which took every tensor of the folder and lacks none."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model, loading = transformers.BertForPreTraining.from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32
    )
    assert not any(loading.values()), loading
    return model.eval()


@pytest.mark.parametrize("seed", range(200, 204))
def test_hugging_face_of_today_reads_and_trains_our_folder_alike(tmp_path, seed):
    """Shapes drawn afresh; from our weights to its losses and gradients."""
    for package in ("torch", "transformers"):
        pytest.importorskip(package)
    from golden import make_golden

    rng = np.random.default_rng(seed)
    num_heads = int(rng.integers(1, 9))
    shape = {
        "vocab_size": int(rng.integers(6, 500)),
        "units": num_heads * int(rng.integers(2, 17)),
        "hidden_size": int(rng.integers(2, 200)),
        "num_heads": num_heads,
        "num_layers": int(rng.integers(1, 6)),
        "max_length": int(rng.integers(4, 80)),
    }
    net, config = fresh_net(**shape, seed=seed)
    save_pretrained(tmp_path, net, make_vocabulary(tmp_path / "words.txt", shape["vocab_size"]), config)
    data = make_golden.train(hugging_face(tmp_path), seed)
    assert_same_as_hugging_face(net, data)


@pytest.mark.network
def test_minilm_trains_as_hugging_faces_does(minilm, tmp_path):
    """Real weights under random heads."""
    for package in ("torch", "transformers"):
        pytest.importorskip(package)
    from golden import make_golden

    seed_everything(4)
    net, vocabulary = load_for_pretraining(minilm)
    save_pretrained(tmp_path, net, vocabulary, read_config(minilm))
    data = make_golden.train(hugging_face(tmp_path), 4, num_samples=8, length=128)
    found = differences(train_step(net, data), data)
    worst = max(found, key=found.get)
    print(f"MLM loss {data['mlm_loss']}, NSP loss {data['ns_loss']}; largest difference {found[worst]:.1e}, of {worst}")
    assert found[worst] < TOLERANCE


def random_batch(net, seed, num_slots=9):
    rng = np.random.default_rng(seed)
    vocab_size = net.bert.encoder.vocab_size
    return {
        "words": rng.integers(vocab_size, size=(3, 10)),
        "segments": rng.integers(2, size=(3, 10)),
        "valid_length": np.array([10, 6, 2]),
        "masked_positions": rng.integers([[3], [10]], size=(2, num_slots)),
        "masked_labels": rng.integers(vocab_size, size=num_slots),
        "masked_weights": np.arange(num_slots) % 3 > 0,
        "ns_labels": rng.integers(2, size=3),
    }


@settings(max_examples=25)
@given(st.lists(st.booleans(), min_size=2, max_size=9).filter(any), st.integers(0, 999))
def test_slots_of_weight_0_have_no_gradient_at_all(weights, seed):
    rng = np.random.default_rng(seed)
    logits = nd.array(rng.normal(0, 5, (len(weights), 30)))
    logits.attach_grad()
    labels = nd.array(rng.integers(30, size=len(weights)))
    with autograd.record():
        mlm_loss, _ = PretrainingLoss()(logits, nd.zeros((2, 1)), labels, nd.array(weights), nd.ones(2))
    mlm_loss.backward()
    counted = (logits.grad.asnumpy() != 0).any(axis=1)
    np.testing.assert_array_equal(counted, weights)


@pytest.mark.usefixtures("either_operators")
def test_what_stands_in_slots_of_weight_0_changes_no_gradient():
    net, _ = fresh_net()
    batch = random_batch(net, 1)
    unused = batch["masked_weights"] == 0
    other = {key: array.copy() for key, array in batch.items()}
    other["masked_positions"][:, unused] = 0
    other["masked_labels"][unused] = 0
    *losses, gradients = train_step(net, batch)
    *other_losses, other_gradients = train_step(net, other)
    assert losses == other_losses
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, other_gradients[name], err_msg=name)


def test_tied_embeddings_gradient_is_the_sum_of_both_uses():
    name = "embeddings.word_embeddings.weight"
    net, _ = fresh_net()
    batch = random_batch(net, 2)
    tied = train_step(net, batch)[2][name]
    untied, _ = fresh_net()
    untied.mlm_decoder = MLMDecoder(40, 12)
    untied.mlm_decoder.initialize()
    for theirs, parameter in pretraining_parameters(untied).items():
        parameter.set_data(pretraining_parameters(net)[theirs].data())
    output_weight = untied.mlm_decoder.decoder[3].weight
    output_weight.set_data(net.bert.encoder.word_embed.weight.data())
    as_input = train_step(untied, batch)[2][name]
    as_output = output_weight.grad().asnumpy()
    for use in (as_input, as_output):
        assert np.linalg.norm(use) > 0.01 * np.linalg.norm(tied)
    np.testing.assert_allclose(as_input + as_output, tied, atol=1e-5 * np.abs(tied).max())


# --- loading a checkpoint to pre-train it ---


def assert_shared(net):
    assert net.mlm_decoder.decoder[3].weight is net.bert.encoder.word_embed.weight
    for kind in ("weight", "bias"):
        pooler, first = net.bert.pooler, net.ns_classifier.classifier[0]
        assert getattr(first, kind) is getattr(pooler, kind)


def test_published_heads_are_loaded_and_shared():
    folder = GOLDEN / "old-names"
    net, vocabulary = load_for_pretraining(folder, ctx=mx.cpu(1))
    assert len(vocabulary) == net.bert.encoder.vocab_size
    assert_shared(net)
    for parameter in net.collect_params().values():
        assert parameter.list_ctx() == [mx.cpu(1)]
        assert parameter.grad_req == "write"
    with np.load(folder / "io.npz") as data:
        keys = ("words", "segments", "valid_length", "masked_positions")
        mlm_logits, ns_logits = net(*(nd.array(data[key], ctx=mx.cpu(1)) for key in keys))
        two_way = data["two_way"]
        assert np.abs(mlm_logits.asnumpy() - data["mlm_logits"]).max() < 2e-5
        assert np.abs(ns_logits.asnumpy() - (two_way[:, :1] - two_way[:, 1:])).max() < 2e-5


def test_separate_heads_share_with_bert():
    bert, _ = load_pretrained(GOLDEN / "odd")
    ns_classifier, mlm_decoder = load_pretrained_heads(GOLDEN / "odd", bert)
    assert ns_classifier.classifier[0].weight is bert.pooler.weight
    assert mlm_decoder.decoder[3].weight is bert.encoder.word_embed.weight


def test_fresh_heads_where_none_were_published(tiny_checkpoint):
    seed_everything(1)
    net, _ = load_for_pretraining(tiny_checkpoint)
    assert_shared(net)
    published = {
        name.removeprefix("bert."): tensor for name, tensor in load_file(tiny_checkpoint / WEIGHTS_FILES[2]).items()
    }
    for name, parameter in pretraining_parameters(net).items():
        values = parameter.data().asnumpy()
        if name in published:
            np.testing.assert_array_equal(values, published[name])
        elif name.endswith("LayerNorm.weight"):
            assert (values == 1).all()
        elif name.endswith("weight"):
            assert 0.01 < values.std() < 0.03
        else:
            assert (values == 0).all()
    batch = random_batch(net, 5)
    mlm_loss, ns_loss, gradients = train_step(net, batch)
    assert np.isfinite([mlm_loss, ns_loss]).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())


@pytest.mark.parametrize("missing", ["cls.predictions", "cls.seq_relationship"])
def test_one_head_alone_is_refused(tmp_path, missing):
    for file in WEIGHTS_FILES:
        (tmp_path / file).write_bytes((GOLDEN / "one-layer" / file).read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if not k.startswith(missing)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=missing):
        load_for_pretraining(tmp_path)


def test_missing_folder():
    with pytest.raises(FileNotFoundError, match="no/such"):
        load_for_pretraining("no/such")


def test_small_comes_with_the_course(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "shipped_file", lambda name: GOLDEN / "odd" if name == "small" else None)
    _, vocabulary = load_for_pretraining("small")
    assert len(vocabulary) == 61
    monkeypatch.setattr(sources, "shipped_file", lambda name: tmp_path / name)
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "small")):
        load_pretrained("small")


# --- saving ---


def assert_equal_parameters(net, other):
    others = pretraining_parameters(other)
    for name, parameter in pretraining_parameters(net).items():
        np.testing.assert_array_equal(parameter.data().asnumpy(), others[name].data().asnumpy(), err_msg=name)


def test_round_trip_bit_for_bit(tmp_path, vocabulary):
    net, config = fresh_net()
    folder = tmp_path / "new" / "folder"
    save_pretrained(folder, net, vocabulary, config)
    assert sorted(path.name for path in folder.iterdir()) == sorted(WEIGHTS_FILES)
    assert {stat.S_IMODE(path.stat().st_mode) & 0o444 for path in folder.iterdir()} == {0o444}, "all may read"
    loaded, loaded_vocabulary = load_for_pretraining(folder)
    assert_equal_parameters(net, loaded)
    assert loaded_vocabulary.idx_to_token == vocabulary.idx_to_token
    assert model_arguments(read_config(folder)) == model_arguments(config)
    bert, _ = load_pretrained(folder, backend="gluonnlp")
    np.testing.assert_array_equal(bert.pooler.weight.data().asnumpy(), net.bert.pooler.weight.data().asnumpy())
    bert, _ = load_pretrained(folder)
    ns_classifier, _ = load_pretrained_heads(folder, bert)
    logit = net.ns_classifier.classifier[1].weight.data().asnumpy()
    np.testing.assert_array_equal(ns_classifier.classifier[1].weight.data().asnumpy(), logit)


def test_published_checkpoint_saved_again_is_the_same_but_for_the_two_way_head(tmp_path):
    net, vocabulary = load_for_pretraining(GOLDEN / "deep")
    save_pretrained(tmp_path, net, vocabulary, read_config(GOLDEN / "deep"))
    found, expected = (load_file(folder / "model.safetensors") for folder in (tmp_path, GOLDEN / "deep"))
    assert found.keys() == expected.keys()
    for name in found.keys() - ONE_LOGIT:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    for name in ONE_LOGIT:
        np.testing.assert_array_equal(found[name][0] - found[name][1], expected[name][0] - expected[name][1])
    assert (tmp_path / "vocab.txt").read_bytes() == (GOLDEN / "deep" / "vocab.txt").read_bytes()


def test_same_weights_give_the_same_bytes(tmp_path, vocabulary):
    for folder in ("a", "b"):  # blocks made twice have other names
        net, config = fresh_net()
        save_pretrained(tmp_path / folder, net, vocabulary, config)
    for file in WEIGHTS_FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_saving_replaces_what_was_there_and_leaves_it_alone_on_an_error(tmp_path, vocabulary):
    net, config = fresh_net(seed=1)
    save_pretrained(tmp_path, net, vocabulary, config)
    before = {file: (tmp_path / file).read_bytes() for file in WEIGHTS_FILES}
    other, _ = fresh_net(seed=2)
    other.bert.pooler.bias.set_data(nd.full(12, np.nan))
    with pytest.raises(ValueError, match=r"pooler\.dense\.bias"):
        save_pretrained(tmp_path, other, vocabulary, config)
    assert before == {file: (tmp_path / file).read_bytes() for file in WEIGHTS_FILES}
    other, _ = fresh_net(seed=2)
    save_pretrained(tmp_path, other, vocabulary, config)
    assert_equal_parameters(other, load_for_pretraining(tmp_path)[0])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vocab_size", 41),
        ("hidden_size", 24),
        ("intermediate_size", 21),
        ("num_attention_heads", 4),
        ("num_hidden_layers", 1),
        ("max_position_embeddings", 17),
        ("hidden_act", "relu"),
    ],
)
def test_configuration_of_another_net(tmp_path, vocabulary, key, value):
    net, config = fresh_net()
    with pytest.raises(ValueError, match=key):
        save_pretrained(tmp_path / "model", net, vocabulary, config | {key: value})
    assert not (tmp_path / "model").exists()


def test_vocabulary_of_another_size(tmp_path, vocabulary):
    net, config = fresh_net()
    with pytest.raises(ValueError, match="39 tokens"):
        save_pretrained(tmp_path / "model", net, make_vocabulary(tmp_path / "short.txt", 39), config)
    assert not (tmp_path / "model").exists()


@given(st.tuples(*[st.integers(1, 10**6)] * 5), st.floats(0, 0.9), st.integers(1, 10**4))
def test_pretrained_config_gives_the_settings_back(sizes, dropout, max_length):
    names = ("vocab_size", "units", "hidden_size", "num_heads", "num_layers")
    arguments = dict(zip(names, sizes, strict=True)) | {"dropout": dropout, "max_length": max_length}
    arguments["units"] *= arguments["num_heads"]
    assert model_arguments(pretrained_config(**arguments)) == arguments


def test_hugging_face_reads_it_and_its_dropout_is_ours(tmp_path, vocabulary):
    pytest.importorskip("torch")
    net, config = fresh_net()
    save_pretrained(tmp_path, net, vocabulary, config)
    theirs = hugging_face(tmp_path)
    assert theirs.config.attention_probs_dropout_prob == theirs.config.hidden_dropout_prob == 0.1
    saved = read_tensors(tmp_path)
    for name, tensor in theirs.named_parameters():
        np.testing.assert_array_equal(tensor.detach().numpy(), saved[name.removeprefix("bert.")])
    assert theirs.cls.predictions.decoder.weight is theirs.bert.embeddings.word_embeddings.weight
