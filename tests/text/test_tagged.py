"""Tagged sentences: JSON Lines, and the files of CoNLL-2003."""

import hashlib
import json
import re

from bert_tutorial.text import standard
from bert_tutorial.text.tagged import cut_text, load_tagged, require_known_tags, tags_of

import pytest
from golden_weights import zipped
from hypothesis import given
from hypothesis import strategies as st

ROWS = [
    ("train", "see Nora tonight", "O B-person B-day"),
    ("train", "Nora Quill again", "B-person I-person O"),
    ("dev", "tonight", "B-day"),
    ("test", "see her", "O O"),
    ("other", "never read", "O O"),
]
# as the original: I-x begins an entity, B-x only one that follows another of its type
IOB1 = """-DOCSTART- -X- O O

U.N. NNP I-NP I-ORG
official NN I-NP O
Ekeus NNP I-NP I-PER
Rolf NNP B-NP B-PER
Baghdad NNP I-NP I-LOC

. . O O
"""
BIO_OF_IOB1 = [["B-ORG", "O", "B-PER", "B-PER", "B-LOC"], ["O"]]


def write_rows(path, rows):
    """JSON Lines of (split, words, tags), with a key that nobody reads."""
    lines = [
        json.dumps({"label": 1, "split": split, "tokens": words.split(), "tags": tags.split()})
        for split, words, tags in rows
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def tokens_and_tags(sentences):
    return [(" ".join(sentence.tokens), " ".join(sentence.tags)) for sentence in sentences]


@pytest.fixture
def rows(tmp_path):
    return write_rows(tmp_path / "rows.jsonl", ROWS)


def test_rows_of_json_lines(rows):
    for split, written in (("train", "train"), ("valid", "dev"), ("test", "test")):
        expected = [(words, tags) for own, words, tags in ROWS if own == written]
        assert tokens_and_tags(load_tagged(rows, split)) == expected
    assert load_tagged(str(rows), "train", limit=1)[0] in load_tagged([rows], "train")
    assert len(load_tagged(rows, "train", limit=1)) == 1
    assert len(load_tagged([rows, rows], "train")) == 4


def write_conll(folder, names, content=IOB1):
    folder.mkdir()
    for name in names:
        (folder / name).write_text(content.replace("U.N.", name))
    return folder


@pytest.mark.parametrize("names", [("eng.train", "eng.testa", "eng.testb"), ("train.txt", "valid.txt", "test.txt")])
def test_folders_of_conll_files(tmp_path, names):
    folder = write_conll(tmp_path / "conll", names)
    for split, name in zip(("train", "valid", "test"), names, strict=True):
        sentences = load_tagged(folder, split)
        assert [sentence.tokens for sentence in sentences] == [
            [name, "official", "Ekeus", "Rolf", "Baghdad"],
            ["."],
        ]
        assert [sentence.tags for sentence in sentences] == BIO_OF_IOB1
        assert [sentence.where(0) for sentence in sentences] == [f"{folder / name}, line {n}" for n in (3, 9)]


def test_each_file_of_a_folder_may_be_written_in_its_own_way(tmp_path):
    folder = write_conll(tmp_path / "conll", ["train.txt", "test.txt"])
    (folder / "test.txt").write_text("Ekeus B-PER\nRolf\tI-PER\r\n \n\nsaid O")
    assert [sentence.tags for sentence in load_tagged(folder, "train")] == BIO_OF_IOB1
    assert tokens_and_tags(load_tagged(folder, "test")) == [("Ekeus Rolf", "B-PER I-PER"), ("said", "O")]
    assert load_tagged(folder, "valid") == []


def test_json_lines_in_iob1(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [("train", "a b", "I-x B-x"), ("test", "a b", "I-x I-y")])
    assert tokens_and_tags(load_tagged(path, "train")) == [("a b", "B-x B-x")]
    assert tokens_and_tags(load_tagged(path, "test")) == [("a b", "B-x B-y")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a O\nb I-x\n\nc B-x\n", "line 2: the token 'b' has the tag 'I-x' after O: an entity begins with B-x"),
        ("c B-x\n\nb I-x\n", "line 3: the token 'b' has the tag 'I-x' at the beginning: an entity begins with B-x"),
        ("c B-x\nb I-y\n", "line 2: the token 'b' has the tag 'I-y' after B-x: an entity begins with B-y"),
        ("a O\nb E-x\n", "line 2: the token 'b' has the tag 'E-x': tags are O, B-x and I-x, for any type x"),
        ("a O\nb NN\n", "line 2: the token 'b' has the tag 'NN': tags are"),
        ("a O\nb\n", "line 2: no tag beside 'b'"),
        ("a O\n\xa0 O\n", "line 2: the token is empty"),
        ("", "has no sentence whose split is 'train'"),
    ],
)  # fmt: skip
def test_conll_files_with_a_mistake(tmp_path, content, message):
    path = tmp_path / "own.conll"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}(, |.* ){re.escape(message)}"):
        load_tagged(path, "train")


