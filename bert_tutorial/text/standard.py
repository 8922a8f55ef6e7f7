"""The field's standard data sets, in the layouts in which they are handed out.

GLUE's tasks of one or two sentences (MRPC, STS-B, MNLI and others) and the intents of ATIS and SNIPS, whose tags
`load_tagged` reads. GLUE's own test sentences have no labels, so its "dev" is the test here, as it is in most papers.

Source: Wang et al. 2019, "GLUE"; Dolan and Brockett 2005 (MRPC); Hemphill et al. 1990 (ATIS); Coucke et al. 2018
(SNIPS).
"""

import csv
import zipfile
from functools import partial
from pathlib import Path

from mxnet.gluon.utils import _get_repo_file_url

from ..machine.fetching import download, fetch
from .reviews import decode

MRPC = {"train": "msr_paraphrase_train.txt", "test": "msr_paraphrase_test.txt"}
MRPC_URL = "https://dl.fbaipublicfiles.com/senteval/senteval_data/"
LABELS = ("score", "gold_label", "label", "quality")  # columns, the first that there is
TEXTS = ("sentence1", "question1", "question", "premise", "sentence", "#1 string")
TEXTS_B = ("sentence2", "question2", "hypothesis", "#2 string", "sentence")
NO_LABEL = "-"  # of MNLI's annotators no three agreed
HASHES = {  # SHA-1; of GluonNLP's archives for all but MRPC, whose files have its own host
    "mrpc": {
        MRPC["train"]: "716e0f67af962f08220b7e97d229b293077ef41f",
        MRPC["test"]: "4265196c15cf75620b0b592b8b921f543bda7e6c",
    },
    "sts-b": {
        "GLUE/STS-B/train-501e5524.zip": "9378bd341576810730a5c666ed03122e4c5ecc9f",
        "GLUE/STS-B/dev-f8bcc33b.zip": "529c3e7c36d0807d88d0b2a5d4b954809ddd4228",
    },
    "mnli": {
        "GLUE/MNLI/train-1e74055b.zip": "aa235064ab3ce47d48caa17c553561d84fdf5bf2",
        "GLUE/MNLI/dev_matched-7a38c5fb.zip": "328cf527add50ee7bc20a862f97913800ba8a4b1",
    },
    "atis": {"atis-fb75a1b5.zip": "fb75a1b595566d5c5ec06ee6f2296d6629b8c225"},
    "snips": {"snips-f22420cc.zip": "f22420cc0f2a26078337dc375606be46a4cc8c51"},
}


def fetch_standard(name):
    """The cached folder of one of `HASHES`, downloaded the first time.

    Raises
    ------
    FetchError
        Its host cannot be reached, or gives something else.
    """
    if name == "mrpc":
        source = ("SentEval's host", _write_mrpc)
    else:
        source = ("GluonNLP's repository", partial(_write_from_archives, name))
    return fetch(name, [source], lambda folder: None)


def _write_mrpc(folder):
    for file, sha1 in HASHES["mrpc"].items():
        download(MRPC_URL + file, folder / file, f"sha1:{sha1}")


def _write_from_archives(name, folder):
    for file, sha1 in HASHES[name].items():
        path, archive = folder / Path(file).name, Path(file)
        namespace = "/".join(("gluon/dataset", *archive.parts[:-1]))
        download(_get_repo_file_url(namespace, archive.name), path, f"sha1:{sha1}")
        with zipfile.ZipFile(path) as opened:
            for member in opened.infolist():
                if not member.is_dir():
                    (folder / Path(member.filename).name).write_bytes(opened.read(member))
        path.unlink()


def find_layout(folder):
    """The reader of a folder's layout, a callable from folder (pathlib.Path) and split to rows; None for another."""
    if (folder / MRPC["train"]).is_file():
        return _read_mrpc
    if (folder / "train_intent.txt").is_file():
        return _read_intents
    if (folder / "train.tsv").is_file():
        return _read_glue
    return None


def _read_mrpc(folder, split):
    """Yield (where, label, text, text_b)."""
    if split in MRPC:
        yield from _read_columns(folder / MRPC[split])


def _read_glue(folder, split):
    if split == "train":
        yield from _read_columns(folder / "train.tsv")
    elif split == "test":
        dev = sorted(folder.glob("dev*.tsv"))  # dev_matched.tsv before dev_mismatched.tsv
        if not dev:
            raise FileNotFoundError(f"{folder} has no dev.tsv, which is scored in the place of GLUE's test")
        yield from _read_columns(dev[0])


def _read_columns(path):
    with path.open("rb") as file:
        lines = ((number, decode(line, f"{path}, line {number}")) for number, line in enumerate(file, start=1))
        columns = [name.strip().lower() for name in next(lines, (1, ""))[1].rstrip("\r\n").split("\t")]
        label, text = (_column(path, columns, names) for names in (LABELS, TEXTS))
        text_b = next((name for name in TEXTS_B if name in columns and name != text), None)
        for number, line in lines:
            values = next(csv.reader([line.rstrip("\r\n")], delimiter="\t", quoting=csv.QUOTE_NONE), [])
            where = f"{path}, line {number}"
            if not values:
                continue
            if len(values) != len(columns):
                raise ValueError(f"{where}: {len(values)} values for {len(columns)} columns")
            row = dict(zip(columns, values, strict=True))
            if row[label] != NO_LABEL:
                yield where, row[label], row[text], row[text_b] if text_b else None


def _column(path, columns, names):
    found = next((name for name in names if name in columns), None)
    if found is None:
        raise ValueError(f"{path}: its first line names none of the columns {', '.join(names)}")
    return found


def _read_intents(folder, split):
    for path, number, sentence, intent in read_two_files(folder, split, "intent"):
        yield f"{path}, line {number}", intent.replace(";", "|"), sentence, None


def read_two_files(folder, split, part):
    """Yield (path, line, sentence, what is said of it) of ATIS or SNIPS.

    Parameters
    ----------
    folder : pathlib.Path
    split : {"train", "valid", "test"}
    part : {"intent", "tags"}
        What is said of each sentence, in a file of its own.
    """
    name = {"valid": "dev"}.get(split, split)
    parts = [folder / f"{name}_{kind}.txt" for kind in ("sentence", part)]
    if split == "valid" and not parts[0].exists():
        return
    sentences, values = (decode(path.read_bytes(), path).splitlines() for path in parts)
    if len(sentences) != len(values):
        raise ValueError(f"{parts[0]} has {len(sentences)} lines, but {parts[1].name} has {len(values)}")
    for number, (sentence, value) in enumerate(zip(sentences, values, strict=True), start=1):
        yield parts[1], number, sentence, value
