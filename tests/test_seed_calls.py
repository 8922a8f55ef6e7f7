"""The calls a reader of the original tutorial knows, on GluonNLP's own model, transforms and loaders."""

from bert_tutorial import (
    AddNorm,
    BERTClassifier,
    EncoderBlock,
    MultiHeadAttention,
    PositionalEncoding,
    PositionWiseFFN,
    load_pretrained,
    load_reviews,
    predict_sentiment,
    train_loop,
)

import gluonnlp as nlp
import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon, nd


def test_blocks_of_the_transformer_notebook():
    X = nd.random.normal(shape=(2, 8, 24))
    blocks = [PositionalEncoding(24, 0.5), PositionWiseFFN(24, 48), EncoderBlock(24, 48, 8, 0.5)]
    for block in blocks:
        block.initialize()
        assert block(X).shape == X.shape
    attention, add_norm = MultiHeadAttention(24, 8, 0.5), AddNorm(0.5)
    attention.initialize()
    add_norm.initialize()
    assert add_norm(X, attention(X, X, X, None)).shape == X.shape


@pytest.mark.parametrize("backend", ["bert_tutorial", "gluonnlp"])
def test_fine_tuning_with_gluonnlps_transforms(tiny_checkpoint, backend):
    ctx = mx.cpu()
    bert, vocabulary = load_pretrained(tiny_checkpoint, ctx, backend=backend)
    net = BERTClassifier(bert, 2)
    net.classifier.initialize(ctx=ctx)
    tokenizer = nlp.data.BERTTokenizer(vocabulary)
    transform = nlp.data.BERTSentenceTransform(tokenizer, 48, pad=False, pair=False)

    def transform_fn(text, label):
        data, length, segment_type = transform([text])
        return data.astype("float32"), length.astype("float32"), segment_type.astype("float32"), label

    padding_id = vocabulary[vocabulary.padding_token]
    batchify_fn = nlp.data.batchify.Tuple(
        nlp.data.batchify.Pad(axis=0, pad_val=padding_id),
        nlp.data.batchify.Stack(),
        nlp.data.batchify.Pad(axis=0, pad_val=0),
        nlp.data.batchify.Stack(np.float32),
    )
    train_data, test_data = (
        gluon.data.DataLoader(
            load_reviews(split, limit=20).transform(transform_fn, lazy=False),
            batchify_fn=batchify_fn,
            shuffle=split == "train",
            batch_size=8,
        )
        for split in ("train", "test")
    )
    history = train_loop(net, train_data, test_data, 2, 1e-3, ctx, gluon.loss.SoftmaxCELoss())
    assert len(history) == 2
    assert np.isfinite(history[-1]["test_loss"])
    answer = predict_sentiment(net, ctx, vocabulary, tokenizer, "this movie is so great", max_length=48)
    assert answer in ("positive", "negative")
