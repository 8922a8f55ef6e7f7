"""Nets to pre-train: a random one, one step of it, and Hugging Face's of the same folder."""

from bert_tutorial import BERTModel, load_vocabulary, pretrained_config
from bert_tutorial.heads import BERTForPreTraining, PretrainingLoss
from bert_tutorial.weights.config import model_arguments
from bert_tutorial.weights.names import pretraining_parameters

import numpy as np
import pytest
from mxnet import autograd, nd

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
