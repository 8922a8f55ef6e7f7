"""A sentiment classifier: the two-class case of the task that `train_loop` and the notebooks are about."""

import gluonnlp as nlp
import mxnet as mx
import numpy as np
from mxnet import nd

from .heads import BERTClassifier
from .machine.devices import list_devices
from .tasks.model import TaskModel, label_names
from .text.batches import encode_dataset, make_loader

LABELS = ("negative", "positive")


class SentimentClassifier(TaskModel):
    """BERT with a two-class head, class 0 negative and class 1 positive, and what turns text into its input.

    Attributes
    ----------
    net : BERTClassifier
    vocabulary : gluonnlp.vocab.BERTVocab
    config : dict
        Hugging Face's configuration of the BERT inside; `config["bert_tutorial"]` holds our own settings.
    ctx : mxnet.Context or list of mxnet.Context
        Where the network is.
    """

    task = "sentiment"

    @classmethod
    def describe_answers(cls):
        """See `TaskModel`."""
        return label_names(LABELS)

    @classmethod
    def make_net(cls, bert, config):
        """See `TaskModel`."""
        return BERTClassifier(bert, num_classes=len(LABELS), pooling=config["bert_tutorial"]["pooling"])

    def encode(self, dataset, cached=True):
        """Of (text, label) pairs, label 0 or 1; `cached` as for `encode_dataset`."""
        return encode_dataset(dataset, self.tokenizer, self.max_length, cached)

    def batches(self, dataset, batch_size, shuffle=False, cached=True):
        """Serve (text, label) pairs as `train_loop` and `evaluate` take them; `cached` as for `encode_dataset`."""
        return make_loader(self.encode(dataset, cached), self.vocabulary, batch_size, shuffle, self.max_length)

    def predict(self, texts, batch_size=32):
        """Probability of being positive for each text, (len(texts),)."""
        encoded = self.encode([(text, 0) for text in texts], cached=False)  # seen once
        return nd.array(np.stack(self.outputs(encoded, batch_size)), mx.cpu()).softmax()[:, 1].asnumpy()


def predict_sentiment(net, ctx, vocabulary, tokenizer, sentence, max_length=512):
    """Say whether a sentence is positive or negative.

    Parameters
    ----------
    net : mxnet.gluon.Block
        A classifier whose class 1 is positive.
    ctx : mxnet.Context or list of mxnet.Context
        Where the network is; of several devices the first is used.
    vocabulary : gluonnlp.vocab.BERTVocab
    tokenizer : FastTokenizer or gluonnlp.data.BERTTokenizer
    sentence : str
    max_length : int, default 512
        Word pieces used, [CLS] and [SEP] included.

    Returns
    -------
    {"positive", "negative"}

    Raises
    ------
    ValueError
        The sentence is empty, or there is no device or one twice.
    """
    if not sentence.strip():
        raise ValueError("the sentence is empty")
    device, *_ = list_devices(ctx)
    transform = nlp.data.BERTSentenceTransform(tokenizer, max_length, vocab=vocabulary, pad=False, pair=False)
    words, valid_length, segments = transform([sentence])
    batch = (
        nd.array(array.reshape(shape), device)
        for array, shape in ((words, (1, -1)), (segments, (1, -1)), (valid_length, 1))
    )
    return LABELS[int(net(*batch).argmax(axis=1).asscalar())]
