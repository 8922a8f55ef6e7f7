"""What is saved is what is loaded, here and by Hugging Face."""

import stat

from bert_tutorial import load_for_pretraining, load_pretrained, load_pretrained_heads, save_pretrained
from bert_tutorial.weights.config import model_arguments, read_config
from bert_tutorial.weights.folder import WEIGHTS_FILES, read_tensors
from bert_tutorial.weights.names import pretraining_parameters

import numpy as np
import pytest
from golden_weights import GOLDEN
from mxnet import nd
from pretraining_nets import ONE_LOGIT, fresh_net, hugging_face, make_vocabulary
from safetensors.numpy import load_file


@pytest.fixture
def vocabulary(tmp_path):
    return make_vocabulary(tmp_path / "words.txt")


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
