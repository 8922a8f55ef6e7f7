"""From texts to batches: encoding, padding, and batches of reviews of about the same length.

A batch is (words, valid_length, segments, labels): ids (B, L), (B,), (B, L), (B,), all padded to the longest
review of the batch, rounded up so that few different lengths occur: MXNet plans memory anew for each.
"""

from contextlib import suppress
from itertools import accumulate

import gluonnlp as nlp
import numpy as np
from gluonnlp.data import batchify
from mxnet.gluon.data import SimpleDataset

# Gluon's DataLoader collects Python's garbage when it is made, before it forks workers. We have none, and the
# collection takes as long as the prediction of one text. The loader it replaced does not.
from mxnet.gluon.data.dataloader import DataLoaderV1

from .checkpoint import atomic_path
from .fetching import cache_dir

ROUND_LENGTH_TO = 32
SEGMENT_PADDING = 0  # the vocabulary's padding id is no segment
CACHE_FROM = 1000  # texts; fewer are tokenised in about a tenth of a second
CACHE_SIZE = 2**30  # bytes; beyond it the oldest files go


def encode_dataset(dataset, tokenizer, max_length, cached=True):
    """Tokenise a dataset once.

    Parameters
    ----------
    dataset : sequence of (str, int)
        Texts and labels.
    tokenizer : FastTokenizer
    max_length : int
        Longest sequence in word pieces, [CLS] and [SEP] included; longer texts keep their beginning.
    cached : bool, default True
        Keep the ids of `CACHE_FROM` texts or more on disk, below `cache_dir()`, and read them back the next time.

    Returns
    -------
    mxnet.gluon.data.SimpleDataset
        Of (word ids (L,), L, segments (L,), label).
    """
    texts, labels = zip(*dataset, strict=True)
    if cached and len(texts) >= CACHE_FROM:
        encoded = _encode_cached(list(texts), tokenizer, max_length)
    else:
        encoded = tokenizer.encode_batch(list(texts), max_length)
    return SimpleDataset(
        [(words, len(words), np.zeros_like(words), label) for words, label in zip(encoded, labels, strict=True)]
    )


def _encode_cached(texts, tokenizer, max_length):
    """`tokenizer.encode_batch(texts, max_length)`, from the disk if it is there."""
    path = cache_dir() / "tokenised" / f"{tokenizer.fingerprint(texts, max_length)}.npz"
    with suppress(Exception), np.load(path, allow_pickle=False) as file:  # if damaged in any way, it is made anew
        if file.zip.testzip() is None:  # every checksum is right
            return np.split(file["ids"], file["ends"][:-1])
    encoded = tokenizer.encode_batch(texts, max_length)
    with suppress(OSError):  # a full or read-only disk must not stop anyone
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, ids=np.concatenate(encoded), ends=np.cumsum([len(words) for words in encoded]))
        _remove_oldest(path.parent)
    return encoded


def _remove_oldest(folder):
    files = sorted(folder.glob("*.npz"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file, size in zip(files, accumulate(file.stat().st_size for file in files), strict=True):
        if size > CACHE_SIZE:
            file.unlink()


def make_loader(encoded, vocabulary, batch_size, shuffle, max_length=None):
    """Serve an encoded dataset in batches of reviews of similar length.

    Parameters
    ----------
    encoded : SimpleDataset
        From `encode_dataset`.
    vocabulary : gluonnlp.vocab.BERTVocab
    batch_size : int
    shuffle : bool
        Whether batches and their members change from epoch to epoch (drawn from NumPy's global generator).
    max_length : int, optional
        The one given to `encode_dataset`. Lengths are rounded up, but not beyond it: BERT may have no more positions.

    Returns
    -------
    mxnet.gluon.data.dataloader.DataLoaderV1
        Of (words (B, L), valid_length (B,), segments (B, L), labels (B,)).
    """
    if len(encoded) == 0:
        raise ValueError("the dataset is empty")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    padding_id = vocabulary[vocabulary.padding_token]
    lengths = [length for _, length, _, _ in encoded]
    return DataLoaderV1(
        encoded,
        batch_sampler=nlp.data.SortedBucketSampler(lengths, batch_size, shuffle=shuffle),
        batchify_fn=batchify.Tuple(
            _pad(padding_id, max_length),
            batchify.Stack("float32"),
            _pad(SEGMENT_PADDING, max_length),
            batchify.Stack("float32"),
        ),
    )


def _pad(value, max_length):
    pad = batchify.Pad(pad_val=value, round_to=ROUND_LENGTH_TO, dtype="int32")

    def pad_rows(rows):
        padded = pad(rows)  # (B, L)
        return padded if max_length is None or padded.shape[1] <= max_length else padded[:, :max_length]

    return pad_rows
