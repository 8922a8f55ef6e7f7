"""What BERT has to beat in a task of the reader's own: what counts words, or looks a word up.

scikit-learn takes a second to load, so it is imported where it is used.
"""

import re
from collections import Counter, defaultdict

import numpy as np

from .baselines import logistic_regression, majority, naive_bayes, require_words
from .tasks.classify import class_metrics
from .tasks.regress import number_metrics
from .text.bio import OUTSIDE, score_tags
from .text.prose import split_sentences
from .text.squad import score_answers


def score_task_baselines(task, train, test):
    """Score what is simpler than BERT in a task.

    Parameters
    ----------
    task : {"classify", "regress", "tag", "answer"}
    train, test : list
        Examples, as `read` of the task's model gives them.

    Returns
    -------
    iterator of (str, dict)
        The name of a baseline, and its metrics under the names that `score` of the task's model gives them.

    Raises
    ------
    ValueError
        No words in the training texts, or all of one class.
    """
    scores = {"classify": _score_classes, "regress": _score_numbers, "tag": _score_tags, "answer": _score_answers}
    return scores[task](train, test)


def _score_classes(train, test):
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import MultiLabelBinarizer

    labels, expected = ([example.label for example in examples] for examples in (train, test))
    counters = {"majority": majority, "naive Bayes": naive_bayes, "TF-IDF + logistic regression": logistic_regression}
    if isinstance(labels[0], tuple):  # several labels a text: each is a question of its own, answered yes or no
        binarizer = MultiLabelBinarizer().fit(labels)
        labels, expected = binarizer.transform(labels), binarizer.transform(expected)  # (texts, classes), 0 or 1
        counters = {name: lambda make=make: OneVsRestClassifier(make()) for name, make in counters.items()}
    texts, test_texts = _joined(train), _joined(test)
    require_words(texts)
    for name, make in counters.items():
        yield name, class_metrics(expected, make().fit(texts, labels).predict(test_texts))
    if train[0].text_b is not None:
        alike, test_alike = _likenesses(train, test)
        yield "shared words", class_metrics(expected, LogisticRegression(C=100).fit(alike, labels).predict(test_alike))


def _score_numbers(train, test):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LinearRegression, Ridge
    from sklearn.pipeline import make_pipeline

    labels, expected = ([example.label for example in examples] for examples in (train, test))
    texts, test_texts = _joined(train), _joined(test)
    require_words(texts)
    ridge = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), Ridge())
    yield "TF-IDF + ridge regression", number_metrics(expected, ridge.fit(texts, labels).predict(test_texts))
    if train[0].text_b is not None:
        alike, test_alike = _likenesses(train, test)
        yield "shared words", number_metrics(expected, LinearRegression().fit(alike, labels).predict(test_alike))


def _joined(examples):
    """The text of each example, or both of a pair."""
    return [example.text if example.text_b is None else f"{example.text} {example.text_b}" for example in examples]


def _likenesses(train, test):
    """How much the words of each pair are the same, (pairs, 1): the cosine of their TF-IDF vectors."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    tf_idf = TfidfVectorizer(sublinear_tf=True).fit(
        [text for example in train for text in (example.text, example.text_b)]
    )
    for examples in (train, test):
        first, second = (tf_idf.transform(texts) for texts in zip(*(example[:2] for example in examples), strict=True))
        yield np.asarray(first.multiply(second).sum(axis=1))


def _score_tags(train, test):
    answers = most_frequent_tags(train)([sentence.tokens for sentence in test])
    yield "most frequent tag of a word", score_tags([sentence.tags for sentence in test], answers)


def _score_answers(train, test):
    answers = [closest_sentence(question.question, question.context) for question in test]
    yield "sentence that shares most words", score_answers(answers, test)


def closest_sentence(question, context):
    """Answer a question by the sentence that shares most words with it, the first of those that share as many.

    Parameters
    ----------
    question, context : str

    Returns
    -------
    str
        `score_answers` says how good it is.

    Source: Rajpurkar et al. 2016, section 5; their baseline goes on to choose a phrase of such a sentence.
    """
    asked = _words(question)
    return max(split_sentences(context), key=lambda sentence: len(asked & _words(sentence)), default="")


def _words(text):
    return set(re.findall(r"\w+", text.lower()))


def most_frequent_tags(train):
    """Say of each word the tag that it has most often in training, and "O" of a word that is not there.

    Parameters
    ----------
    train : list of TaggedSentence

    Returns
    -------
    callable
        From sentences, lists of words, to a list of tags for each, as `TokenTagger.predict`; for `score_tags`.
    """
    counts = defaultdict(Counter)
    for sentence in train:
        for word, tag in zip(sentence.tokens, sentence.tags, strict=True):
            counts[word][tag] += 1
    most_frequent = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    return lambda sentences: [[most_frequent.get(word, OUTSIDE) for word in tokens] for tokens in sentences]
