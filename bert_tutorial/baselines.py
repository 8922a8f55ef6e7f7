"""What BERT has to beat: what sees only which words, and pairs of words, there are.

scikit-learn takes a second to load, so it is imported where it is used.
"""

import re
import time
from typing import NamedTuple

import numpy as np

from .training.scoring import wilson_interval


def majority():
    """Say what most texts are, whatever is in them."""
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="most_frequent")


def naive_bayes():
    """Naive Bayes on the counts of words and pairs of words."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    return make_pipeline(CountVectorizer(ngram_range=(1, 2)), MultinomialNB())


def logistic_regression():
    """Logistic regression on TF-IDF: a word or pair of words counts the more, the fewer other texts have it.

    C was chosen by cross-validation on training reviews of IMDB.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    tf_idf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    return make_pipeline(tf_idf, LogisticRegression(C=10, max_iter=1000))


class NBSVM:
    """Between naive Bayes and a linear support vector machine, on which words and pairs of words a text has.

    The machine sees each word multiplied by its weight in naive Bayes. `BETA` of the answer is the machine's, the rest
    that of naive Bayes, scaled to the machine's size. Labels are 0 and 1.

    Source: Wang and Manning 2012, "Baselines and Bigrams", section 2.3. They square the hinge loss: slower, no better.
    """

    BETA = 0.25

    def fit(self, texts, labels):
        """See scikit-learn."""
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.naive_bayes import MultinomialNB
        from sklearn.svm import LinearSVC

        self.words = CountVectorizer(ngram_range=(1, 2), binary=True)
        found = self.words.fit_transform(texts)  # (texts, words), 0 or 1
        bayes = MultinomialNB().fit(found, labels)
        (ratios,), (prior,) = np.diff(bayes.feature_log_prob_, axis=0), np.diff(bayes.class_log_prior_)  # (words,), ()
        machine = LinearSVC(loss="hinge", max_iter=10_000, random_state=0)
        machine.fit(found.multiply(ratios).tocsr(), labels)
        size = (1 - self.BETA) * abs(machine.coef_).mean()
        self.weights = ratios * (self.BETA * machine.coef_[0] + size)
        self.bias = self.BETA * machine.intercept_ + size * prior
        return self

    def predict(self, texts):
        """See scikit-learn."""
        return (self.words.transform(texts) @ self.weights + self.bias > 0).astype(int)


BASELINES = {
    "majority": majority,
    "naive Bayes": naive_bayes,
    "TF-IDF + logistic regression": logistic_regression,
    "NB-SVM": NBSVM,
}


class BaselineScore(NamedTuple):
    """How good one of `BASELINES` is on the test texts."""

    name: str
    accuracy: float
    low: float  # of the accuracy's 95 % interval, as `wilson_interval` says
    high: float
    seconds: float  # to learn and to answer
    count: int  # test texts


def score_baselines(train, test):
    """Train each of `BASELINES` and score it; the same texts give the same accuracies.

    Parameters
    ----------
    train, test : sequence of (str, int)
        Texts and labels, 0 or 1. Datasets on disk are read into memory: scikit-learn needs all texts at once.

    Yields
    ------
    BaselineScore
        As soon as it is there.

    Raises
    ------
    ValueError
        No texts, no words in any, or only one label to learn.
    """
    if not len(train) or not len(test):
        raise ValueError("no texts to learn from, or none for the test")
    texts, labels = zip(*train, strict=True)
    test_texts, test_labels = zip(*test, strict=True)
    if len(set(labels)) < 2:
        raise ValueError(f"all {len(labels)} training texts have label {labels[0]}: there must be some of 0 and of 1")
    require_words(texts)
    for name, make in BASELINES.items():
        baseline = make()
        started = time.perf_counter()
        answers = baseline.fit(texts, labels).predict(test_texts)
        seconds = time.perf_counter() - started
        right = int(np.sum(answers == test_labels))
        count = len(test_labels)
        yield BaselineScore(name, right / count, *wilson_interval(right, count), seconds, count)


def require_words(texts):
    """Raise ValueError if scikit-learn finds no word in any text."""
    if not any(re.search(r"\w\w", text) for text in texts):
        raise ValueError(f"no words of two letters or more in {len(texts)} training texts")
