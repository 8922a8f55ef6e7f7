"""IMDB's reviews, from any of their sources: a folder, an archive, JSON, the network."""

import json
import os
import re
import tarfile
from pathlib import Path

from mxnet.gluon.utils import _get_repo_file_url

from ..machine.fetching import cache_dir, download, fetch
from ..machine.files import READ_AT_ONCE
from .reviews import LARGEST_REVIEW, check_request, clean_review, decode, draw, store_reviews, store_sorted

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
FOLDERS = {"train": ("train/pos", "train/neg"), "test": ("test/pos", "test/neg"), "unsup": ("train/unsup",)}
# .../train/pos/127_9.txt: review 127, score 9; an unlabelled review's score is 0
REVIEW_FILE = re.compile(r"(?:^|/)((?:train|test)/(?:pos|neg|unsup))/\d+_(\d+)\.txt$")


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
    check_request(split, limit)
    root = fetch_imdb() if root is None else Path(root)
    reviews = store_reviews(
        lambda: (
            (key, name, text, label_of_score(score, name))
            for key, name, text, score in _read_scored_reviews(root, split)
        )
    )
    if not reviews:
        raise FileNotFoundError(
            f"{root} holds no {split} reviews: expected {split}/pos and {split}/neg with files such as 127_9.txt, "
            f"or {split}.jsonl"
        )
    return reviews.draw(limit)


def load_pretraining_reviews(root=None, limit=None):
    """Load the reviews that pre-training may read: those without labels, and those to train on without theirs.

    Parameters
    ----------
    root : str or path, optional
        As for `load_imdb`; reviews without labels are those of `train/unsup`, `unsup.jsonl` or `unsup.json`.
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
    unlabelled = sorted(_read_scored_reviews(Path(root), "unsup"))
    if not unlabelled:
        raise FileNotFoundError(f"{root} holds no unlabelled reviews: {remedy}")
    scored = unlabelled + sorted(_read_scored_reviews(Path(root), "train"))
    return [clean_review(text, name) for _, name, text, _ in draw(scored, limit)]


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
        records, order = store_sorted(
            lambda split=split: (
                (key, json.dumps((text, score)).encode()) for key, _, text, score in _read_archive(archive, split)
            )
        )
        with (folder / f"{split}.jsonl").open("wb") as file:
            file.writelines(records[i] + b"\n" for i in order)
    archive.unlink()


def _write_from_gluonnlp(folder):
    for split, known_hash in GLUONNLP_HASHES.items():
        download(_get_repo_file_url("gluon/dataset/imdb", f"{split}.json"), folder / f"{split}.json", known_hash)


def _read_scored_reviews(root, split):
    """Yield (key that reviews are sorted by, name for messages, text, score)."""
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
            while archive.fileobj.read(READ_AT_ONCE):  # a damaged header looks like the end, but not to gzip's checksum
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


def label_of_score(score, name):
    """1 for scores of 7 to 10, 0 for 1 to 4; IMDB's labelled reviews have no others."""
    if 7 <= score <= 10:
        return 1
    if 1 <= score <= 4:
        return 0
    raise ValueError(f"{name}: the score {score} is neither positive (7 to 10) nor negative (1 to 4)")
