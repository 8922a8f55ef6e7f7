"""Answers: the stretch of a text that answers a question, or none."""

from operator import itemgetter
from typing import NamedTuple

import numpy as np
from mxnet import gluon, nd
from mxnet.gluon.data import SimpleDataset

from ..blocks import HIDDEN_SCORE
from ..heads import BERTForQA
from ..text.squad import f1, load_questions, score_answers
from ..text.windows import best_span, cut_windows, span_of
from .model import TaskModel

DOC_STRIDE, MAX_ANSWER_LENGTH = 128, 30  # word pieces; the authors'
NO_ANSWER = 0  # [CLS], where the answer to a question that has none begins and ends


class Answer(NamedTuple):
    """What the network says to a question."""

    answer: str  # characters of the context; "" for no answer
    start: int | None  # where in the context they begin
    end: int | None  # and end
    probability: float  # of its start times that of its end, within the window it was found in


class Found(NamedTuple):
    """What the windows of a question hold: the best answer, and what speaks for none."""

    answer: Answer
    margin: float  # how much better the answer is than none
    no_answer: Answer


class QuestionAnswerer(TaskModel):
    """BERT with a head for the start and the end of an answer, and what turns a question and a text into its input.

    A text that is too long is read in windows; the best answer of all windows counts. An answer is made of whole words.

    Attributes
    ----------
    net : BERTForQA
    vocabulary : gluonnlp.vocab.BERTVocab
    config : dict
        With `doc_stride` and `max_answer_length`, in word pieces, and `no_answer_threshold`: how much better than none
        an answer must be to be given, null for a network that has learned from questions with answers only and always
        gives one.
    ctx : mxnet.Context or list of mxnet.Context

    Source: Devlin et al. 2018, sections 4.2 and 4.3, figure 4(c).
    """

    task = "answer"
    architecture = "BertForQuestionAnswering"
    head = "qa_outputs"

    @classmethod
    def describe_answers(cls, always=True, doc_stride=DOC_STRIDE, max_answer_length=MAX_ANSWER_LENGTH):
        """See `TaskModel`.

        Parameters
        ----------
        always : bool, default True
            Every question has an answer.
        doc_stride : int, default 128
            How many word pieces further in the text the next window begins; half of what fits, if that is less.
        max_answer_length : int, default 30
            Word pieces of an answer, at most.
        """
        if doc_stride < 1 or max_answer_length < 1:
            raise ValueError(f"doc_stride and max_answer_length must be at least 1: {doc_stride}, {max_answer_length}")
        return {
            "doc_stride": doc_stride,
            "max_answer_length": max_answer_length,
            "no_answer_threshold": None if always else 0.0,
        }

    @classmethod
    def make_net(cls, bert, config):
        """See `TaskModel`."""
        return BERTForQA(bert)

    @classmethod
    def read(cls, data, split, limit=None):
        """Questions of one split, as `load_questions` gives them."""
        return load_questions(data, split, limit)

    @classmethod
    def answers_of(cls, train):
        """What `from_pretrained` wants to know of the training questions."""
        return {"always": all(question.answers for question in train)}

    def loss(self):
        """What training minimises, for `train_loop`."""
        return span_loss

    def encode(self, examples):
        """An encoded dataset of all windows of questions, whose labels are those of `span_loss`.

        A window that does not hold the answer, or all of it, has none: its label is [CLS].
        """
        passages = self._passages([example.context for example in examples])
        spans = [_answer_span(*of) for of in zip(examples, passages, strict=True)]
        samples, whole = [], set()  # whole: questions with a window that holds all of the answer
        for window in self._windows([example.question for example in examples], passages):
            positions = window.positions(spans[window.number])
            if positions:
                whole.add(window.number)
            length = len(window.words)
            label = np.array([*(positions or (NO_ANSWER, NO_ANSWER)), length])
            samples.append((window.words, length, window.segments, label))
        for number, (example, span) in enumerate(zip(examples, spans, strict=True)):
            if span and number not in whole:
                raise ValueError(
                    f"{example.where}: no window of {self.max_length} word pieces holds the whole answer, which has "
                    f"{span[1] - span[0] + 1}: give a larger max_length, or a shorter answer"
                )
        return SimpleDataset(samples)

    def _passages(self, contexts):
        placed = {context: self.tokenizer.encode_placed(context) for context in dict.fromkeys(contexts)}
        return [placed[context] for context in contexts]

    def _windows(self, questions, passages):
        return cut_windows(questions, passages, self.tokenizer, self.max_length, self.config["doc_stride"])

    def settle(self, valid, batch_size=32):
        """Choose `no_answer_threshold`: with it the answers to these questions have the best F1.

        It stays as it is if all of them have answers, or the network always gives one.
        """
        if self.config["no_answer_threshold"] is None or all(question.answers for question in valid):
            return
        found = list(self._find([q.question for q in valid], [q.context for q in valid], batch_size))
        gains = [
            max(f1(one.answer.answer, text) - f1("", text) for text in question.texts)
            for one, question in zip(found, valid, strict=True)
        ]
        self.config["no_answer_threshold"] = best_threshold([one.margin for one in found], gains)

    def _find(self, questions, contexts, batch_size):
        """Found of each question."""
        passages = self._passages(contexts)
        windows = list(self._windows(questions, passages))
        encoded = SimpleDataset([(window.words, len(window.words), window.segments, 0) for window in windows])
        best = [(-np.inf, 0.0, None)] * len(questions)  # score, probability and word pieces of the best answer
        none = [(np.inf, 0.0)] * len(questions)  # score and probability of none, in the window that says most against
        for window, scores in zip(windows, self.outputs(encoded, batch_size), strict=True):
            scores = scores[: len(window.words)].astype("float64")  # (L, 2), without the padding
            log_sum = np.logaddexp.reduce(scores, axis=0).sum()  # of both softmaxes
            score, *span = best_span(scores, window, self.config["max_answer_length"])
            of_none, number = scores[NO_ANSWER].sum(), window.number
            best[number] = max(best[number], (score, float(np.exp(score - log_sum)), span), key=itemgetter(0))
            none[number] = min(none[number], (of_none, float(np.exp(of_none - log_sum))), key=itemgetter(0))
        for context, passage, (score, probability, span), (of_none, no_probability) in zip(
            contexts, passages, best, none, strict=True
        ):
            answer = no_answer = Answer("", None, None, no_probability)
            if span:
                begin, end = int(passage.begins[span[0]]), int(passage.ends[span[1]])
                answer = Answer(context[begin:end], begin, end, probability)
            yield Found(answer, score - of_none, no_answer)

    def predict(self, questions, contexts, batch_size=32):
        """The answer to each question in its context.

        Parameters
        ----------
        questions, contexts : list of str
            Of the same length.
        batch_size : int, default 32

        Returns
        -------
        list of Answer
        """
        threshold = self.config["no_answer_threshold"]
        if threshold is None:
            threshold = -np.inf
        found = self._find(questions, contexts, batch_size)
        return [one.answer if one.margin > threshold else one.no_answer for one in found]

    def answer(self, questions, contexts, batch_size=32):
        """As `predict`: a dict for each question, with answer, start, end and probability."""
        return (answer._asdict() for answer in self.predict(questions, contexts, batch_size))

    def score(self, examples, batch_size=32):
        """SQuAD's metrics, as `score_answers` gives them."""
        answers = self.predict([q.question for q in examples], [q.context for q in examples], batch_size)
        return score_answers([answer.answer for answer in answers], examples)


