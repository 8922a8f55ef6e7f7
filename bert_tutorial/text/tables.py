"""Reviews in a table: the ones shipped with the course, or a reader's own."""

from pathlib import Path

from ..machine.fetching import shipped_file
from .reviews import check_request, store_reviews
from .rows import TABLES, read_rows

COLUMNS = ("split", "label", "text")


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
        As for `read_rows`, or a label other than 0 and 1, an empty text, or no row of this split.
    """
    check_request(split, limit)
    path = shipped_file("reviews.tsv") if path is None else Path(path)
    if path.suffix.lower() not in TABLES:
        raise ValueError(f"{path}: expected a .tsv or .csv file")
    reviews = store_reviews(lambda: _read_table(path, split))
    if not reviews:
        raise ValueError(f"{path} has no row whose split is {split!r}: it must have rows of train and of test")
    return reviews.draw(limit)


def _read_table(path, split):
    """Yield (key that reviews are sorted by, name for messages, text, label)."""
    for line, where, row in read_rows(path, COLUMNS):
        if row["label"] not in ("0", "1"):
            raise ValueError(f"{where}: label must be 0 or 1, not {row['label']!r}")
        if row["split"] == split:
            yield line, where, row["text"], int(row["label"])
