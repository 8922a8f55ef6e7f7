"""Reviews stay on disk, and are drawn the same every time."""

import io
import json
import random
import tarfile
from collections import Counter
from pathlib import Path

from bert_tutorial import load_imdb
from bert_tutorial.text import records

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def in_memory(scored, limit):
    """What `load_imdb` gives of (text, score) pairs in the order of their source."""
    pairs = [(" ".join(text.replace("<br />", " ").split()), int(score > 5)) for text, score in scored]
    random.Random(0).shuffle(pairs)
    counts, kept = Counter(), []
    for text, label in pairs:
        if limit is None or counts[label] < (limit + label) // 2:
            counts[label] += 1
            kept.append((text, label))
    return kept


def no_disk():
    raise OSError("no folder can be written to")


def write_source(kind, scored, root):
    """Write (text, score) pairs as a source of IMDB; return where, and the pairs in the order of the source."""
    if kind == "json":
        (root / "train.json").write_text(
            json.dumps(scored, ensure_ascii=False), encoding="utf-8", errors="surrogatepass"
        )
        return root, scored
    if kind == "jsonl":
        (root / "train.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in scored))
        return root, scored
    names = {
        f"train/{'pos' if score > 5 else 'neg'}/{i}_{score}.txt": (text, score)
        for i, (text, score) in enumerate(scored)
    }
    if kind == "folder":
        for name, (text, _) in names.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(text.encode())
    else:
        with tarfile.open(root / "reviews.tar", "w") as archive:
            for name, (text, _) in names.items():
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
        root = root / "reviews.tar"
    return root, [names[name] for name in sorted(names)]


texts = st.one_of(st.text(max_size=60), st.sampled_from(["a\r\nb", "\n\n", "one<br />two", "\u2028 great \x85"]))
reviews = st.lists(
    st.tuples(
        texts.filter(lambda text: text.replace("<br />", " ").split()), st.sampled_from([1, 2, 3, 4, 7, 8, 9, 10])
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60)
@given(
    kind=st.sampled_from(["folder", "archive", "json", "jsonl"]),
    scored=reviews,
    limit=st.none() | st.integers(1, 12),
    disk=st.booleans(),
)
def test_reviews_on_disk_are_those_in_memory(kind, scored, limit, disk, tmp_path_factory):
    root, scored = write_source(kind, scored, tmp_path_factory.mktemp("source"))
    with pytest.MonkeyPatch.context() as patch:
        if not disk:
            patch.setattr(records, "temporary_file", no_disk)
        loaded = load_imdb("train", root, limit)
    expected = in_memory(scored, limit)
    assert list(loaded) == expected
    assert len(loaded) == len(expected)
    assert loaded[:3] == expected[:3]
    assert loaded[-1:] == expected[-1:]
    if expected:
        assert loaded[-1] == expected[-1]
    with pytest.raises(IndexError):
        loaded[len(expected)]


def test_a_source_may_go_once_it_is_read(root, monkeypatch):
    loaded = load_imdb("train", root)
    expected = list(loaded)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("read again"))
    monkeypatch.setattr(tarfile, "open", lambda *_: pytest.fail("read again"))
    assert list(loaded) == expected
    assert len(expected) == 4


def test_a_full_disk_stops_nobody(root, monkeypatch):
    expected = list(load_imdb("train", root))

    class FullDisk(io.FileIO):
        def write(self, data):
            raise OSError("no space left on device")

    monkeypatch.setattr(records, "temporary_file", lambda: FullDisk("/dev/null", "w+"))
    assert list(load_imdb("train", root)) == expected


def test_limit_is_balanced_and_repeatable(root):
    drawn = list(load_imdb("train", root, limit=2))
    assert sorted(label for _, label in drawn) == [0, 1]
    assert drawn == list(load_imdb("train", root, limit=2))
    assert len(load_imdb("train", root, limit=1000)) == 4
