"""Labelled reviews: IMDB from any of its sources, and the reviews shipped with the course.

Every dataset is a sequence of (text, label), label 1 for positive and 0 for negative. Its texts are read from the
source once, one after the other, into a temporary file, and stay there: a dataset may be larger than the memory.
"""

import csv
import json
import os
import random
import re
import tarfile
from array import array
from itertools import zip_longest
from pathlib import Path

from gluonnlp.data import train_valid_split
from mxnet.gluon.data import Dataset
from mxnet.gluon.utils import _get_repo_file_url

from ..machine.fetching import cache_dir, download, fetch, shipped_file
from .records import keep_on_disk

ACL_IMDB_HASH = "sha1:01ada507287d82875905620988597833ad4e0903"
ACL_IMDB_URLS = {
    "its authors at Stanford": "http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    "d2l's mirror": "http://d2l-data.s3-accelerate.amazonaws.com/aclImdb_v1.tar.gz",
}
GLUONNLP_HASHES = {
    "train": "sha1:516a0ba06bca4e32ee11da2e129f4f871dff85dc",
    "test": "sha1:7d59bd8899841afdc1c75242815260467495b64a",
    "unsup": "sha1:f908a632b7e7d7ecf113f74c968ef03fadfc3c6c",
}
SPLITS = ("train", "test")
FOLDERS = {"train": ("train/pos", "train/neg"), "test": ("test/pos", "test/neg"), "unsup": ("train/unsup",)}
# .../train/pos/127_9.txt: review 127, score 9; an unlabelled review's score is 0
REVIEW_FILE = re.compile(r"(?:^|/)((?:train|test)/(?:pos|neg|unsup))/\d+_(\d+)\.txt$")
ORDER_SEED = 0
CHUNK = 2**20  # bytes of a file read at once
LARGEST_REVIEW = 2**24  # bytes; a review has some thousand
COLUMNS = {"split", "label", "text"}
SEPARATORS = {";": "semicolons", ",": "commas", "\t": "tabs"}
TABLES = (".tsv", ".csv")


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


def load_imdb(split, root=None, limit=None):
    """Load IMDB's labelled reviews.

    Parameters
    ----------
    split : {"train", "test"}
    root : str or path, optional
        A folder or a tar archive in the layout of the original `aclImdb` (`train/pos/127_9.txt`, ...), or a
        folder with `train.jsonl` and `test.jsonl`, one [text, score] a line, or GluonNLP's `train.json` and
        `test.json`, which are read whole. None takes the cache, downloading it the first time.
    limit : int, optional
        Take this many reviews, half of each class, drawn once for all: the same number gives the same reviews.

    Returns
    -------
    Reviews
        Of (text, label); positive and negative mixed, always in the same order.

    Raises
    ------
    FetchError
        The reviews are not in the cache and no host could be reached.
    FileNotFoundError
        `root` does not exist or holds no reviews of this split.
    ValueError
        An unknown split, a score of 5 or 6 (IMDB has none), an empty review, one that is not UTF-8 or has more than
        `LARGEST_REVIEW` bytes, or a damaged file; the message names it.

    Source: Maas et al. 2011, "Learning Word Vectors for Sentiment Analysis", section 4.1.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    root = fetch_imdb() if root is None else Path(root)
    _check_limit(limit)
    records, order = _store(
        lambda: (
            (place, _record(_clean(text, name), label_of_score(score, name)))
            for place, name, text, score in _read_scored_reviews(root, split)
        )
    )
    if not order:
        raise FileNotFoundError(
            f"{root} holds no {split} reviews: expected {split}/pos and {split}/neg with files such as 127_9.txt, "
            f"or {split}.jsonl"
        )
    return Reviews(records, _draw(records, order, limit))


def load_unlabelled_reviews(root=None, limit=None):
    """Load IMDB's reviews without labels, text for pre-training.

    Parameters
    ----------
    root : str or path, optional
        As for `load_imdb`; the reviews are those of `train/unsup`, `unsup.jsonl` or `unsup.json`.
    limit : int, optional
        Take this many reviews, drawn once for all: the same number gives the same reviews.

    Returns
    -------
    list of str

    Raises
    ------
    FetchError
        The reviews are not in the cache and no host could be reached.
    FileNotFoundError
        `root` does not exist or holds no unlabelled reviews, as caches of earlier versions of this course.
    ValueError
        As for `load_imdb`, or a limit below 1.
    """
    remedy = "expected train/unsup with files such as 127_0.txt, or unsup.jsonl"
    if root is None:
        root = fetch_imdb()
        remedy = "an earlier version of this course fetched it. Remove that folder and fetch imdb again"
    scored = sorted(_read_scored_reviews(Path(root), "unsup"))
    if not scored:
        raise FileNotFoundError(f"{root} holds no unlabelled reviews: {remedy}")
    return [_clean(text, name) for _, name, text, _ in draw(scored, limit)]


def load_reviews(split, path=None, limit=None):
    """Load reviews from a table with the columns split, label and text; by default the one shipped here.

    Parameters
    ----------
    split : {"train", "test"}
    path : str or path, optional
        A `.tsv` (tab-separated, no quoting) or `.csv` file in UTF-8 with a header line.
    limit : int, optional
        As for `load_imdb`.

    Returns
    -------
    Reviews
        Of (text, label).

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Not UTF-8, other separators, a missing column, a row with more values than columns, quotes that do not match, a
        label other than 0 and 1, an empty text, or no row of this split. The message says in which line.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    path = shipped_file("reviews.tsv") if path is None else Path(path)
    if path.suffix.lower() not in TABLES:
        raise ValueError(f"{path}: expected a .tsv or .csv file")
    _check_limit(limit)
    records, order = _store(lambda: _read_table(path, split))
    if not order:
        raise ValueError(f"{path} has no row whose split is {split!r}: it must have rows of train and of test")
    return Reviews(records, _draw(records, order, limit))


