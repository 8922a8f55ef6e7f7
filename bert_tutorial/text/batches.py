"""From texts to batches: encoding, padding, and batches of reviews of about the same length.

A batch is (words, valid_length, segments, labels): ids (B, L), (B,), (B, L), (B,), all padded to the longest
review of the batch, rounded up so that few different lengths occur: MXNet plans memory anew for each.
"""

import os
import tempfile
from array import array
from contextlib import suppress
from itertools import islice
from pathlib import Path

import gluonnlp as nlp
import numpy as np
from gluonnlp.data import batchify
from mxnet.gluon.data import ArrayDataset
from mxnet.gluon.data.dataloader import DataLoaderV1

from ..machine.fetching import cache_dir
from ..machine.files import DIGEST_SIZE, digest, remove_oldest
from .records import Records, keep_on_disk
from .wordpiece import BATCH

ROUND_LENGTH_TO = 32
SEGMENT_PADDING = 0  # the vocabulary's padding id is no segment
CACHE_FROM = 1000  # texts; fewer are tokenised in about a tenth of a second
CACHE_SIZE = 2**30  # bytes; a file with as much in newer ones goes


def encode_dataset(dataset, tokenizer, max_length, cached=True):
    """Tokenise a dataset once.

    Parameters
    ----------
    dataset : sequence of (str, int)
        Texts and labels. Read several times: texts that are on disk need not fit into the memory.
    tokenizer : FastTokenizer
    max_length : int
        Longest sequence in word pieces, [CLS] and [SEP] included; longer texts keep their beginning.
    cached : bool, default True
        Keep the ids of `CACHE_FROM` texts or more in a file below `cache_dir()`, for the next time too, and read each
        batch from there: in memory is only where the ids of each text end. The file is the user's alone, for ids can be
        turned back into texts. A temporary file takes its place if it cannot be written, or if this is False, and the
        memory if that cannot be written either.

    Returns
    -------
    mxnet.gluon.data.Dataset
        Of (word ids (L,), L, segments (L,), label).
    """
    if len(dataset) < CACHE_FROM:
        encoded = tokenizer.encode_batch([text for text, _ in dataset], max_length)
    elif cached:
        encoded = _encode_cached(dataset, tokenizer, max_length)
    else:
        encoded = keep_on_disk(lambda: _encode(dataset, tokenizer, max_length))
    return ArrayDataset(encoded, [label for _, label in dataset]).transform(_sample)


def _sample(words, label):
    words = np.frombuffer(words, "int32")  # (L,)
    return words, len(words), np.zeros_like(words), label


def _encode_cached(dataset, tokenizer, max_length):
    """Bytes of the word ids of each text, int32, in a file of the cache.

    Returns
    -------
    Records or list of bytes
    """
    path = cache_dir() / "tokenised" / f"{tokenizer.fingerprint((text for text, _ in dataset), max_length)}.ids"
    with suppress(OSError):  # a full or read-only disk, or another user's folder, must not stop anyone
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        with suppress(OSError, ValueError):  # missing, or damaged in any way: it is made anew
            return _read_cached(path, len(dataset))
        return _write_cached(path, _encode(dataset, tokenizer, max_length))
    return keep_on_disk(lambda: _encode(dataset, tokenizer, max_length))


def _encode(dataset, tokenizer, max_length):
    texts = (text for text, _ in dataset)
    while batch := list(islice(texts, BATCH)):
        for words in tokenizer.encode_batch(batch, max_length):
            yield words.tobytes()


def _write_cached(path, records):
    """Write records, where they end (as `Records.ends`, int64), and the SHA-256 of all that; read from that file."""
    # of this process alone, for others may be writing the same; 0600
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    temporary = Path(temporary)
    try:
        file = os.fdopen(descriptor, "wb+")
        written = Records.write(file, records)
        written.ends.tofile(file)
        file.flush()
        file.write(digest(temporary, file.tell()))
        file.flush()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    remove_oldest(path.parent, CACHE_SIZE, newest=path)
    return written


def _read_cached(path, count):
    """Open what `_write_cached` wrote of `count` records; ValueError if a bit of it is wrong."""
    file = path.open("rb")
    records = Records(file, array("q"))
    size = file.seek(0, os.SEEK_END) - DIGEST_SIZE
    file.seek(max(0, size))
    if file.read() != digest(path, size):
        raise ValueError(f"{path} is damaged")
    file.seek(size - (count + 1) * records.ends.itemsize)
    records.ends.fromfile(file, count + 1)
    return records


def make_loader(encoded, vocabulary, batch_size, shuffle, max_length=None, label_padding=None):
    """Serve an encoded dataset in batches of reviews of similar length.

    Parameters
    ----------
    encoded : mxnet.gluon.data.Dataset
        From `encode_dataset`.
    vocabulary : gluonnlp.vocab.BERTVocab
    batch_size : int
    shuffle : bool
        Whether batches and their members change from epoch to epoch (drawn from NumPy's global generator).
    max_length : int, optional
        The one given to `encode_dataset`. Lengths are rounded up, but not beyond it: BERT may have no more positions.
    label_padding : int, optional
        Labels are arrays (L,), of a label for each position; this is the label of the padding.

    Returns
    -------
    mxnet.gluon.data.dataloader.DataLoaderV1
        Of (words (B, L), valid_length (B,), segments (B, L), labels (B,) or (B, ...)).
    """
    if len(encoded) == 0:
        raise ValueError("the dataset is empty")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    order = batch_order(encoded, batch_size, shuffle)
    return DataLoaderV1(encoded, batch_sampler=order, batchify_fn=make_batchify(vocabulary, max_length, label_padding))


def make_batchify(vocabulary, max_length=None, label_padding=None):
    """What makes a batch of samples of an encoded dataset; `max_length` and `label_padding` as for `make_loader`."""
    return batchify.Tuple(
        _pad(vocabulary[vocabulary.padding_token], max_length),
        batchify.Stack("float32"),
        _pad(SEGMENT_PADDING, max_length),
        batchify.Stack("float32") if label_padding is None else _pad(label_padding, max_length),
    )


def batch_order(encoded, batch_size, shuffle=False):
    """For each batch of `make_loader` the numbers of its samples; without `shuffle` the same every time."""
    return nlp.data.SortedBucketSampler([length for _, length, _, _ in encoded], batch_size, shuffle=shuffle)


def _pad(value, max_length):
    pad = batchify.Pad(pad_val=value, round_to=ROUND_LENGTH_TO, dtype="int32")

    def pad_rows(rows):
        padded = pad(rows)  # (B, L)
        return padded if max_length is None or padded.shape[1] <= max_length else padded[:, :max_length]

    return pad_rows