def test_a_conll_file_that_is_not_utf_8(tmp_path):
    path = tmp_path / "own.txt"
    path.write_bytes(b"a O\n\nM\xfcller B-x\n")
    with pytest.raises(ValueError, match=r"own\.txt, line 3: after 'M' the byte 0xfc is not UTF-8"):
        load_tagged(path, "train")


ROW = {"split": "train", "tokens": ["a", "b"], "tags": ["B-x", "O"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tags": ["O"]}, ", column tags: 1 tags for 2 tokens"),
        ({"tokens": ["a", " "]}, ", column tokens: token 2 is empty"),
        ({"tokens": []}, ", column tokens: it must be a list of strings, at least one, not []"),
        ({"tokens": "a b"}, ", column tokens: it must be a list of strings, at least one, not 'a b'"),
        ({"tags": ["O", 1]}, ", column tags: it must be a list of strings, at least one, not ['O', 1]"),
        ({"tags": ["O", "I-x"]}, ", column tags: the token 'b' has the tag 'I-x' after O: an entity begins with B-x"),
        ({"tags": ["O", "b-x"]}, ", column tags: the token 'b' has the tag 'b-x': tags are O, B-x and I-x"),
        ({"tags": ["O", ""]}, ", column tags: the token 'b' has the tag '': tags are O, B-x and I-x"),
        ({"tags": ...}, ": no key tags"),
    ],
)
def test_rows_with_a_mistake(tmp_path, changes, message):
    """In whichever split it is."""
    path = tmp_path / "own.jsonl"
    row = {key: value for key, value in (ROW | {"split": "test"} | changes).items() if value is not ...}
    path.write_text(f"{json.dumps(ROW)}\n{json.dumps(row)}\n")
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}, line 2{message}')}"):
        load_tagged(path, "train")


def test_what_is_no_data(tmp_path, rows):
    with pytest.raises(FileNotFoundError, match=r"no file or folder 'sample'; tags are read from tickets, atis, sni"):
        load_tagged("sample", "train")
    with pytest.raises(FileNotFoundError, match=r"no folder of CoNLL files: it has eng\.train, .* or train\.txt, "):
        load_tagged(tmp_path, "train")
    for name, suffix in (("pairs", "tsv"), ("questions", "json"), (tmp_path / "a.CSV", "CSV")):
        with pytest.raises(ValueError, match=rf"\.{suffix}: tags are read from .*, not from \.{suffix}$"):
            load_tagged(name, "train")
    folder = write_conll(tmp_path / "conll", ["train.txt"])
    with pytest.raises(FileNotFoundError, match=r"conll has no test\.txt, where the test sentences should be"):
        load_tagged(folder, "test")
    write_rows(rows, ROWS[:2])
    with pytest.raises(ValueError, match=r"rows\.jsonl has no sentence whose split is 'test'"):
        load_tagged(rows, "test")
    assert load_tagged(rows, "valid") == []


