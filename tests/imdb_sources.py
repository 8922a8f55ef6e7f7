"""A few reviews, as IMDB comes: a folder, an archive, JSON."""

import json
import re
import tarfile

from bert_tutorial.text import imdb

REVIEWS = {
    "train/pos/0_9.txt": "Good.<br /><br />Very good.",
    "train/pos/1_7.txt": "Nice  enough.",
    "train/neg/0_1.txt": "Bad.",
    "train/neg/1_4.txt": "Poor.",
    "train/unsup/0_0.txt": "Not<br />labelled.",
    "train/unsup/1_0.txt": "Nor this.",
    "train/unsup/2_0.txt": "Unknown.",
    "test/pos/0_10.txt": "Splendid.",
    "test/neg/0_3.txt": "Dull.",
}
DEEP = "[" * 100_000  # JSON that nests too deeply


def as_archive(folder, path):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname=folder.name)
    return path


def as_json(folder, target):
    target.mkdir()
    for split, folders in imdb.FOLDERS.items():
        names = [name for name in REVIEWS if name.startswith(folders)]
        pairs = [[REVIEWS[name], int(re.search(r"_(\d+)\.", name)[1])] for name in names]
        (target / f"{split}.json").write_text(json.dumps(pairs), encoding="utf-8")
    return target
