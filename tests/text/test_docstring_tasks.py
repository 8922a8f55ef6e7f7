"""Tasks made of docstrings, of a made-up machine and of NumPy as it is."""

import json
from collections import Counter

from bert_tutorial.tasks.classify import TextClassifier
from bert_tutorial.text import docstring_tasks, docstrings
from bert_tutorial.text.docstring_tasks import ASKED, LIBRARIES_TASK, PAIRS_TASK, QUESTIONS_TASK
from bert_tutorial.text.docstrings import python_files
from bert_tutorial.text.squad import load_questions

import pytest

SPLITS = ("train", "valid", "test")
FUNCTION = '''def feed{i}(animal, food="hay{i}"):
    """Give the animal of cage {i} its food.

    Parameters
    ----------
    animal{i} : Animal{i}
        Whom to feed in cage {i}.
    food{i} : str, default 'hay{i}'
        What it gets at {i} in the morning.
    """
'''


@pytest.fixture
def machine(tmp_path, monkeypatch, cache):
    """A made-up Python: 30 files of three functions each."""
    (tmp_path / "std").mkdir()
    for i in range(30):
        source = "".join(FUNCTION.format(i=3 * i + j) for j in range(3))
        (tmp_path / "std" / f"zoo{i}.py").write_text(source)
    monkeypatch.setattr(docstring_tasks, "LIBRARIES", ())
    monkeypatch.setattr(docstrings.sysconfig, "get_path", lambda name: str(tmp_path / "std"))
    return tmp_path / "std"


def file_of(name):
    return name.split(".")[0]


def squad_entries():
    return docstring_tasks.docstring_questions()["data"]


def test_no_file_stands_in_two_splits(machine):
    of_pairs = {
        split: {file_of(name) for name, *_ in docstring_tasks.docstring_examples(PAIRS_TASK, split)} for split in SPLITS
    }
    of_questions = {split: {file_of(e["title"]) for e in squad_entries() if e["split"] == split} for split in SPLITS}
    assert of_pairs == of_questions
    assert all(of_pairs.values())
    assert len(set.union(*of_pairs.values())) == sum(map(len, of_pairs.values())) == 30


def test_a_signature_belongs_or_is_a_neighbour_s(machine):
    rows = [row for split in SPLITS for row in docstring_tasks.docstring_examples(PAIRS_TASK, split)]
    assert len(rows) == 90
    for name, label, sentence, signature in rows:
        number = int(name.split("feed")[1])
        assert sentence == f"Give the animal of cage {number} its food."
        shown = int(signature.removeprefix("feed").split("(")[0])
        assert (label == "yes") == (shown == number)
        assert shown // 3 == number // 3
    assert min(Counter(label for _, label, *_ in rows).values()) > 30


def test_answers_stand_where_the_questions_say(machine):
    kinds = Counter()
    for entry in squad_entries():
        ((context, (question,)),) = [tuple(paragraph.values()) for paragraph in entry["paragraphs"]]
        *_, name, kind = question["id"].split("-")
        assert question["question"] in [template.format(name) for template in ASKED[kind]]
        assert question["is_impossible"] is not bool(question["answers"])
        assert (name in context) == bool(question["answers"])
        for answer in question["answers"]:
            assert context[answer["answer_start"] :].startswith(answer["text"])
            assert context.count(answer["text"]) == 1
        kinds[kind if question["answers"] else "none"] += 1
    assert set(kinds) == {*ASKED, "none"}
    answered = kinds.total() - kinds["none"]
    assert 5 < kinds["none"] < answered
    assert kinds["default"] < 0.8 * answered, "all of these say what a default is: it must not give the question away"


def test_no_text_twice(machine):
    for i in range(100, 110):
        (machine / f"copy{i}.py").write_text(FUNCTION.format(i=1) + FUNCTION.format(i=2))
    contexts = [entry["paragraphs"][0]["context"] for entry in squad_entries()]
    assert len(set(contexts)) == len(contexts)
    sentences = [row[2] for split in SPLITS for row in docstring_tasks.docstring_examples(PAIRS_TASK, split)]
    assert len(set(sentences)) == len(sentences) == 90


def test_texts_that_name_their_library_are_left_out(machine, monkeypatch):
    library = machine.parent / "site" / "park"
    library.mkdir(parents=True)
    said = {"count": "Count all trees of the park.", "plant": "Plant trees in all of Parkland."}
    said["water"] = "Water the trees of all streets."
    source = "".join(f'def {name}():\n    """{text}"""\n' for name, text in said.items())
    (library / "__init__.py").write_text(source)
    files = {"python": ("3", sorted(machine.glob("*.py"))), "park": ("1", [library / "__init__.py"])}
    monkeypatch.setattr(docstrings, "python_files", lambda libraries: files)
    rows = [row for split in SPLITS for row in docstring_tasks.docstring_examples(LIBRARIES_TASK, split)]
    assert [row[1:] for row in rows if row[1] == "park"] == [["park", said["water"], None]]


def test_limits_hold_for_each_split_and_each_library(machine, monkeypatch):
    monkeypatch.setattr(docstring_tasks, "LIMITS", {"train": 5, "valid": 2, "test": 3})
    for split, limit in docstring_tasks.LIMITS.items():
        for task in (PAIRS_TASK, LIBRARIES_TASK):
            assert len(docstring_tasks.docstring_examples(task, split)) == limit
        assert sum(entry["split"] == split for entry in squad_entries()) == limit


def test_the_loaders_know_the_names(machine):
    (question, *_) = load_questions(QUESTIONS_TASK, "test")
    assert question.where.startswith(f"{QUESTIONS_TASK}, question 'zoo")
    assert len(load_questions(QUESTIONS_TASK, "train", 4)) == 4
    examples = TextClassifier.read(PAIRS_TASK, "train", limit=4)
    assert len(examples) == 4
    assert {example.label for example in examples} <= {"yes", "no"}
    assert all(example.text_b.startswith("feed") for example in examples)
    assert examples[0].where.startswith(f"{PAIRS_TASK}, zoo")


def test_a_machine_without_sources(machine, monkeypatch):
    monkeypatch.setattr(docstrings.sysconfig, "get_path", lambda name: str(machine / "nowhere"))
    with pytest.raises(FileNotFoundError, match="no library's source"):
        load_questions(QUESTIONS_TASK, "train")


def test_the_same_every_time(machine, cache):
    first = json.dumps(squad_entries())
    for file in (cache / "corpora").iterdir():
        file.unlink()
    assert json.dumps(squad_entries()) == first


def test_real_numpy(monkeypatch, cache):
    _, files = python_files(["numpy"])["numpy"]
    files = [file for file in files if file.parent.name in ("lib", "core", "_core", "linalg")]
    monkeypatch.setattr(docstrings, "python_files", lambda libraries: {"numpy": ("0", files)})
    questions = [question for split in SPLITS for question in load_questions(QUESTIONS_TASK, split)]
    assert len(questions) > 100
    assert 0.1 < sum(not question.answers for question in questions) / len(questions) < 0.4
    assert len({question.context for question in questions}) == len(questions)
