"""Vectors: texts that mean much the same lie close together, whatever their words."""

import json
from pathlib import Path

import mxnet as mx
import numpy as np

from ..heads import SentenceEncoder
from ..machine.devices import list_devices
from ..machine.files import write_text
from ..machine.memory import view
from ..text.examples import unlabelled
from ..text.pairs import encode_examples
from ..weights.config import POOLING_FILE, model_arguments, read_config
from ..weights.folder import BARE_MODEL, write_weights
from ..weights.loading import load_pretrained
from ..weights.names import OURS, bert_parameters
from ..weights.sources import pooling_of, pretrained_folder
from .model import TextModel, pretrained_settings

TASK = "encode"
MAX_LENGTH = 256  # what minilm-l6 was trained with, and sentence-transformers reads of a text
SENTENCE_TRANSFORMERS = {  # sentence-transformers' modules, in their order, and the folder of each
    "": "sentence_transformers.models.Transformer",
    str(Path(POOLING_FILE).parent): "sentence_transformers.models.Pooling",
    "2_Normalize": "sentence_transformers.models.Normalize",
}


class TextEncoder(TextModel):
    """BERT that gives one vector for a text, and what turns text into its input.

    Attributes
    ----------
    net : SentenceEncoder
    vocabulary : gluonnlp.vocab.BERTVocab
    config : dict
        Hugging Face's configuration; `config["bert_tutorial"]` holds our own settings.
    ctx : mxnet.Context or list of mxnet.Context

    Source: Reimers and Gurevych 2019, "Sentence-BERT".
    """

    @classmethod
    def load(cls, name_or_path, max_length=None, ctx=None):
        """Load published weights, or what `save` wrote.

        Parameters
        ----------
        name_or_path : str or path
            As for `load_pretrained`. A text is read as these weights were last trained to be read: `minilm-l6` by the
            mean of all words' encodings.
        max_length : int, optional
            Word pieces of a text, [CLS] and [SEP] included; the rest is cut. If not given, what was saved, else 256, or
            as many as BERT has positions for.
        ctx : mxnet.Context or list of mxnet.Context, optional
            The CPU if not given.

        Raises
        ------
        ValueError
            `max_length` exceeds the model's positions; else as for `load_pretrained`.
        """
        ctx = mx.cpu() if ctx is None else ctx
        if max_length is None:
            max_length = usual_length(pretrained_folder(name_or_path))
        config = pretrained_settings(name_or_path, TASK, max_length, pooling_of(name_or_path))
        bert, vocabulary = load_pretrained(name_or_path, list_devices(ctx))
        return cls(SentenceEncoder(bert, config["bert_tutorial"]["pooling"]), vocabulary, config, ctx)

    def encode(self, texts, batch_size=32):
        """Turn texts into vectors of length 1; the dot product of two says how much alike the texts are, from -1 to 1.

        Parameters
        ----------
        texts : list of str
        batch_size : int, default 32

        Returns
        -------
        np.ndarray
            (len(texts), units), float32, in the order of the texts.
        """
        if not len(texts):
            return np.zeros((0, self.config["hidden_size"]), "float32")
        encoded = encode_examples(unlabelled(texts), [0] * len(texts), self.tokenizer, self.max_length)
        return np.stack(self.outputs(encoded, batch_size))

    def save(self, folder):
        """Write a folder that `load`, `load_pretrained` and Hugging Face's BertModel read.

        sentence-transformers reads it, too, unless the pooler is read, which it has no use for.

        Raises
        ------
        ValueError
            A weight is not finite. Nothing is written.
        """
        folder = Path(folder)
        parameters = bert_parameters(self.net.bert, len(self.net.bert.encoder.blks), OURS)
        tensors = {name: view(parameter.list_data()[0]) for name, parameter in parameters.items()}
        own = {**self.config["bert_tutorial"], "tokenizer": self.tokenizer.settings}
        write_weights(
            folder, tensors, self.vocabulary, self.config | {"architectures": [BARE_MODEL], "bert_tutorial": own}
        )
        if self.reads != "pooler":
            self._write_for_sentence_transformers(folder)

    def _write_for_sentence_transformers(self, folder):
        pooling = {
            "word_embedding_dimension": self.config["hidden_size"],
            "pooling_mode_cls_token": self.reads == "cls",
            "pooling_mode_mean_tokens": self.reads == "mean",
        }
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": kind}
            for i, (path, kind) in enumerate(SENTENCE_TRANSFORMERS.items())
        ]
        for path in SENTENCE_TRANSFORMERS:
            (folder / path).mkdir(exist_ok=True)
        write_text(folder / POOLING_FILE, json.dumps(pooling, indent=2))
        write_text(folder / "sentence_bert_config.json", json.dumps({"max_seq_length": self.max_length}))
        write_text(folder / "modules.json", json.dumps(modules, indent=2))


def usual_length(folder):
    """How many word pieces of a text the encoder in a folder reads."""
    config = read_config(folder)
    own = config.get("bert_tutorial")
    if isinstance(own, dict) and own.get("task") == TASK and "max_length" in own:
        return own["max_length"]
    return min(MAX_LENGTH, model_arguments(config)["max_length"])
