"""Sentences cut into words before, as BERT reads them: word pieces, of which the first stands for its word."""

import numpy as np

NO_PIECE, BEYOND = -1, -2  # in the place of a position


def encode_words(sentences, tokenizer, max_length):
    """Cut the words of sentences into pieces.

    Parameters
    ----------
    sentences : sequence of (sequence of str)
        The words of each. The tokenizer may find several words in one, as in "don't", or none, as in a lone control
        character.
    tokenizer : FastTokenizer
    max_length : int
        Longest sequence in word pieces, [CLS] and [SEP] included; a longer sentence loses its end.

    Returns
    -------
    list of (numpy.ndarray, numpy.ndarray)
        For each sentence the ids [CLS] ... [SEP], (L,), and for each word the position of its first piece, (words,):
        `NO_PIECE` for a word without one, `BEYOND` for a word of which `max_length` leaves none.

    Source: Devlin et al. 2018, section 5.3.
    """
    distinct = list(dict.fromkeys(word for words in sentences for word in words))
    pieces = dict(zip(distinct, tokenizer.encode_batch(distinct, max_length), strict=True))  # each [CLS] ... [SEP]
    cls, sep = tokenizer.encode_batch([""], max_length)[0]
    encoded = []
    for words in sentences:
        counts = np.array([len(pieces[word]) - 2 for word in words], dtype=int)  # (words,)
        firsts = 1 + np.cumsum(counts) - counts
        firsts[firsts >= max_length - 1] = BEYOND
        firsts[counts == 0] = NO_PIECE
        inner = np.concatenate([np.zeros(0, "int32"), *(pieces[word][1:-1] for word in words)])[: max_length - 2]
        encoded.append((np.array([cls, *inner, sep], dtype="int32"), firsts))
    return encoded