def load_dataset(name_or_path, split, limit=None):
    """Load "sample" (the shipped reviews), "imdb", a .tsv or .csv table, or a folder or archive as in `load_imdb`."""
    name = str(name_or_path)
    if name == "sample":
        return load_reviews(split, limit=limit)
    if name == "imdb":
        return load_imdb(split, limit=limit)
    path = Path(name)
    if not path.exists():
        raise FileNotFoundError(f"no file or folder {name!r}; use sample, imdb, or the path of a dataset")
    if path.suffix.lower() in TABLES:
        return load_reviews(split, path, limit)
    return load_imdb(split, path, limit)


def split_off_validation(dataset, ratio=0.1):
    """Split (text, label) pairs at random into a training and a validation set with the same share of each class.

    Returns
    -------
    train, valid : mxnet.gluon.data.Dataset
        They read from `dataset`.
    """
    numbers = range(len(dataset))
    parts = train_valid_split(numbers, valid_ratio=ratio, stratify=[label for _, label in dataset])
    return tuple(part.transform(dataset.__getitem__) for part in parts)


def fetch_imdb():
    """The cached folder with IMDB as `train.jsonl` or `train.json`, and so on, downloaded the first time."""
    sources = [(name, lambda folder, url=url: _write_from_archive(url, folder)) for name, url in ACL_IMDB_URLS.items()]
    sources.append(("GluonNLP's repository", _write_from_gluonnlp))
    return fetch("imdb", sources, check=lambda folder: None)


def imdb_is_fetched():
    """Whether `load_imdb` works without a network."""
    return (cache_dir() / "imdb").is_dir()


def _write_from_archive(url, folder):
    archive = folder / "aclImdb_v1.tar.gz"
    download(url, archive, ACL_IMDB_HASH)
    for split in FOLDERS:
        records, order = _store(
            lambda split=split: (
                (place, json.dumps((text, score)).encode()) for place, _, text, score in _read_archive(archive, split)
            )
        )
        with (folder / f"{split}.jsonl").open("wb") as file:
            file.writelines(records[i] + b"\n" for i in order)
    archive.unlink()


def _write_from_gluonnlp(folder):
    for split, known_hash in GLUONNLP_HASHES.items():
        download(_get_repo_file_url("gluon/dataset/imdb", f"{split}.json"), folder / f"{split}.json", known_hash)


def _read_scored_reviews(root, split):
    """Yield (place in the order, name for messages, text, score)."""
    if not root.exists():
        raise FileNotFoundError(f"no file or folder {root}")
    if root.is_file():
        yield from _read_archive(root, split)
        return
    if json_file := find_json(root, split):
        yield from _read_json(json_file)
        return
    folders = sorted(path for folder in FOLDERS[split] for path in root.glob(f"**/{folder}") if path.is_dir())
    files = (folder / name for folder in folders for name in sorted(os.listdir(folder)))
    for i, path in enumerate(files):
        if match := REVIEW_FILE.search(path.as_posix()):
            yield i, str(path), decode(path.read_bytes(), path), int(match[2])


def _read_archive(path, split):
    for name, content in _read_members(path, FOLDERS[split]):
        where = f"{path}: {name}"
        yield name, where, decode(content, where), int(REVIEW_FILE.search(name)[2])


def _read_members(path, folders):
    """Yield (name, bytes) of the reviews in some folders of a tar archive."""
    try:
        with tarfile.open(path, tarinfo=_Member) as archive:
            while member := archive.next():
                archive.members.clear()  # tarfile remembers all of them otherwise
                if member.isfile() and (match := REVIEW_FILE.search(member.name)) and match[1] in folders:
                    _refuse_size(member)
                    yield member.name, archive.extractfile(member).read()
            while archive.fileobj.read(CHUNK):  # a damaged header looks like the end, but not to gzip's checksum
                pass
    except Exception as error:  # of tarfile, three decompressors, int(), the recursion limit, ...
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
        raise ValueError(
            f"{path} cannot be read as a tar archive of reviews ({reason}); nor does its name end as that of a table "
            "(.tsv, .csv) or of a text to pre-train on (.txt, .md)"
        ) from error


