"""Labelled texts that stay on disk.

Every dataset is a sequence of (text, label), label 1 for positive and 0 for negative. Its texts are read from the
source once, one after the other, into a temporary file, and stay there: a dataset may be larger than the memory.
"""

import random
import re
from array import array

from mxnet.gluon.data import Dataset

from .records import keep_on_disk

SPLITS = ("train", "test")
ORDER_SEED = 0
LARGEST_REVIEW = 2**24  # bytes; a review has some thousand


class Reviews(Dataset):
    """(text, label) pairs whose texts are on disk.

    Parameters
    ----------
    records : Records or list of bytes
        Each is the label, one byte, then the text in UTF-8.
    order : sequence of int
        Which records, in which order.
    """

    def __init__(self, records, order):
        self._records, self._order = records, array("q", order)

    def __len__(self):
        return len(self._order)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        record = self._records[self._order[index]]
        return record[1:].decode("utf-8", "surrogatepass"), record[0]

    def draw(self, limit):
        """Mix the reviews, always alike, and keep `limit` of them, half of each class; all if it is None."""
        order = self._order[:]
        random.Random(ORDER_SEED).shuffle(order)
        if limit is None:
            return Reviews(self._records, order)
        room = {1: (limit + 1) // 2, 0: limit // 2}
        kept = []
        for i in order:
            label = self._records[i][0]
            if room[label]:
                room[label] -= 1
                kept.append(i)
        return Reviews(self._records, kept)


def store_reviews(read):
    """Put reviews on disk as they come.

    Parameters
    ----------
    read : callable
        Gives an iterable of (key, name for messages, text, label); called a second time if the disk is full.

    Returns
    -------
    Reviews
        Sorted by key.
    """

    def packed():
        for key, name, text, label in read():
            yield key, _pack(clean_review(text, name), label)

    return Reviews(*store_sorted(packed))


def store_sorted(read):
    """Put (key, bytes) on disk as they come.

    Returns
    -------
    records : Records or list of bytes
    order : list of int
        Their numbers, sorted by key.
    """
    keys = []

    def records():
        keys.clear()
        for key, record in read():
            keys.append(key)
            yield record

    stored = keep_on_disk(records)
    return stored, sorted(range(len(stored)), key=keys.__getitem__)


def _pack(text, label):
    return bytes([label]) + text.encode("utf-8", "surrogatepass")


def clean_review(text, name):
    """A review without line breaks, those of HTML among them; an empty one is an error that names it."""
    text = " ".join(re.sub(r"<br\s*/?>", " ", text).split())
    if not text:
        raise ValueError(f"{name}: the review is empty")
    return text


def check_request(split, limit):
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    _check_limit(limit)


def _check_limit(limit):
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")


def draw(items, limit):
    """Keep `limit` items, always the same and in their order; all if there are fewer or limit is None."""
    _check_limit(limit)
    if limit is None or limit >= len(items):
        return items
    return [items[i] for i in sorted(random.Random(ORDER_SEED).sample(range(len(items)), limit))]


def decode(content, name):
    """Text of bytes in UTF-8; the error names them."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[max(0, error.start - 20) : error.start].decode("utf-8", "ignore")
        raise ValueError(
            f"{name}: after {before!r} the byte {error.object[error.start]:#x} is not UTF-8: save the file again as "
            "UTF-8 (in Excel: CSV UTF-8)"
        ) from error
