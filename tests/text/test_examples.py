"""Examples for any task on whole texts, and one clear error for each way they can be wrong."""

import json

from bert_tutorial.text.examples import (
    classes_of,
    load_examples,
    parse_class,
    parse_classes,
    parse_number,
    require_known,
)
from bert_tutorial.text.reviews import draw

import pytest

HEADER = "split\tlabel\ttext\ttext_b"


def own_table(folder, *rows, header=HEADER):
    path = folder / "own.tsv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_every_kind_of_label(tmp_path):
    path = own_table(tmp_path, "train\t 3 \tone\t", "dev\t4\ttwo\t", "test\t-0.5\tthree\t")
    (train,) = load_examples(path, "train", parse_class)
    assert train == ("one", None, "3", f"{path}, line 2")
    assert [example.text for example in load_examples(path, "valid", parse_class)] == ["two"]
    assert [example.label for example in load_examples(path, "test", parse_number)] == [-0.5]
    path = own_table(tmp_path, "train\tb| a|b\tone\t", "train\t\ttwo\t")
    assert [example.label for example in load_examples(path, "train", parse_classes)] == [("a", "b"), ()]


def test_pairs_from_json_lines(tmp_path):
    path = tmp_path / "own.jsonl"
    rows = [{"split": "train", "label": 1, "text": "one<br />two", "text_b": "three  four"}, {"split": "test"}]
    path.write_text(json.dumps({**rows[0], "more": [1]}) + "\n", encoding="utf-8")
    (example,) = load_examples(path, "train", parse_class)
    assert example == ("one two", "three four", "1", f"{path}, line 1")
    path.write_text(json.dumps({"split": "train", "label": ["a", 2], "text": "one"}) + "\n", encoding="utf-8")
    assert load_examples(path, "train", parse_classes)[0].label == ("2", "a")


def test_reviews_have_names_for_labels(table):
    assert {example.label for example in load_examples([table, "sample"], "test", parse_class)} == {
        "0",
        "1",
        "negative",
        "positive",
    }
    assert load_examples("sample", "valid", parse_class) == []


@pytest.mark.parametrize(
    ("name", "count", "classes"), [("pairs", 220, {"0", "1"}), ("tickets", 300, {"book", "cancel", "change", "price"})]
)
def test_shipped_data_have_names(name, count, classes):
    examples = load_examples(name, "train", parse_class)
    assert len(examples) == count
    assert classes <= {example.label for example in examples}
    assert all((example.text_b is not None) == (name == "pairs") for example in examples)


def test_a_limit_draws_always_alike(table):
    everything = load_examples(table, "train", parse_class)
    assert load_examples(table, "train", parse_class, 7) == draw(everything, 7)


@pytest.mark.parametrize(
    ("rows", "parse", "message"),
    [
        (["train\t\tone\t"], parse_class, "line 2, column label: a label must be a word"),
        (["train\tx\tone\t"], parse_number, "line 2, column label: a label must be a number, not 'x'"),
        (["train\tnan\tone\t"], parse_number, "must be a number, not 'nan'"),
        (["train\ta\t \t"], parse_class, "line 2, column text: .*empty"),
        (["train\ta\tone\ttwo", "train\ta\tthree\t "], parse_class, "line 3, column text_b: it is empty"),
        (["test\ta\tone\t"], parse_class, "no row whose split is 'train'"),
    ],
)
def test_rows_that_are_wrong(tmp_path, rows, parse, message):
    with pytest.raises(ValueError, match=message):
        load_examples(own_table(tmp_path, *rows), "train", parse)


@pytest.mark.parametrize(
    ("row", "parse", "message"),
    [
        ({"text": 3}, parse_class, "column text: a text must be a string, not 3"),
        ({"text_b": ["a"]}, parse_class, "column text_b: a text must be a string"),
        ({"label": True}, parse_class, "not True"),
        ({"label": {"a": 1}}, parse_class, "column label"),
        ({"label": True}, parse_number, "not True"),
        ({"label": [["a"]]}, parse_classes, r"not \['a'\]"),
    ],
)
def test_json_lines_that_are_wrong(tmp_path, row, parse, message):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"split": "train", "label": "a", "text": "one", **row}))
    with pytest.raises(ValueError, match=message):
        load_examples(path, "train", parse)


def test_classes(tmp_path):
    path = own_table(tmp_path, *(f"train\t{label}\tone\t" for label in "bcabca"), "test\td\ttwo\t")
    classes = classes_of(load_examples(path, "train", parse_class))
    assert classes == ["a", "b", "c"]
    require_known(load_examples(path, "train", parse_class), classes)
    with pytest.raises(ValueError, match=r"line 8, column label: 'd' never occurs .* 'a', 'b', 'c'"):
        require_known(load_examples(path, "test", parse_class), classes)


@pytest.mark.parametrize(
    ("labels", "message"), [("aab", "line 4, column label: 'b' occurs once"), ("aaa", "all 3 training texts")]
)
def test_classes_that_cannot_be_learned(tmp_path, labels, message):
    path = own_table(tmp_path, *(f"train\t{label}\tone\t" for label in labels))
    with pytest.raises(ValueError, match=message):
        classes_of(load_examples(path, "train", parse_class))