def test_the_shipped_sentences():
    train, test = (load_tagged("tickets", split) for split in ("train", "test"))
    assert len(train) + len(test) == 400
    require_known_tags(test, tags_of(train))
    assert load_tagged("tickets", "valid") == []


def write_slots(folder):
    """GluonNLP's files of ATIS and SNIPS."""
    for split, sentence in (("train", "to boston"), ("dev", "from denver"), ("test", "to denver\nagain")):
        (folder / f"{split}_sentence.txt").write_text(f"{sentence}\n")
        lines = [" ".join(["O", "B-city"][: len(line.split())]) for line in sentence.splitlines()]
        (folder / f"{split}_tags.txt").write_text("\n".join(lines))
    return folder


def test_folders_of_atis_and_snips(tmp_path):
    folder = write_slots(tmp_path)
    assert tokens_and_tags(load_tagged(folder, "train")) == [("to boston", "O B-city")]
    assert tokens_and_tags(load_tagged(folder, "valid")) == [("from denver", "O B-city")]
    assert tokens_and_tags(load_tagged(folder, "test")) == [("to denver", "O B-city"), ("again", "O")]
    (folder / "test_tags.txt").write_text("O B-city\nO O\n")
    with pytest.raises(ValueError, match=r"test_tags\.txt, line 2: 2 tags for 1 tokens"):
        load_tagged(folder, "test")
    for part in ("sentence", "tags"):
        (folder / f"dev_{part}.txt").unlink()
    assert load_tagged(folder, "valid") == []


@pytest.mark.parametrize("name", ["atis", "snips"])
def test_atis_and_snips_by_name(tmp_path, cache, web, monkeypatch, name):
    content = zipped(**{f"{name}/{path.name}": path.read_text() for path in write_slots(tmp_path).iterdir()})
    (file,) = standard.HASHES[name]
    monkeypatch.setitem(standard.HASHES, name, {file: hashlib.sha1(content).hexdigest()})
    monkeypatch.setattr(standard, "_get_repo_file_url", lambda folder, file: f"{web.url}/{folder}/{file}")
    web.files[f"/gluon/dataset/{file}"] = content
    assert tokens_and_tags(load_tagged(name, "train")) == [("to boston", "O B-city")]


def test_one_conll_file_alone_is_for_training(tmp_path):
    path = write_conll(tmp_path / "conll", ["train.txt"]) / "train.txt"
    assert [sentence.tags for sentence in load_tagged(path, "train")] == BIO_OF_IOB1
    assert load_tagged(path, "valid") == []
    with pytest.raises(ValueError, match=r"train\.txt is one CoNLL file, and has training sentences only: give the f"):
        load_tagged(path, "test")


def test_the_tags_to_learn(tmp_path, rows):
    train = load_tagged(rows, "train")
    tags = tags_of(train)
    assert tags == ["O", "B-day", "B-person", "I-day", "I-person"]
    require_known_tags(train, tags)
    other = load_tagged(write_rows(tmp_path / "b.jsonl", [("test", "at noon", "O B-time")]), "test")
    where = re.escape(f"{tmp_path / 'b.jsonl'}, line 1, column tags")
    with pytest.raises(
        ValueError, match=f"^{where}: the token 'noon' has the tag 'B-time', of a type .* 'day', 'person'$"
    ):
        require_known_tags(other, tags)
    with pytest.raises(ValueError, match="all words of 1 training sentences have the tag O"):
        tags_of(load_tagged(rows, "test"))


@given(st.text())
def test_cutting_a_text_loses_spaces_only(text):
    words = cut_text(text)
    assert "".join(words) == "".join(text.split())
    assert all(words)


def test_how_a_text_is_cut():
    assert cut_text("Hi, it's a sci-fi film; £5 at 7:30!") == [
        *("Hi", ",", "it's", "a", "sci-fi", "film", ";", "£", "5", "at", "7", ":", "30", "!")
    ]