def span_loss(logits, labels):
    """Mean of the cross-entropies of start and end, of each sample: (B,).

    Parameters
    ----------
    logits : NDArray
        (B, L, 2).
    labels : NDArray
        (B, 3): where the answer starts, where it ends, and the valid length; the softmax leaves the padding out.

    Source: Devlin et al. 2018, section 4.2.
    """
    logits = nd.SequenceMask(logits, labels[:, 2], use_sequence_length=True, axis=1, value=HIDDEN_SCORE)
    return gluon.loss.SoftmaxCELoss(axis=1)(logits, labels[:, :2])


def best_threshold(margins, gains):
    """Which margin an answer must exceed, so that those that are given gain most; of several such the nearest to 0.

    Parameters
    ----------
    margins, gains : sequence of float
        Of each question: how much better the answer is than none, for the network; how much more it would score.

    Source: `find_best_thresh` of SQuAD's evaluate-v2.0.py; Devlin et al. 2018, section 4.3.
    """
    margins, gains = (np.asarray(values)[np.isfinite(margins)] for values in (margins, gains))
    margins, gains = (values[np.argsort(margins)] for values in (margins, gains))
    between = (margins[1:] + margins[:-1]) / 2
    candidates = np.concatenate([[0], margins[:1] - 1, between, margins[-1:]])
    of_rest = np.append(np.cumsum(gains[::-1])[::-1], 0)  # of the answers from each on, in this order
    gained = of_rest[np.searchsorted(margins, candidates, side="right")]
    best = candidates[gained >= gained.max() - 1e-9]
    return float(best[np.abs(best).argmin()])


def _answer_span(example, passage):
    """First and last word piece of a question's first answer; None if it has none."""
    if not example.answers:
        return None
    text, start = example.answers[0]
    span = span_of(passage, start, start + len(text))
    if span is None:
        raise ValueError(f"{example.where}: the answer {text!r} holds no character that BERT reads")
    return span
