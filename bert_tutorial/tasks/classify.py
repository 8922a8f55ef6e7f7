"""Classes: one of several for each text or pair of texts, or any number of them."""

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

from ..heads import BERTClassifier
from ..text.examples import classes_of, load_examples, parse_class, parse_classes, require_known, unlabelled
from ..text.pairs import encode_examples
from .model import TaskModel, label_names

SINGLE, MULTI = "single_label_classification", "multi_label_classification"  # Hugging Face's `problem_type`


class TextClassifier(TaskModel):
    """BERT with a head for classes that have names, and what turns a text, or a pair of texts, into its input.

    Attributes
    ----------
    net : BERTClassifier
    vocabulary : gluonnlp.vocab.BERTVocab
    config : dict
        Hugging Face's configuration, `id2label` and `problem_type` among it.
    ctx : mxnet.Context or list of mxnet.Context

    Source: Devlin et al. 2018, sections 4.1 and figure 4(a, b).
    """

    task = "classify"

    @classmethod
    def describe_answers(cls, labels, multi_label=False):
        """See `TaskModel`.

        Parameters
        ----------
        labels : sequence of str
            The classes' names.
        multi_label : bool, default False
            A text may have several of them, or none.
        """
        return {**label_names(labels), "problem_type": MULTI if multi_label else SINGLE}

    @classmethod
    def make_net(cls, bert, config):
        """See `TaskModel`."""
        return BERTClassifier(bert, num_classes=len(config["id2label"]), pooling=config["bert_tutorial"]["pooling"])

    @classmethod
    def read(cls, data, split, limit=None, multi_label=False):
        """Examples of one split, as `load_examples` gives them."""
        return load_examples(data, split, parse_classes if multi_label else parse_class, limit)

    @classmethod
    def answers_of(cls, train, multi_label=False):
        """What `from_pretrained` wants to know of the training examples."""
        return {"labels": classes_of(train), "multi_label": multi_label}

    @property
    def labels(self):
        """The classes' names, in the order of the outputs."""
        return [self.config["id2label"][str(number)] for number in range(len(self.config["id2label"]))]

    @property
    def options(self):
        """See `TaskModel`."""
        return {"multi_label": self.multi_label}

    @property
    def multi_label(self):
        """Whether a text may have several classes."""
        return self.config.get("problem_type") == MULTI

    def loss(self, class_weights=None):
        """What training minimises, for `train_loop`.

        Parameters
        ----------
        class_weights : numpy.ndarray, optional
            (number of classes,): how much an example of each counts. Not with several labels a text.
        """
        if self.multi_label:
            return gluon.loss.SigmoidBCELoss()
        softmax_loss = gluon.loss.SoftmaxCELoss()
        if class_weights is None:
            return softmax_loss

        def weighted_loss(logits, labels):
            weights = nd.array(class_weights, labels.context)  # (number of classes,)
            return softmax_loss(logits, labels) * weights.take(labels)

        return weighted_loss

    def encode(self, examples):
        """An encoded dataset: see `encode_examples`. Labels are numbers, or (number of classes,) of 0 and 1."""
        require_known(examples, self.labels)
        number = {label: i for i, label in enumerate(self.labels)}
        if self.multi_label:
            targets = [
                np.isin(range(len(number)), [number[label] for label in example.label]).astype("float32")
                for example in examples
            ]
        else:
            targets = [number[example.label] for example in examples]
        return encode_examples(examples, targets, self.tokenizer, self.max_length)

    def score(self, examples, batch_size=32):
        """Metrics on labelled examples: accuracy, macro_f1, loss, count and, with one label a text, confusion.

        With several labels a text, accuracy is the share of texts of which all are right. `macro_f1` is the mean over
        the classes of the harmonic mean of precision and recall. `confusion` has a row for each true class, in the
        order of `labels`, and a column for each answer.
        """
        from sklearn.metrics import confusion_matrix

        encoded = self.encode(examples)
        targets = np.array([label for *_, label in encoded])
        logits = np.stack(self.outputs(encoded, batch_size))
        losses = self.loss()(nd.array(logits, mx.cpu()), nd.array(targets, mx.cpu()))
        answers = (logits > 0).astype(int) if self.multi_label else logits.argmax(axis=1)
        numbers = range(len(self.labels))
        found = {**class_metrics(targets, answers, list(numbers)), "loss": float(losses.mean().asscalar())}
        if not self.multi_label:
            found["confusion"] = confusion_matrix(targets, answers, labels=numbers).tolist()
        return found

    def predict(self, texts, texts_b=None, batch_size=32):
        """Probabilities of the classes, (len(texts), number of classes): they sum up to 1, unless `multi_label`.

        Parameters
        ----------
        texts : list of str
        texts_b : list of str, optional
            The second texts, if the network was trained on pairs.
        batch_size : int, default 32
        """
        encoded = encode_examples(unlabelled(texts, texts_b), [0] * len(texts), self.tokenizer, self.max_length)
        logits = nd.array(np.stack(self.outputs(encoded, batch_size)), mx.cpu())
        return (logits.sigmoid() if self.multi_label else logits.softmax()).asnumpy()

    def answer(self, texts, texts_b=None, batch_size=32):
        """As `predict`, in words: a dict for each text, label and probability, or labels and their probabilities."""
        for row in self.predict(texts, texts_b, batch_size).tolist():
            if self.multi_label:
                yield {"labels": {label: p for label, p in zip(self.labels, row, strict=True) if p > 0.5}}
            else:
                best = max(range(len(row)), key=row.__getitem__)
                yield {"label": self.labels[best], "probability": row[best]}


def class_metrics(expected, answers, classes=None):
    """accuracy, macro_f1 and count; see `TextClassifier.score`. Of classes that are not given, those that occur."""
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(expected, answers)),
        "macro_f1": float(f1_score(expected, answers, labels=classes, average="macro", zero_division=0)),
        "count": len(expected),
    }


def balanced_weights(labels):
    """As much weight for every class: examples / (classes x examples of the class), as scikit-learn's "balanced"."""
    _, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return len(numbers) / (len(counts) * counts)
