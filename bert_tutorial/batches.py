"""From texts to batches: encoding, padding, and batches of reviews of about the same length.

A batch is (words, valid_length, segments, labels): ids (B, L), (B,), (B, L), (B,), all padded to the longest
review of the batch, rounded up so that few different lengths occur: MXNet plans memory anew for each.
"""

import gluonnlp as nlp
import numpy as np
from gluonnlp.data import batchify
from mxnet.gluon.data import DataLoader, SimpleDataset

ROUND_LENGTH_TO = 32
SEGMENT_PADDING = 0  # the vocabulary's padding id is no segment


def encode_dataset(dataset, tokenizer, max_length):
    """Tokenise a dataset once.

    Parameters
    ----------
    dataset : sequence of (str, int)
        Texts and labels.
    tokenizer : FastTokenizer
    max_length : int
        Longest sequence in word pieces, [CLS] and [SEP] included; longer texts keep their beginning.

    Returns
    -------
    mxnet.gluon.data.SimpleDataset
        Of (word ids (L,), L, segments (L,), label).
    """
    texts, labels = zip(*dataset, strict=True)
    return SimpleDataset(
        [
            (words, len(words), np.zeros_like(words), label)
            for words, label in zip(tokenizer.encode_batch(list(texts), max_length), labels, strict=True)
        ]
    )


def make_loader(encoded, vocabulary, batch_size, shuffle):
    """Serve an encoded dataset in batches of reviews of similar length.

    Parameters
    ----------
    encoded : SimpleDataset
        From `encode_dataset`.
    vocabulary : gluonnlp.vocab.BERTVocab
    batch_size : int
    shuffle : bool
        Whether batches and their members change from epoch to epoch (drawn from NumPy's global generator).

    Returns
    -------
    mxnet.gluon.data.DataLoader
        Of (words (B, L), valid_length (B,), segments (B, L), labels (B,)).
    """
    if len(encoded) == 0:
        raise ValueError("the dataset is empty")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    padding_id = vocabulary[vocabulary.padding_token]
    lengths = [length for _, length, _, _ in encoded]
    return DataLoader(
        encoded,
        batch_sampler=nlp.data.SortedBucketSampler(lengths, batch_size, shuffle=shuffle),
        batchify_fn=batchify.Tuple(
            batchify.Pad(pad_val=padding_id, round_to=ROUND_LENGTH_TO, dtype="int32"),
            batchify.Stack("float32"),
            batchify.Pad(pad_val=SEGMENT_PADDING, round_to=ROUND_LENGTH_TO, dtype="int32"),
            batchify.Stack("float32"),
        ),
    )
