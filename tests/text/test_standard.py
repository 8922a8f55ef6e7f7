"""Standard data sets: small stand-ins of the same layout, written for these tests, by path and by name."""

import hashlib

import bert_tutorial as bt
from bert_tutorial.machine.fetching import FetchError
from bert_tutorial.text import standard
from bert_tutorial.text.examples import load_examples, parse_class, parse_classes, parse_number

import pytest
from golden_weights import zipped

PARSES = "\t".join(f"sentence{number}_{kind}" for kind in ("binary_parse", "parse") for number in (1, 2))
MNLI = f"index\tpromptID\tpairID\tgenre\t{PARSES}"
LAYOUTS = {
    "mrpc": {
        "msr_paraphrase_train.txt": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n"
        '1\t7\t8\tHe said "yes .\tYes , he said .\r\n0\t9\t10\tOne fell .\tTwo fell .\r\n',
        "msr_paraphrase_test.txt": "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t1\t2\tA .\tB .\r\n",
    },
    "sts-b": {
        "train.tsv": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
        "0\tmain\tx\t2012\t1\tn\tn\tA plane takes off.\tAn airplane starts.\t4.5\n",
        "dev.tsv": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
        "0\tmain\tx\t2012\t1\tn\tn\tA dog.\tA cat.\t0.200\n",
    },
    "mnli": {
        "train.tsv": f"{MNLI}\tsentence1\tsentence2\tlabel1\tgold_label\n"
        "0\t1\t1n\tx\t(\t(\t(\t(\tIt rains.\tIt is wet.\tentailment\tentailment\n",
        "dev_matched.tsv": f"{MNLI}\tsentence1\tsentence2\tlabel1\tlabel2\tgold_label\n"
        "0\t1\t1n\tx\t(\t(\t(\t(\tIt snows.\tIt is hot.\tcontradiction\tneutral\t-\n"
        "1\t1\t1n\tx\t(\t(\t(\t(\tIt snows.\tIt is hot.\tcontradiction\tcontradiction\tcontradiction\n",
        "dev_mismatched.tsv": f"{MNLI}\tsentence1\tsentence2\tlabel1\tgold_label\n",
    },
    "atis": {
        "train_sentence.txt": "fly to boston\nwhich airlines\n",
        "train_tags.txt": "O O B-city\nO O\n",
        "train_intent.txt": "flight\nairline;flight\n",
        "dev_sentence.txt": "go\n",
        "dev_tags.txt": "O\n",
        "dev_intent.txt": "flight\n",
        "test_sentence.txt": "fares\n",
        "test_tags.txt": "O\n",
        "test_intent.txt": "airfare\n",
    },
    "snips": {
        "train_sentence.txt": "play it\n",
        "train_intent.txt": "PlayMusic\n",
        "test_sentence.txt": "rate it\n",
        "test_intent.txt": "RateBook\n",
    },
}
EXPECTED = {  # of train, valid, test: texts, second texts, labels
    "mrpc": (parse_class, [('He said "yes .', "Yes , he said .", "1"), ("One fell .", "Two fell .", "0")], [],
             [("A .", "B .", "1")]),
    "sts-b": (parse_number, [("A plane takes off.", "An airplane starts.", 4.5)], [], [("A dog.", "A cat.", 0.2)]),
    "mnli": (parse_class, [("It rains.", "It is wet.", "entailment")], [],
             [("It snows.", "It is hot.", "contradiction")]),
    "atis": (parse_classes, [("fly to boston", None, ("flight",)), ("which airlines", None, ("airline", "flight"))],
             [("go", None, ("flight",))], [("fares", None, ("airfare",))]),
    "snips": (parse_class, [("play it", None, "PlayMusic")], [], [("rate it", None, "RateBook")]),
}  # fmt: skip


def write(folder, name):
    folder.mkdir()
    for file, content in LAYOUTS[name].items():
        (folder / file).write_bytes(content.encode())
    return folder


def assert_as_expected(data, name):
    parse, *splits = EXPECTED[name]
    for split, expected in zip(("train", "valid", "test"), splits, strict=True):
        assert [example[:3] for example in load_examples(data, split, parse)] == expected


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_of_each(tmp_path, name):
    assert_as_expected(write(tmp_path / "own", name), name)


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_by_its_name(tmp_path, cache, web, monkeypatch, name):
    files = {file: content.encode() for file, content in LAYOUTS[name].items()}
    if name != "mrpc":  # in archives, with a folder inside, as there
        members = {f"{name}/{file}": content.decode() for file, content in files.items()}
        files = {file: zipped(**members) for file in standard.HASHES[name]}
    hashes = {file: hashlib.sha1(content).hexdigest() for file, content in files.items()}
    monkeypatch.setitem(standard.HASHES, name, hashes)
    monkeypatch.setattr(standard, "MRPC_URL", f"{web.url}/")
    monkeypatch.setattr(standard, "_get_repo_file_url", lambda folder, file: f"{web.url}/{folder}/{file}")
    prefix = "/" if name == "mrpc" else "/gluon/dataset/"
    web.files |= {prefix + file: content for file, content in files.items()}
    assert_as_expected(name, name)
    web.close()
    assert_as_expected(name, name)
    assert sorted(path.name for path in (cache / name).iterdir()) == sorted(LAYOUTS[name]), "no archive is left"


def test_another_file_is_refused(cache, web, monkeypatch):
    monkeypatch.setattr(standard, "_get_repo_file_url", lambda folder, file: f"{web.url}/{folder}/{file}")
    web.files["/gluon/dataset/" + next(iter(standard.HASHES["atis"]))] = b"something else"
    with pytest.raises(FetchError, match="could not fetch atis"):
        load_examples("atis", "train", parse_class)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train.tsv", "sentence1\tsentence2\tscore\nA\tB\n", "line 2: 2 values for 3 columns"),
        ("train.tsv", "sentence1\tsentence2\nA\tB\n", "names none of the columns score, gold_label"),
        ("train.tsv", "", "names none of the columns"),
        ("train.tsv", "sentence\tlabel\n \t1\n", r"line 2, column text: .*empty"),
        ("train.tsv", b"sentence\tlabel\n\xe9\t1\n", "line 2.*not UTF-8"),
    ],
)
def test_files_that_are_wrong(tmp_path, file, content, message):
    (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        load_examples(tmp_path, "train", parse_class)


def test_files_that_are_not_there(tmp_path):
    (tmp_path / "train.tsv").write_text("sentence\tlabel\nA\t1\n")
    with pytest.raises(FileNotFoundError, match=r"no dev\.tsv"):
        load_examples(tmp_path, "test", parse_class)
    for part in ("sentence", "intent"):
        (tmp_path / f"train_{part}.txt").write_text("a\nb\n" if part == "intent" else "a\n")
    with pytest.raises(ValueError, match=r"has 1 lines, but train_intent\.txt has 2"):
        load_examples(tmp_path, "train", parse_class)


def test_a_standard_set_is_learned(tiny_checkpoint, tmp_path):
    path = write(tmp_path / "own", "mrpc")
    row = "{}\t1\t2\tthe film\t{}\n"
    for file in standard.MRPC.values():
        rows = [row.format(label, "great" if label else "awful") for label in (0, 1)] * 8
        (path / file).write_text("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n" + "".join(rows))
    found = bt.finetune_task("classify", path, tiny_checkpoint, epochs=1, max_length=32)
    assert found.score["count"] == 16
