"""A sentiment classifier with all it needs to read text: network, vocabulary, tokenizer; saved and loaded whole."""

from dataclasses import dataclass
from pathlib import Path

import gluonnlp as nlp
import mxnet as mx
import numpy as np
from mxnet import nd

from .encoder import BERTModel
from .heads import BERTClassifier
from .machine.devices import list_devices
from .machine.memory import view
from .text.batches import batch_order, encode_dataset, make_loader
from .text.wordpiece import make_tokenizer
from .training.devices import shares
from .weights.config import model_arguments, pooling_setting, read_config, tokenizer_settings
from .weights.filling import check_fit, check_number_of_layers, fill
from .weights.folder import (
    BARE_MODEL,
    CLASSIFICATION,
    OLDER_MODEL,
    WEIGHTS_FILES,
    check_hashes_in_config,
    load_matching_vocabulary,
    read_tensors,
    write_weights,
)
from .weights.loading import load_pretrained
from .weights.mxnet_params import read_params
from .weights.names import classifier_parameters
from .weights.sources import pooling_of, pretrained_folder

FIRST_TOKENIZER = {"strip_accents": True}  # of cased weights too, before the tokenizer's settings were kept


@dataclass
class SentimentClassifier:
    """BERT with a two-class head, and what turns text into its input.

    Attributes
    ----------
    net : BERTClassifier
        Class 0 is negative, class 1 positive.
    vocabulary : gluonnlp.vocab.BERTVocab
    config : dict
        Hugging Face's configuration of the BERT inside; `config["bert_tutorial"]` holds our own settings.
    ctx : mxnet.Context or list of mxnet.Context
        Where the network is.
    """

    net: BERTClassifier
    vocabulary: object
    config: dict
    ctx: mx.Context

    def __post_init__(self):
        settings = self.config["bert_tutorial"].get("tokenizer", FIRST_TOKENIZER)
        self.tokenizer = make_tokenizer(self.vocabulary, settings)
        if self.net.pooling != "pooler":  # no loss reaches it
            self.net.bert.pooler.collect_params().setattr("grad_req", "null")
        self.net.hybridize(static_alloc=True)

    @property
    def max_length(self):
        """Word pieces of a text that are used, [CLS] and [SEP] included."""
        return self.config["bert_tutorial"]["max_length"]

    @classmethod
    def from_pretrained(cls, name_or_path, max_length=128, ctx=None, pooling=None):
        """Pre-trained BERT under a fresh head, ready for fine-tuning.

        Parameters
        ----------
        name_or_path : str or path
            As for `load_pretrained`.
        max_length : int, default 128
        ctx : mxnet.Context or list of mxnet.Context, optional
            The CPU if not given.
        pooling : {"pooler", "cls", "mean"}, optional
            As for `BERTClassifier`. If not given, as the weights were last trained to be read: "mean" for `minilm-l6`
            and most sentence encoders, "pooler" for BERT itself.

        Raises
        ------
        ValueError
            `max_length` exceeds the model's positions, an unknown pooling, or no device or one twice; else as for
            `load_pretrained`.
        """
        ctx = mx.cpu() if ctx is None else ctx
        devices = list_devices(ctx)
        folder = pretrained_folder(name_or_path)
        config = read_config(folder)
        positions = model_arguments(config)["max_length"]
        if not 3 <= max_length <= positions:
            raise ValueError(f"max_length must lie between 3 and {positions}, the positions of {name_or_path}")
        config["bert_tutorial"] = {
            "pretrained": str(name_or_path),
            "max_length": max_length,
            "pooling": pooling_of(name_or_path) if pooling is None else pooling,
            "tokenizer": tokenizer_settings(folder),
        }
        bert, vocabulary = load_pretrained(name_or_path, devices)
        net = BERTClassifier(bert, num_classes=len(LABELS), pooling=config["bert_tutorial"]["pooling"])
        net.classifier.initialize(ctx=devices)
        return cls(net, vocabulary, config, ctx)

    @classmethod
    def load(cls, folder, ctx=None):
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError
            A file is missing.
        ValueError
            A file is damaged, or the files do not belong together, or no device or one twice.
        """
        folder, ctx = Path(folder), mx.cpu() if ctx is None else ctx
        devices = list_devices(ctx)
        older = (folder / OLDER_MODEL).is_file() and not (folder / "model.safetensors").exists()
        for file in ("config.json", "vocab.txt") if older else WEIGHTS_FILES:
            if not (folder / file).is_file():
                raise FileNotFoundError(f"{folder} has no {file}: it is not the output of a finished fine-tuning")
        config = read_config(folder)
        arguments = model_arguments(config)
        own = config.get("bert_tutorial")
        if not isinstance(own, dict) or "max_length" not in own:
            raise ValueError(f"{folder}/config.json was not written by fine-tuning: give the folder of a finetune")
        if type(own["max_length"]) is not int or not 3 <= own["max_length"] <= arguments["max_length"]:
            raise ValueError(
                f"{folder}/config.json says max_length = {own['max_length']!r} under bert_tutorial; it must be a "
                f"whole number from 3 to {arguments['max_length']}, max_position_embeddings"
            )
        if not older:
            check_hashes_in_config(folder, config)
        vocabulary = load_matching_vocabulary(folder, arguments)
        tensors = read_params(folder / OLDER_MODEL) if older else read_tensors(folder)
        check_number_of_layers(arguments, tensors, folder)
        own["pooling"] = pooling_setting(folder)  # "pooler" in runs of earlier versions
        net = BERTClassifier(BERTModel(**arguments), num_classes=len(LABELS), pooling=own["pooling"])
        parameters = net._collect_params_with_prefix() if older else classifier_parameters(net)
        check_fit(parameters, tensors, folder)
        fill(parameters, tensors, devices)
        if not older:
            own["tokenizer"] = tokenizer_settings(folder)
        return cls(net, vocabulary, config, ctx)

    def save(self, folder):
        """Write a folder that `load`, `load_pretrained` and Hugging Face's BertForSequenceClassification read.

        The last one always reads the pooler. From the folder of a classifier that does not, Hugging Face's loaders take
        the BERT alone, a BertModel, and warn that a classifier's weights are missing.

        The files are `model.safetensors`, `config.json`, `vocab.txt` and `tokenizer_config.json`, each written whole or
        not at all.

        Raises
        ------
        ValueError
            A weight is not finite. Nothing is written.
        """
        tensors = {name: view(p.list_data()[0]) for name, p in classifier_parameters(self.net).items()}
        config = self.config | {
            "architectures": CLASSIFICATION if self.net.pooling == "pooler" else BARE_MODEL,
            "id2label": {str(i): label for i, label in enumerate(LABELS)},
            "label2id": {label: i for i, label in enumerate(LABELS)},
            "bert_tutorial": {**self.config["bert_tutorial"], "tokenizer": self.tokenizer.settings},
        }
        write_weights(folder, tensors, self.vocabulary, config)

    def batches(self, dataset, batch_size, shuffle=False, cached=True):
        """Serve (text, label) pairs as `train_loop` and `evaluate` take them; `cached` as for `encode_dataset`."""
        encoded = encode_dataset(dataset, self.tokenizer, self.max_length, cached)
        return make_loader(encoded, self.vocabulary, batch_size, shuffle, self.max_length)

    def predict(self, texts, batch_size=32):
        """Probability of being positive for each text, (len(texts),)."""
        dataset = [(text, 0) for text in texts]
        encoded = encode_dataset(dataset, self.tokenizer, self.max_length, cached=False)  # seen once
        loader = make_loader(encoded, self.vocabulary, batch_size, shuffle=False, max_length=self.max_length)
        devices = list_devices(self.ctx)
        positive = []
        for batch in loader:
            scores = [
                self.net(words, segments, valid_length).softmax()[:, 1]
                for words, valid_length, segments, _ in shares(batch, devices)
            ]
            positive += [share.asnumpy() for share in scores]
        order = np.concatenate(list(batch_order(encoded, batch_size)))  # batches come sorted by length
        return np.concatenate(positive)[np.argsort(order)]


LABELS = ("negative", "positive")


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
