"""Datasets by name, and one split into two."""

import os
from pathlib import Path

from gluonnlp.data import ConcatDataset, train_valid_split

from ..machine.fetching import shipped_file
from .imdb import load_imdb
from .rows import TABLES
from .tables import load_reviews

SHIPPED = {"sample": "reviews.tsv", "sentences": "sentences.tsv"}


def load_datasets(data, split, limit=None):
    """Load one dataset, or several joined in the order given.

    Parameters
    ----------
    data : str, path or sequence of them
        Each as for `load_dataset`.
    split : {"train", "test"}
    limit : int, optional
        Take this many texts of each, the same as from that dataset alone; all if not given.

    Returns
    -------
    mxnet.gluon.data.Dataset
        Of (text, label).

    Raises
    ------
    FetchError, FileNotFoundError, ValueError
        As for `load_dataset`, or no dataset or one twice.
    """
    names = [str(name) for name in ([data] if isinstance(data, str | os.PathLike) else data)]
    if not names:
        raise ValueError("data names no dataset")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"data names {name!r} twice: each text in it would count twice")
    datasets = [load_dataset(name, split, limit) for name in names]
    return ConcatDataset(datasets) if len(datasets) > 1 else datasets[0]


def load_dataset(name_or_path, split, limit=None):
    """Load "sample" or "sentences" (shipped here), "imdb", a .tsv or .csv table, or what `load_imdb` takes."""
    name = str(name_or_path)
    if name in SHIPPED:
        return load_reviews(split, shipped_file(SHIPPED[name]), limit)
    if name == "imdb":
        return load_imdb(split, limit=limit)
    path = Path(name)
    if not path.exists():
        raise FileNotFoundError(f"no file or folder {name!r}; use {', '.join(SHIPPED)}, imdb, or the path of a dataset")
    if path.suffix.lower() in TABLES:
        return load_reviews(split, path, limit)
    return load_imdb(split, path, limit)


def split_off_validation(dataset, ratio=0.1, stratify=None):
    """Split a dataset at random into a training and a validation set.

    Parameters
    ----------
    dataset : sequence
    ratio : float, default 0.1
    stratify : sequence of int, optional
        The class of each, counted from 0: both sets have the same share of each.

    Returns
    -------
    train, valid : mxnet.gluon.data.Dataset
        They read from `dataset`.
    """
    parts = train_valid_split(range(len(dataset)), valid_ratio=ratio, stratify=stratify)
    return tuple(part.transform(dataset.__getitem__) for part in parts)