class _Member(tarfile.TarInfo):
    """A header of a tar archive; what belongs to a header (a long name, say) is read whole, so it must be small."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        member = super().frombuf(buf, encoding, errors)
        if not member.isfile():
            _refuse_size(member)
        return member


def _refuse_size(member):
    if member.size > LARGEST_REVIEW:
        raise ValueError(f"{member.name} has {member.size:,} bytes, more than any review: {LARGEST_REVIEW:,}")


def find_json(root, split):
    """A folder's reviews of one split, or without labels ("unsup"), as JSON Lines or JSON; None if there are none."""
    files = (root / f"{split}{suffix}" for suffix in (".jsonl", ".json"))
    return next(filter(Path.is_file, files), None)


def _read_json(path):
    for i, review in enumerate(_parse_json(path), start=1):
        where = f"{path}, review {i}"
        if not (isinstance(review, list) and list(map(type, review)) == [str, int]):
            raise ValueError(f"{where}: it must be [text, score], a string and a whole number")
        yield i, where, *review


def _parse_json(path):
    """Yield the values of JSON Lines, one at a time in memory, or those of one JSON list, which is read whole."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            if path.suffix == ".jsonl":
                yield from map(json.loads, file)
            else:
                found = json.load(file)
                yield from found if isinstance(found, list) else [found]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or no JSON: {error}") from error


def _read_table(path, split):
    """Yield (place in the order, record of the review)."""
    tabs = path.suffix.lower() == ".tsv"
    layout = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {}
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_REVIEW))  # of the whole process; it was 128 KiB
    line = 1  # in which a row begins
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            if "\0" in header:
                raise ValueError(f"{path}, line 1: it has zero bytes, as UTF-16 has: save the file again as UTF-8")
            columns = _check_header(path, next(csv.reader([header], **layout), []))
            rows = csv.reader(file, strict=True, **layout)
            line = 2
            for values in rows:
                where, line = f"{path}, line {line}", rows.line_num + 2
                if not values:
                    continue
                row = dict(zip_longest(columns, values, fillvalue=""))
                if len(values) > len(columns):
                    remedy = "a text cannot hold a tab" if tabs else "put a text that holds commas in quotes"
                    raise ValueError(f"{where}: more values than columns; {remedy}")
                if row["label"] not in ("0", "1"):
                    raise ValueError(f"{where}: label must be 0 or 1, not {row['label']!r}")
                if row["split"] == split:
                    yield line, _record(_clean(row["text"], where), int(row["label"]))
    except UnicodeDecodeError:
        with path.open("rb") as file:
            for line, content in enumerate(file, start=1):
                decode(content, f"{path}, line {line}")
        raise
    except csv.Error as error:
        remedy = "" if tabs else "; quotes around a text must match, and one inside it is written twice"
        raise ValueError(f"{path}, line {line}: {error}{remedy}") from error


def _check_header(path, names):
    """The columns' names without their case and the spaces around them."""
    names = [name.strip().lower() for name in names]
    missing = COLUMNS.difference(names)
    for separator, word in SEPARATORS.items():
        if missing and COLUMNS.issubset(part.strip(' "') for name in names for part in name.split(separator)):
            raise ValueError(f"{path}: its columns are separated by {word}; a .csv needs commas, a .tsv tabs")
    if missing:
        raise ValueError(f"{path}: no column {', '.join(sorted(missing))}; the first line must name split, label, text")
    return names


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


def draw(items, limit):
    """Keep `limit` items, always the same and in their order; all if there are fewer or limit is None."""
    _check_limit(limit)
    if limit is None or limit >= len(items):
        return items
    return [items[i] for i in sorted(random.Random(ORDER_SEED).sample(range(len(items)), limit))]


def _check_limit(limit):
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")


def label_of_score(score, name):
    """1 for scores of 7 to 10, 0 for 1 to 4; IMDB's labelled reviews have no others."""
    if 7 <= score <= 10:
        return 1
    if 1 <= score <= 4:
        return 0
    raise ValueError(f"{name}: the score {score} is neither positive (7 to 10) nor negative (1 to 4)")


def _clean(text, name):
    text = " ".join(re.sub(r"<br\s*/?>", " ", text).split())
    if not text:
        raise ValueError(f"{name}: the review is empty")
    return text


def _record(text, label):
    return bytes([label]) + text.encode("utf-8", "surrogatepass")


def _draw(records, order, limit):
    """Mix the numbers of reviews, always alike, and keep `limit` of them, half of each class."""
    random.Random(ORDER_SEED).shuffle(order)
    if limit is None:
        return order
    room = {1: (limit + 1) // 2, 0: limit // 2}
    kept = []
    for i in order:
        label = records[i][0]
        if room[label]:
            room[label] -= 1
            kept.append(i)
    return kept


def _store(read):
    """Put (place, bytes) on disk as they come.

    Returns
    -------
    records : Records or list of bytes
    order : list of int
        Their numbers, sorted by place.
    """
    places = []

    def records():
        places.clear()
        for place, record in read():
            places.append(place)
            yield record

    stored = keep_on_disk(records)
    return stored, sorted(range(len(stored)), key=places.__getitem__)
