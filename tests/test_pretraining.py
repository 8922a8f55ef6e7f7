"""The pre-training model: its losses and gradients against Hugging Face's."""

from bert_tutorial import MLMDecoder, load_for_pretraining, save_pretrained, seed_everything
from bert_tutorial.heads import PretrainingLoss
from bert_tutorial.machine import operators
from bert_tutorial.weights.config import read_config
from bert_tutorial.weights.names import pretraining_parameters

import numpy as np
import pytest
from golden_weights import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet import autograd, nd
from pretraining_nets import ONE_LOGIT, fresh_net, hugging_face, make_vocabulary, random_batch, train_step

TRAINED = ("deep", "odd")
TOLERANCE = 1e-4


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
