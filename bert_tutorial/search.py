"""Search: which passages answer a question, by vectors or by words, and how good that is."""

import hashlib
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from .machine.fetching import cache_dir
from .machine.files import DIGEST_SIZE, atomic_path, remove_oldest
from .machine.memory import view
from .text.passages import Passage

CACHE_SIZE = 2**30  # bytes of vectors; a file with as much in newer ones goes
RELEVANT = "1"  # the label of a pair that belongs together


class Hit(NamedTuple):
    """A passage that was found."""

    score: float  # of one search the higher the better; those of different methods cannot be compared
    passage: Passage


def _best(scores, passages, count):
    """The `count` passages with the highest scores, the best first; of equal ones the first."""
    return [Hit(float(scores[i]), passages[i]) for i in np.argsort(-scores, kind="stable")[:count]]


class VectorIndex:
    """Finds the passages whose vectors lie closest to a question's.

    Parameters
    ----------
    passages : sequence of Passage
    encoder : TextEncoder
    batch_size : int, default 32
    cached : bool, default True
        Keep the vectors in a file below `cache_dir()`, for the next time too: the same texts, weights and settings
        are encoded once.

    Attributes
    ----------
    vectors : np.ndarray
        (len(passages), units)

    Source: Karpukhin et al. 2020, "Dense Passage Retrieval for Open-Domain Question Answering", section 3.
    """

    def __init__(self, passages, encoder, batch_size=32, cached=True):
        self.passages, self.encoder = list(passages), encoder
        texts = [passage.text for passage in self.passages]
        self.vectors = _encode_cached(encoder, texts, batch_size) if cached else encoder.encode(texts, batch_size)

    def search(self, question, count=10):
        """The `count` passages closest to a question, the best first: list of Hit, whose score is the cosine."""
        (vector,) = self.encoder.encode([question])
        return _best(self.vectors @ vector, self.passages, count)


class WordIndex:
    """BM25, simpler and hard to beat: finds the passages that share words with a question, rare ones above all.

    Parameters
    ----------
    passages : sequence of Passage

    Raises
    ------
    ValueError
        No passage has a word of two letters or more that is not one of the most frequent in English.

    Source: Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond"; in the variant that
    Lucene computes, by bm25s.
    """

    def __init__(self, passages):
        import bm25s

        self.passages = list(passages)
        words = _words([passage.text for passage in self.passages])
        if not any(words):
            raise ValueError(f"there is no word to search for in {len(self.passages)} passages")
        self._bm25 = bm25s.BM25()
        self._bm25.index(words, show_progress=False)

    def search(self, question, count=10):
        """As `VectorIndex.search`, but with the scores of BM25; passages that share no word are not found."""
        (words,) = _words([question])
        scores = self._bm25.get_scores(words) if words else np.zeros(len(self.passages))
        return [hit for hit in _best(scores, self.passages, count) if hit.score > 0]


def _words(texts):
    """Words of two letters or more, without the most frequent ones of English: list of list of str."""
    import bm25s

    return bm25s.tokenize(texts, stopwords="en", return_ids=False, show_progress=False) if texts else []


def rerank(classifier, question, passages, label=RELEVANT, batch_size=32):
    """Put passages in order of how probably they answer a question: both are read together, by a cross-encoder.

    That is more exact than comparing vectors, and too slow for all passages: give it the best of another search.

    Parameters
    ----------
    classifier : TextClassifier
        Trained on pairs of a question and a passage.
    question : str
    passages : sequence of Passage
    label : str, default "1"
        What the classifier calls a pair that belongs together.
    batch_size : int, default 32

    Returns
    -------
    list of Hit
        The best first, with its probability.

    Raises
    ------
    ValueError
        The classifier has no such label.

    Source: Nogueira and Cho 2019, "Passage Re-ranking with BERT".
    """
    if label not in classifier.labels:
        raise ValueError(f"the classifier's labels are {', '.join(classifier.labels)}; {label!r} is none of them")
    passages = list(passages)
    if not passages:
        return []
    texts = [passage.text for passage in passages]
    found = classifier.predict([question] * len(texts), texts, batch_size)
    return _best(found[:, classifier.labels.index(label)], passages, len(passages))


def recall_at(k, found, right):
    """The share of questions that have something right among the first `k` that were found.

    Parameters
    ----------
    k : int
    found : sequence of sequence of str
        For each question the names that were found, the best first.
    right : sequence of set of str
        For each question the names that answer it; any of them will do.

    Returns
    -------
    float

    Source: Karpukhin et al. 2020, section 5, who call it top-k accuracy.
    """
    ranks = _ranks(found, right)
    return float(np.mean([rank is not None and rank <= k for rank in ranks]))


def mean_reciprocal_rank(found, right):
    """The mean over questions of 1 / the place of the first that is right, counted from 1; 0 where none is.

    Parameters
    ----------
    found, right
        As for `recall_at`.

    Returns
    -------
    float

    Source: Voorhees 1999, "The TREC-8 Question Answering Track Report".
    """
    return float(np.mean([1 / rank if rank else 0 for rank in _ranks(found, right)]))


def _ranks(found, right):
    """Of each question the place of the first right name, from 1; None where none is right."""
    if not len(found):
        raise ValueError("no questions to score")
    return [
        next((place for place, name in enumerate(names, start=1) if name in answers), None)
        for names, answers in zip(found, right, strict=True)
    ]


def _encode_cached(encoder, texts, batch_size):
    """The texts' vectors, from the file of these texts, weights and settings if there is one."""
    path = cache_dir() / "vectors" / f"{_fingerprint(encoder, texts)}.f32"
    with suppress(OSError, ValueError):  # missing, or damaged in any way: it is made anew
        return _read_vectors(path, len(texts))
    vectors = encoder.encode(texts, batch_size)
    with suppress(OSError):  # a full or read-only disk, or another user's folder, must not stop anyone
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)  # much of a text can be told from its vector
        with atomic_path(path) as temporary:
            content = vectors.tobytes()
            temporary.write_bytes(content + hashlib.sha256(content).digest())
        remove_oldest(path.parent, CACHE_SIZE, newest=path)
    return vectors


def _fingerprint(encoder, texts):
    """SHA-256 of all that the vectors depend on."""
    digest = hashlib.sha256(encoder.tokenizer.fingerprint(texts, encoder.max_length).encode())
    digest.update(encoder.reads.encode())
    for name, parameter in sorted(encoder.net._collect_params_with_prefix().items()):
        digest.update(name.encode())
        digest.update(view(parameter.list_data()[0]))
    return digest.hexdigest()


def _read_vectors(path, count):
    """Open what `_encode_cached` wrote of `count` texts; ValueError if a bit of it is wrong."""
    content = path.read_bytes()
    content, known = content[:-DIGEST_SIZE], content[-DIGEST_SIZE:]
    if hashlib.sha256(content).digest() != known:
        raise ValueError(f"{path} is damaged")
    return np.frombuffer(content, "float32").reshape(count, -1)
