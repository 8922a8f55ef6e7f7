"""Pre-training examples: pairs of stretches of text, with some word pieces masked.

A corpus is tokenised once. `make_pairs` draws the pairs of one epoch, `make_batch` the masks of one batch, so that no
two epochs see the same examples. In the shape comments: B samples, L positions, P slots for a sample's masked pieces.

Source: Devlin et al. 2018, section 3.1 and appendix A; what its text leaves open is as in the authors' published code.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np

from .wordpiece import SPECIAL_TOKENS

TRIES = 10  # draws of a random B, until there is enough text


class TokenizedCorpus(NamedTuple):
    """A corpus as flat arrays: a stretch of text is one slice of `ids`."""

    ids: np.ndarray  # (word pieces,) int32, all sentences one after the other
    sentence_ends: np.ndarray  # (sentences,) where each ends in ids
    document_ends: np.ndarray  # (documents,) where each ends, in sentences


class Batch(NamedTuple):
    """A batch of examples, as NumPy arrays. Unused slots hold position 0, label 0 and weight 0."""

    words: np.ndarray  # (B, L) int32, [CLS] A [SEP] B [SEP] with pieces masked, then [PAD]
    segments: np.ndarray  # (B, L) int32, 1 for B and its [SEP], else 0
    valid_length: np.ndarray  # (B,) float32
    masked_positions: np.ndarray  # (2, B * P) int32 as in gather_nd: row 0 the sample, row 1 the position in it
    masked_labels: np.ndarray  # (B * P,) float32, the ids that were masked
    masked_weights: np.ndarray  # (B * P,) float32, 0 or 1
    ns_labels: np.ndarray  # (B,) float32, 1 for a true next sentence, else 0


def split_batch(batch, count):
    """Split a batch's samples as evenly as it goes.

    Parameters
    ----------
    batch : Batch
    count : int
        Number of parts; fewer if the batch has fewer samples.

    Returns
    -------
    list of Batch
    """
    num_samples = len(batch.words)
    slots = len(batch.masked_labels) // num_samples  # P
    parts = []
    for samples in np.array_split(np.arange(num_samples), min(count, num_samples)):
        begin, end = samples[0], samples[-1] + 1
        masked = slice(begin * slots, end * slots)
        first = np.array([[begin], [0]], dtype="int32")  # sample and position that the part's (0, 0) is in the batch
        parts.append(
            Batch(
                batch.words[begin:end],
                batch.segments[begin:end],
                batch.valid_length[begin:end],
                batch.masked_positions[:, masked] - first,
                batch.masked_labels[masked],
                batch.masked_weights[masked],
                batch.ns_labels[begin:end],
            )
        )
    return parts


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


class Masking:
    """Chooses word pieces to predict and hides them: `masking(words, random)`.

    Of a sample's word pieces 15 %, rounded, at least one, are chosen; of these 80 % become [MASK], 10 % a random word
    piece, 10 % stay. Special tokens, [UNK] among them, are neither chosen nor put in.

    Parameters
    ----------
    vocabulary : nlp.vocab.BERTVocab
    whole_words : bool, default False
        Choose all pieces of a word or none. A word of more pieces than are still to choose is passed over, except that
        one of the shortest words is chosen in any case if there are slots for it.
    mask_ratio : float, default 0.15

    Raises
    ------
    ValueError
        `mask_ratio` is not in (0, 1], or the vocabulary holds special tokens only.

    Source: Devlin et al. 2018, section 3.1, task 1, and appendix A.1; whole words: the authors' published code.
    """

    def __init__(self, vocabulary, whole_words=False, mask_ratio=0.15):
        if not 0 < mask_ratio <= 1:
            raise ValueError(f"mask_ratio must be above 0 and at most 1, not {mask_ratio}")
        self.vocabulary, self.mask_ratio = vocabulary, mask_ratio
        self._ordinary = ~np.isin(vocabulary.idx_to_token, SPECIAL_TOKENS)
        self._continues = np.array([whole_words and token.startswith("##") for token in vocabulary.idx_to_token])
        if not self._ordinary.any():
            raise ValueError("the vocabulary holds special tokens only: there is nothing to predict")

    def __call__(self, words, random):
        """Mask a batch anew.

        Parameters
        ----------
        words : np.ndarray
            (B, L) ids, with special tokens and padding. Not changed.
        random : np.random.RandomState

        Returns
        -------
        tuple of np.ndarray
            words, masked_positions, masked_labels and masked_weights as in `Batch`, P = ceil(mask_ratio * L).
        """
        samples, slots = len(words), math.ceil(self.mask_ratio * words.shape[1])
        row, position = np.nonzero(self._choose(words, slots, random))  # (M,) each
        labels = words[row, position]
        kind = random.random_sample(len(row))
        anything = random.choice(np.flatnonzero(self._ordinary), len(row))
        mask = self.vocabulary[self.vocabulary.mask_token]
        words = words.copy()
        words[row, position] = np.where(kind < 0.8, mask, np.where(kind < 0.9, anything, labels))
        # the chosen pieces of sample k fill its slots, k * P to k * P + P - 1, from the first
        slot = row * slots + np.arange(len(row)) - np.searchsorted(row, row)
        masked_positions = np.zeros((2, samples * slots), dtype="int32")
        masked_positions[0] = np.repeat(np.arange(samples), slots)
        masked_positions[1, slot] = position
        masked_labels, masked_weights = np.zeros((2, samples * slots), dtype="float32")
        masked_labels[slot] = labels
        masked_weights[slot] = 1
        return words, masked_positions, masked_labels, masked_weights

    def _choose(self, words, slots, random):
        ordinary = self._ordinary[words]  # (B, L)
        begins = ordinary.copy()
        begins[:, 1:] &= ~(self._continues[words[:, 1:]] & ordinary[:, :-1])
        word = np.cumsum(begins, axis=1) * ordinary  # a sample's words numbered from 1; 0 for special tokens
        rows, numbers = np.arange(len(words)), word.max() + 1  # W numbers
        sizes = np.bincount((word + rows[:, None] * numbers).ravel(), minlength=len(words) * numbers)
        sizes = sizes.reshape(-1, numbers)  # (B, W)
        sizes[:, 0] = 0
        shortest = np.where(sizes > 0, sizes, slots).min(axis=1)
        left = np.clip(np.rint(self.mask_ratio * ordinary.sum(axis=1)), shortest, slots)  # (B,)
        chosen = np.zeros(sizes.shape, dtype=bool)
        for number in np.argsort(random.random_sample(sizes.shape), axis=1).T:  # one word of each sample
            size = sizes[rows, number]
            chosen[rows, number] = size <= left
            left -= size * (size <= left)
            if not left.any():
                break
        return chosen[rows[:, None], word] & ordinary


def make_batch(corpus, pairs, max_length, masking, random):
    """Lay out pairs as [CLS] A [SEP] B [SEP], or [CLS] A [SEP] without B, in fixed shapes, and mask them anew.

    Parameters
    ----------
    corpus : TokenizedCorpus
    pairs : np.ndarray
        (B, 5), rows from `make_pairs`.
    max_length : int
        L, at least what `make_pairs` was given.
    masking : Masking
        With the vocabulary that the corpus was tokenised with.
    random : np.random.RandomState

    Returns
    -------
    Batch

    Raises
    ------
    ValueError
        A pair does not fit in `max_length`, or the corpus holds ids that the vocabulary does not.

    Source: Devlin et al. 2018, section 3, input/output representations, and appendix A.1.
    """
    a_begin, a_end, b_begin, b_end, ns_labels = pairs.T[:, :, None]  # (B, 1) each
    a_sep = 1 + a_end - a_begin
    last_sep = a_sep + np.where(b_end > b_begin, 1 + b_end - b_begin, 0)
    if last_sep.max() >= max_length:
        raise ValueError(f"an example has {last_sep.max() + 1} word pieces: make the pairs for max_length={max_length}")
    vocabulary = masking.vocabulary
    position = np.arange(max_length)
    in_a = (position > 0) & (position < a_sep)  # (B, L)
    in_b = (position > a_sep) & (position < last_sep)
    source = np.where(in_a, a_begin + position - 1, np.where(in_b, b_begin + position - a_sep - 1, 0))
    words = np.where(in_a | in_b, corpus.ids[source], np.int32(vocabulary[vocabulary.padding_token]))
    if words.max() >= len(vocabulary):
        raise ValueError(
            f"the corpus holds the id {words.max()}, but the vocabulary has {len(vocabulary)} tokens: give the "
            "vocabulary that the corpus was tokenised with"
        )
    words[:, 0] = vocabulary[vocabulary.cls_token]
    words[(position == a_sep) | (position == last_sep)] = vocabulary[vocabulary.sep_token]
    segments = ((position > a_sep) & (position <= last_sep)).astype("int32")
    valid_length = (last_sep[:, 0] + 1).astype("float32")
    words, *masked = masking(words, random)
    return Batch(words, segments, valid_length, *masked, ns_labels[:, 0].astype("float32"))


@dataclass
class Examples:
    """Endless pre-training examples from a corpus: new pairs in every epoch, new masks in every batch.

    Attributes
    ----------
    corpus : TokenizedCorpus
    vocabulary : nlp.vocab.BERTVocab
        The one that the corpus was tokenised with.
    batch_size : int
    max_length : int
        Length of all examples in word pieces, [CLS], [SEP] and padding included.
    next_sentence : bool
        Pairs of stretches of text, or single ones.
    whole_words : bool
        As for `Masking`.
    """

    corpus: TokenizedCorpus
    vocabulary: object
    batch_size: int = 32
    max_length: int = 64
    next_sentence: bool = True
    whole_words: bool = False

    def __post_init__(self):
        self.masking = Masking(self.vocabulary, self.whole_words)

    def stream(self, seed):
        """Batches of pairs, epoch after epoch; an epoch's remainder smaller than a batch is left out.

        Parameters
        ----------
        seed : int
            The same seed gives the same pairs in the same order.

        Yields
        ------
        np.ndarray
            (batch_size, 5) as from `make_pairs`; fewer if the whole corpus has fewer.
        """
        for epoch in count():
            random = np.random.RandomState(np.random.SeedSequence([seed, epoch]).generate_state(1))
            pairs = make_pairs(self.corpus, self.max_length, random, self.next_sentence)
            for begin in range(0, max(1, len(pairs) - self.batch_size + 1), self.batch_size):
                yield pairs[begin : begin + self.batch_size]

    def batch(self, pairs, random):
        """Lay out and mask a batch of pairs; see `make_batch`."""
        return make_batch(self.corpus, pairs, self.max_length, self.masking, random)
