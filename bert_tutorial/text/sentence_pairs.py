"""Next-sentence prediction: a corpus of word pieces, and pairs of stretches of it.

Source: Devlin et al. 2018, section 3.1, task 2, and appendix A.2; what its text leaves open is as in the authors' code.
"""

from bisect import bisect_left
from typing import NamedTuple

import numpy as np

TRIES = 10  # draws of a random B, until there is enough text


class TokenizedCorpus(NamedTuple):
    """A corpus as flat arrays: a stretch of text is one slice of `ids`."""

    ids: np.ndarray  # (word pieces,) int32, all sentences one after the other
    sentence_ends: np.ndarray  # (sentences,) where each ends in ids
    document_ends: np.ndarray  # (documents,) where each ends, in sentences


def tokenize_corpus(documents, tokenizer):
    """Tokenise documents, leaving out sentences without a token and documents without a sentence.

    Parameters
    ----------
    documents : iterable
        Of objects whose attribute `sentences` is a sequence of str.
    tokenizer : FastTokenizer

    Returns
    -------
    TokenizedCorpus

    Raises
    ------
    ValueError
        Nothing is left.
    """
    sentences, counts = [], []
    for document in documents:
        if isinstance(document.sentences, str):
            raise TypeError("a document's sentences are one string: split it into a list of sentences")
        sentences.extend(document.sentences)
        counts.append(len(document.sentences))
    encoded = [ids[1:-1] for ids in tokenizer.encode_batch(sentences, max_length=2**31)]  # without [CLS] and [SEP]
    lengths = np.array([len(ids) for ids in encoded])
    if not lengths.any():
        raise ValueError("the documents hold no text")
    document = np.repeat(np.arange(len(counts)), counts)  # of each sentence
    _, counts = np.unique(document[lengths > 0], return_counts=True)
    return TokenizedCorpus(np.concatenate(encoded), np.cumsum(lengths[lengths > 0]), np.cumsum(counts))


def make_pairs(corpus, max_length, random, next_sentence=True):
    """Draw the pairs of one epoch over the whole corpus.

    Documents are read from their beginning. Sentences that fill `max_length` make a stretch, split after a random one
    into A and B (label 1). In half of the pairs (label 0) B begins at a random sentence of another document instead,
    and the sentences that would have been B begin the next stretch. A pair that is too long loses word pieces at random
    ends of its longer part.

    So that lengths do not give the label away, a random B is about as long as the B it replaces, and a document's last
    sentence alone is no A: a document of one sentence is a random B only. In a corpus of one document, a random B is
    another place of it, neither overlapping A nor directly after it.

    Parameters
    ----------
    corpus : TokenizedCorpus
    max_length : int
        Longest example in word pieces, [CLS] and [SEP] included.
    random : np.random.RandomState
    next_sentence : bool, default True
        False gives stretches without B, for [CLS] A [SEP]; documents of one sentence are used too.

    Returns
    -------
    np.ndarray
        (N, 5) int64, shuffled: where A begins and ends, where B begins and ends, in `corpus.ids`; the label. Without
        B the last three are 0.

    Raises
    ------
    ValueError
        `max_length` leaves no room, no document has two sentences, or the only document is too short.

    Source: Devlin et al. 2018, section 3.1, task 2, and appendix A.2.
    """
    least = 5 if next_sentence else 3
    if max_length < least:
        example = "[CLS] A [SEP] B [SEP]" if next_sentence else "[CLS] A [SEP]"
        raise ValueError(f"max_length is {max_length}: give at least {least}, for {example}")
    # Python's own integers: the loops go sentence by sentence. Sentence s is ids[bounds[s] : bounds[s + 1]].
    bounds, ends = [0, *corpus.sentence_ends.tolist()], corpus.document_ends.tolist()
    documents = list(zip([0, *ends[:-1]], ends, strict=True))
    if next_sentence:
        room = max_length - 3
        pairs = np.array(_pairs(bounds, documents, room, random))
    else:
        room = max_length - 2
        pairs = np.array([(*a, 0, 0, 0) for a in _stretches(bounds, documents, room)])
    _cut(pairs, room, random)
    return random.permutation(pairs)


def _fill(bounds, first, last, room):
    """Where a stretch from sentence `first` ends: as soon as it fills `room` word pieces, or before `last`."""
    return bisect_left(bounds, bounds[first] + room, first + 1, last)


def _stretches(bounds, documents, room):
    for first, last in documents:
        while first < last:
            end = _fill(bounds, first, last, room)
            yield bounds[first], bounds[end]
            first = end


def _pairs(bounds, documents, room, random):
    if all(last - first < 2 for first, last in documents):
        raise ValueError("no document has two sentences: give longer documents, or next_sentence=False")
    sentences, alone = len(bounds) - 1, len(documents) == 1
    if alone and max(2, _fill(bounds, 0, sentences, room)) == sentences:
        raise ValueError(
            "the only document is too short for a random sentence of another place: give a second document, or one of "
            f"at least 3 sentences with {room} word pieces before the last sentence"
        )
    document_ends = [last for first, last in documents for _ in range(first, last)]  # of each sentence
    pairs = []
    for begin, last in documents:
        first = begin
        while last - first > 1:
            end = max(first + 2, _fill(bounds, first, last, room))
            middle = random.randint(first + 1, end)
            if random.randint(2):
                pairs.append((bounds[first], bounds[middle], bounds[middle], bounds[end], 1))
                first = end
                continue
            wanted = min(bounds[end] - bounds[middle], room - (bounds[middle] - bounds[first]))
            avoided = range(first, middle + 1) if alone else range(begin, last)
            for _ in range(TRIES):
                b = random.randint(sentences - len(avoided))
                if b >= avoided.start:
                    b += len(avoided)
                b_last = min(first, document_ends[b]) if b < first else document_ends[b]
                if bounds[b_last] - bounds[b] >= wanted:
                    break
            b_end = _fill(bounds, b, b_last, wanted)
            if bounds[end] - bounds[first] < room and b_end - b > 1:
                # the document ends before the room does: a B that is always longer than the true one would tell
                b_end -= bounds[b_end] - bounds[b] - wanted > bounds[b] + wanted - bounds[b_end - 1]
            pairs.append((bounds[first], bounds[middle], bounds[b], bounds[b_end], 0))
            first = middle
    return pairs


def _cut(pairs, room, random):
    """Cut A and B in place to `room` word pieces, as if one by one from the longer, each at a random end."""
    begins, ends = pairs[:, 0:4:2], pairs[:, 1:4:2]  # views (N, 2)
    lengths = ends - begins
    a = np.minimum(lengths[:, 0], np.maximum((room + 1) // 2, room - lengths[:, 1]))
    b = np.minimum(lengths[:, 1], room - a)
    excess = lengths - np.stack([a, b], axis=1)
    at_front = random.binomial(excess, 0.5)
    begins += at_front
    ends -= excess - at_front
