"""A fine-tuned network with all it needs to read text: vocabulary, tokenizer, settings; saved and loaded whole."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet.gluon import Block
from tqdm.auto import tqdm

from ..encoder import BERTModel
from ..machine.devices import list_devices
from ..machine.interrupts import raise_kept_interrupt
from ..machine.memory import view
from ..text.batches import batch_order, make_loader
from ..text.wordpiece import make_tokenizer
from ..training.devices import shares
from ..weights.config import model_arguments, pooling_setting, read_config, tokenizer_settings
from ..weights.filling import check_fit, check_number_of_layers, fill
from ..weights.folder import (
    BARE_MODEL,
    OLDER_MODEL,
    WEIGHTS_FILES,
    check_hashes_in_config,
    load_matching_vocabulary,
    read_tensors,
    write_weights,
)
from ..weights.loading import load_pretrained
from ..weights.mxnet_params import read_params
from ..weights.names import network_parameters
from ..weights.sources import pooling_of, pretrained_folder

SOON = 2  # seconds until what has not come yet gets a progress bar
FIRST_TOKENIZER = {"strip_accents": True}  # of cased weights too, before the tokenizer's settings were kept
FIRST_TASK = "sentiment"  # before there were others


@dataclass
class TextModel:
    """A network around BERT, and what turns text into its input.

    Attributes
    ----------
    net : mxnet.gluon.Block
        Called as `net(words, segments, valid_length)`; its BERTModel is `net.bert`.
    vocabulary : gluonnlp.vocab.BERTVocab
    config : dict
        Hugging Face's configuration; `config["bert_tutorial"]` holds our own settings.
    ctx : mxnet.Context or list of mxnet.Context
        Where the network is.
    """

    net: Block
    vocabulary: object
    config: dict
    ctx: mx.Context

    label_padding = None  # as for `make_loader`

    def __post_init__(self):
        settings = self.config["bert_tutorial"].get("tokenizer", FIRST_TOKENIZER)
        self.tokenizer = make_tokenizer(self.vocabulary, settings)
        if self.reads != "pooler":  # no loss reaches it
            self.net.bert.pooler.collect_params().setattr("grad_req", "null")
        self.net.hybridize(static_alloc=True)

    @property
    def reads(self):
        """What the last layer reads: "pooler", "cls" or "mean" of a whole text; None if it reads every position."""
        return getattr(self.net, "pooling", None)

    @property
    def max_length(self):
        """Word pieces that are read at once, [CLS] and [SEP] included."""
        return self.config["bert_tutorial"]["max_length"]

    def outputs(self, encoded, batch_size):
        """What the network puts out for each sample of an encoded dataset, in its order: list of numpy.ndarray."""
        devices = list_devices(self.ctx)
        found = []
        pieces = sum(length for _, length, _, _ in encoded)  # the longest texts come first: batches would not be alike
        with tqdm(total=pieces, unit=" word pieces", unit_scale=True, leave=False, delay=SOON) as bar:
            for batch in self._loader(encoded, batch_size, shuffle=False):
                raise_kept_interrupt()
                parts = [self.net(words, segments, length) for words, length, segments, _ in shares(batch, devices)]
                found += [sample for part in parts for sample in part.asnumpy()]  # read when all devices have work
                bar.update(int(batch[1].sum().asscalar()))
        order = np.concatenate(list(batch_order(encoded, batch_size)))  # batches come sorted by length
        return [found[place] for place in np.argsort(order)]

    def _loader(self, encoded, batch_size, shuffle):
        return make_loader(encoded, self.vocabulary, batch_size, shuffle, self.max_length, self.label_padding)


@dataclass
class TaskModel(TextModel, ABC):
    """BERT with a layer on top, `net.classifier`. A task is a subclass."""

    task = None  # its name, kept in `config`
    architecture = "BertForSequenceClassification"  # Hugging Face's
    head = "classifier"  # what that calls the last layer, in a file

    @classmethod
    @abstractmethod
    def describe_answers(cls, **answers):
        """Entries of Hugging Face's configuration that say what the last layer's outputs mean."""

    @classmethod
    @abstractmethod
    def make_net(cls, bert, config):
        """The network around a BERTModel, its last layer without values."""

    @classmethod
    def _head_name(cls, net):
        """What a file calls the last layer: Hugging Face's name only where it reads what theirs does."""
        pooling = getattr(net, "pooling", None)
        return f"{pooling}_{cls.head}" if pooling in ("cls", "mean") else cls.head

    @abstractmethod
    def encode(self, dataset):
        """An encoded dataset, of (word ids (L,), L, segments (L,), label)."""

    def settle(self, valid, batch_size=32):
        """Choose on held-out examples, after training, what is not learned."""

    @property
    def options(self):
        """What `read` of this class wants to know beside the data."""
        return {}

    @classmethod
    def from_pretrained(cls, name_or_path, max_length=128, ctx=None, pooling=None, **answers):
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
        **answers
            As for `describe_answers` of the class.

        Raises
        ------
        ValueError
            `max_length` exceeds the model's positions, an unknown pooling, or no device or one twice; else as for
            `load_pretrained`.
        """
        ctx = mx.cpu() if ctx is None else ctx
        devices = list_devices(ctx)
        pooling = pooling_of(name_or_path) if pooling is None else pooling
        config = pretrained_settings(name_or_path, cls.task, max_length, pooling)
        config |= cls.describe_answers(**answers)
        bert, vocabulary = load_pretrained(name_or_path, devices)
        net = cls.make_net(bert, config)
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
            A file is damaged, or the files do not belong together, or are of another task, or no device or one twice.
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
        if own.setdefault("task", FIRST_TASK) != cls.task:
            raise ValueError(f"{folder} was fine-tuned for the task {own['task']!r}, not {cls.task!r}")
        if not older:
            check_hashes_in_config(folder, config)
        vocabulary = load_matching_vocabulary(folder, arguments)
        tensors = read_params(folder / OLDER_MODEL) if older else read_tensors(folder)
        check_number_of_layers(arguments, tensors, folder)
        own["pooling"] = pooling_setting(folder)  # "pooler" in runs of earlier versions
        net = cls.make_net(BERTModel(**arguments), config)
        parameters = net._collect_params_with_prefix() if older else network_parameters(net, cls._head_name(net))
        check_fit(parameters, tensors, folder)
        fill(parameters, tensors, devices)
        if not older:
            own["tokenizer"] = tokenizer_settings(folder)
        return cls(net, vocabulary, config, ctx)

    def save(self, folder):
        """Write a folder that `load`, `load_pretrained` and Hugging Face's class for this task read.

        Their BertForSequenceClassification always reads the pooler. From the folder of a classifier that does not, they
        take the BERT alone, a BertModel, and warn that a classifier's weights are missing.

        The files are `model.safetensors`, `config.json`, `vocab.txt` and `tokenizer_config.json`, each written whole or
        not at all.

        Raises
        ------
        ValueError
            A weight is not finite. Nothing is written.
        """
        parameters = network_parameters(self.net, self._head_name(self.net))
        tensors = {name: view(parameter.list_data()[0]) for name, parameter in parameters.items()}
        config = self.config | {
            "architectures": [BARE_MODEL if self.reads in ("cls", "mean") else self.architecture],
            "bert_tutorial": {**self.config["bert_tutorial"], "tokenizer": self.tokenizer.settings},
        }
        write_weights(folder, tensors, self.vocabulary, config)

    def batches(self, dataset, batch_size, shuffle=False):
        """Serve a dataset as `train_loop` and `evaluate` take it."""
        return self._loader(self.encode(dataset), batch_size, shuffle)


def pretrained_settings(name_or_path, task, max_length, pooling):
    """Hugging Face's configuration of published weights, with ours under `bert_tutorial`, for a task.

    Raises
    ------
    ValueError
        `max_length` exceeds the model's positions; else as for `load_pretrained`.
    """
    folder = pretrained_folder(name_or_path)
    config = read_config(folder)
    positions = model_arguments(config)["max_length"]
    if type(max_length) is not int or not 3 <= max_length <= positions:
        raise ValueError(f"max_length must lie between 3 and {positions}, the positions of {name_or_path}")
    own = {
        "task": task,
        "pretrained": str(name_or_path),
        "max_length": max_length,
        "pooling": pooling,
        "tokenizer": tokenizer_settings(folder),
    }
    return config | {"bert_tutorial": own}


def task_of(folder):
    """The task that a network in a folder was fine-tuned for."""
    own = read_config(folder).get("bert_tutorial")
    return own.get("task", FIRST_TASK) if isinstance(own, dict) else FIRST_TASK


def label_names(labels):
    """What Hugging Face's configuration says of an output's classes, in their order."""
    return {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
