"""A number for each text or pair of texts: how alike two are, how many stars."""

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

from ..heads import BERTClassifier
from ..text.examples import load_examples, parse_number, unlabelled
from ..text.pairs import encode_examples
from .model import TaskModel


class TextRegressor(TaskModel):
    """BERT with one output, and what turns a text, or a pair of texts, into its input.

    The network learns numbers with mean 0 and deviation 1. Those of the training examples had the mean and the
    deviation that `config["scale"]` holds.

    Attributes
    ----------
    net : BERTClassifier
        With one class.
    vocabulary : gluonnlp.vocab.BERTVocab
    config : dict
    ctx : mxnet.Context or list of mxnet.Context

    Source: Devlin et al. 2018, section 4.1 (STS-B).
    """

    task = "regress"

    @classmethod
    def describe_answers(cls, mean=0.0, deviation=1.0):
        """See `TaskModel`; mean and deviation of the numbers to learn."""
        return {"problem_type": "regression", "id2label": {"0": "value"}, "scale": [mean, deviation]}

    @classmethod
    def make_net(cls, bert, config):
        """See `TaskModel`."""
        return BERTClassifier(bert, num_classes=1, pooling=config["bert_tutorial"]["pooling"])

    @classmethod
    def read(cls, data, split, limit=None):
        """Examples of one split, as `load_examples` gives them."""
        return load_examples(data, split, parse_number, limit)

    @classmethod
    def answers_of(cls, train):
        """What `from_pretrained` wants to know of the training examples."""
        numbers = [example.label for example in train]
        if min(numbers) == max(numbers):
            raise ValueError(f"all {len(numbers)} training texts have the same label, {numbers[0]:g}")
        return {"mean": float(np.mean(numbers)), "deviation": float(np.std(numbers))}

    def loss(self):
        """What training minimises, for `train_loop`: half of the squared difference, in squared deviations."""
        return gluon.loss.L2Loss()

    def encode(self, examples):
        """See `TaskModel`; of examples."""
        mean, deviation = self.config["scale"]
        numbers = [(example.label - mean) / deviation for example in examples]
        return encode_examples(examples, numbers, self.tokenizer, self.max_length)

    def predict(self, texts, texts_b=None, batch_size=32):
        """A number for each text, (len(texts),); arguments as for `TextClassifier.predict`."""
        encoded = encode_examples(unlabelled(texts, texts_b), [0] * len(texts), self.tokenizer, self.max_length)
        return self._numbers(np.stack(self.outputs(encoded, batch_size)))

    def answer(self, texts, texts_b=None, batch_size=32):
        """As `predict`: a dict for each text, with its value."""
        return ({"value": value} for value in self.predict(texts, texts_b, batch_size).tolist())

    def _numbers(self, outputs):
        """Of the network's outputs, (n, 1), what they stand for, (n,)."""
        mean, deviation = self.config["scale"]
        return mean + deviation * outputs[:, 0]

    def score(self, examples, batch_size=32):
        """Metrics on labelled examples: pearson, spearman, loss (as `loss` says), count.

        A correlation is nan if all answers, or all labels, are the same.
        """
        labels = np.array([example.label for example in examples])
        encoded = self.encode(examples)
        outputs = np.stack(self.outputs(encoded, batch_size))
        targets = nd.array([label for *_, label in encoded], mx.cpu())
        losses = self.loss()(nd.array(outputs, mx.cpu()), targets)
        return {**number_metrics(labels, self._numbers(outputs)), "loss": float(losses.mean().asscalar())}


def number_metrics(expected, answers):
    """pearson, spearman and count; see `TextRegressor.score`."""
    from scipy.stats import pearsonr, spearmanr

    constant = np.ptp(expected) == 0 or np.ptp(answers) == 0
    pearson, spearman = (np.nan if constant else float(of(expected, answers)[0]) for of in (pearsonr, spearmanr))
    return {"pearson": pearson, "spearman": spearman, "count": len(expected)}
