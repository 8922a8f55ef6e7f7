"""Pre-training examples: pairs of stretches of text, with some word pieces masked.

A corpus is tokenised once. `make_pairs` draws the pairs of one epoch, `make_batch` the masks of one batch, so that no
two epochs see the same examples. In the shape comments: B samples, L positions, P slots for a sample's masked pieces.

Source: Devlin et al. 2018, section 3.1 and appendix A; what its text leaves open is as in the authors' published code.
"""

from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np

from .masking import Masking
from .sentence_pairs import TokenizedCorpus, make_pairs


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
