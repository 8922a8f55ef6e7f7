"""Examples as BERT reads them: word ids, segments and labels, of a text or of two that are to be compared."""

import numpy as np
from mxnet.gluon.data import SimpleDataset


def encode_examples(examples, labels, tokenizer, max_length):
    """Tokenise examples, all at once, in memory.

    Parameters
    ----------
    examples : sequence of Example
        All with a second text, or all without.
    labels : sequence
        Of the same length: what a loss function takes, a number or numpy.ndarray for each.
    tokenizer : FastTokenizer
    max_length : int
        Longest sequence in word pieces, [CLS] and [SEP] included. Of a pair that is longer, the longer text loses its
        end, until both are of the same length; then both do.

    Returns
    -------
    mxnet.gluon.data.SimpleDataset
        Of (word ids (L,), L, segments (L,), label).

    Raises
    ------
    ValueError
        `max_length` leaves no room.

    Source: Devlin et al. 2018, section 3 and figure 4(a); the cutting is in the authors' code.
    """
    words = tokenizer.encode_batch([example.text for example in examples], max_length)
    if not examples or examples[0].text_b is None:
        return SimpleDataset(
            [(ids, len(ids), np.zeros_like(ids), label) for ids, label in zip(words, labels, strict=True)]
        )
    if max_length < 5:
        raise ValueError(f"max_length is {max_length}: give at least 5, for [CLS], two texts and a [SEP] after each")
    words_b = tokenizer.encode_batch([example.text_b for example in examples], max_length)
    samples = []
    for ids, ids_b, label in zip(words, words_b, labels, strict=True):
        pair, segments = join(ids, ids_b, max_length)
        samples.append((pair, len(pair), segments, label))
    return SimpleDataset(samples)


def join(ids, ids_b, max_length):
    """[CLS] A [SEP] B [SEP] and its segments, of the ids of [CLS] A [SEP] and [CLS] B [SEP]."""
    kept, kept_b = cut_pair(len(ids) - 2, len(ids_b) - 2, max_length - 3)
    sep = ids[-1:]
    pair = np.concatenate([ids[: 1 + kept], sep, ids_b[1 : 1 + kept_b], sep])
    segments = np.zeros_like(pair)
    segments[2 + kept :] = 1
    return pair, segments


def cut_pair(length, length_b, room):
    """How much of two texts is kept if both must fit: the longer one loses its end first, of two alike the second."""
    excess = length + length_b - room
    if excess <= 0:
        return length, length_b
    half = room // 2
    if length_b <= half:
        return room - length_b, length_b
    if length <= room - half:
        return length, room - length
    return room - half, half
