"""The seed's own way: GluonNLP's BERT, not hybridized, MXNet's own threads and BLAS kernels; only `numpy.bool` mended.

It does not import `bert_tutorial`, which would choose threads and kernels. Runs in .venv; see `common.py`.
"""

import json
from pathlib import Path

import numpy as np

np.bool = np.bool_  # MXNet 1.9.1 cannot be imported without it

import gluonnlp as nlp  # noqa: E402
from mxnet import autograd, gluon, nd  # noqa: E402

from .common import NUM_CLASSES, make_batch, make_head, run_job, timed_steps  # noqa: E402


def predict(channel, folder, parameters, batch_size, length):
    """Answer with the logits, then time predictions of one batch."""
    net, (words, valid_length, segments, _) = _load(folder, parameters, batch_size, length)
    channel.reply(logits=net(words, segments, valid_length).asnumpy().tolist())
    for _ in timed_steps(channel):
        net(words, segments, valid_length).wait_to_read()


def train(channel, folder, parameters, batch_size, length):
    """Time training steps on one batch."""
    net, (words, valid_length, segments, labels) = _load(folder, parameters, batch_size, length)
    loss_fn = gluon.loss.SoftmaxCELoss()
    trainer = gluon.Trainer(net.collect_params(), "bertadam", {"learning_rate": 2e-5, "wd": 0.01}, kvstore=None)
    trained = [parameter for parameter in net.collect_params().values() if parameter.grad_req != "null"]
    channel.reply(ready=True)
    for _ in timed_steps(channel, wait=nd.waitall):
        with autograd.record():
            loss = loss_fn(net(words, segments, valid_length), labels).mean()
        loss.backward()
        nlp.utils.clip_grad_global_norm(trained, 1)
        trainer.update(1)
        loss.asscalar()


def _load(folder, parameters, batch_size, length):
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    units = config["hidden_size"]
    encoder = nlp.model.BERTEncoder(
        units=units,
        hidden_size=config["intermediate_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        max_length=config["max_position_embeddings"],
        dropout=config["hidden_dropout_prob"],
        layer_norm_eps=1e-12,
    )
    bert = nlp.model.BERTModel(
        encoder,
        vocab_size=config["vocab_size"],
        token_type_vocab_size=2,
        units=units,
        embed_size=units,
        use_decoder=False,
        use_classifier=False,
    )
    bert.load_parameters(parameters)
    net = nlp.model.BERTClassifier(bert, num_classes=NUM_CLASSES, dropout=0.1)
    net.classifier.initialize()
    net.classifier[-1](nd.zeros((1, units)))
    net.classifier[-1].weight.set_data(nd.array(make_head(units)))
    words, valid_length, labels = make_batch(config["vocab_size"], batch_size, length)
    arrays = (words, valid_length.astype("float32"), np.zeros_like(words), labels.astype("float32"))
    return net, tuple(nd.array(array, dtype=array.dtype) for array in arrays)


if __name__ == "__main__":
    run_job(predict, train)
