"""SQuAD: its files of questions, and its rules for scoring answers.

Source: Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text", and 2018, "Know What You
Don't Know"; the rules are those of their evaluate-v1.1.py and evaluate-v2.0.py.
"""

import json
import os
import re
import string
from collections import Counter
from typing import NamedTuple

from .docstring_tasks import QUESTIONS_TASK, docstring_questions
from .examples import VALIDATION
from .reviews import decode, draw
from .rows import data_path

FILES = {"train": "train", "test": "dev"}  # the test questions of SQuAD are not published
VERSIONS = ("v1.1", "v2.0")
ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


class Question(NamedTuple):
    """A question about a text."""

    question: str
    context: str
    answers: tuple  # of (text, where in the context it begins); empty if there is none
    where: str  # in which file, and its id, for messages

    @property
    def texts(self):
        """The right answers, but those of articles alone; "" if there is none."""
        return [text for text, _ in self.answers if normalize(text)] or [""]


def load_questions(data, split, limit=None):
    """Load the questions of one split, from all of `data` in the order given.

    Parameters
    ----------
    data : str, path or sequence of them
        "questions", which ships with the course; "docstring-questions", made of the reader's libraries, as
        `docstring_questions` says; a JSON file in the layout of SQuAD 1.1 or 2.0, each entry of whose
        "data" has a "split"; or a folder with train-v1.1.json and dev-v1.1.json, or the same of v2.0, whose "dev" is
        the test.
    split : {"train", "valid", "test"}
        In a file, "dev" is another word for "valid". A file without any "split" has questions for training only.
    limit : int, optional
        Take this many of each of `data`, drawn once for all.

    Returns
    -------
    list of Question
        Empty only for "valid", for which most data have no split.

    Raises
    ------
    FileNotFoundError
        No such file or folder, or none of SQuAD's files in it.
    ValueError
        Not JSON, a missing key, an empty context, an answer that does not stand where the file says, no question of
        this split. The message names the file, and the title or the question's id.
    """
    paths = [data_path(name) for name in ([data] if isinstance(data, str | os.PathLike) else data)]
    questions = [question for path in paths for question in draw(list(_read(path, split)), limit)]
    if not questions and split != "valid":
        raise ValueError(f"{', '.join(map(str, paths))} has no question whose split is {split!r}")
    return questions


def _read(path, split):
    if path.is_dir():
        if split == "valid":
            return
        path = _squad_file(path, split)
        entries = _entries(path)
    else:
        entries = _entries(path)
        if any("split" in entry for entry, _ in entries):
            splits = VALIDATION if split == "valid" else (split,)
            entries = [(entry, where) for entry, where in entries if _get(entry, "split", where) in splits]
        elif split == "test":
            raise ValueError(
                f'{path}: no entry of "data" has a "split", so all questions are for training: give each "split": '
                '"train" or "test", or give a folder with train-v2.0.json and dev-v2.0.json'
            )
        elif split == "valid":
            return
    for entry, where in entries:
        for paragraph in _get(entry, "paragraphs", where, list):
            context = _get(paragraph, "context", where, str)
            if not context.strip():
                raise ValueError(f"{where}: a context is empty")
            for question in _get(paragraph, "qas", where, list):
                yield _question(question, context, path, where)


def _squad_file(folder, split):
    names = [f"{FILES[split]}-{version}.json" for version in VERSIONS]
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise FileNotFoundError(f"{folder} has no {' and no '.join(names)}")
    if len(found) > 1:
        raise ValueError(f"{folder} has both {' and '.join(names)}: leave one version in it")
    return found[0]


def _entries(path):
    """The entries of "data", each with what to call it in messages."""
    content = docstring_questions() if str(path) == QUESTIONS_TASK else _read_json(path)
    entries = _get(content, "data", str(path), list)
    return [(entry, f"{path}, {_get(entry, 'title', f'{path}, entry {i}')!r}") for i, entry in enumerate(entries, 1)]


def _read_json(path):
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder of questions")
    try:
        return json.loads(decode(path.read_bytes(), path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from error


def _question(item, context, path, where):
    where = f"{path}, question {_get(item, 'id', where)!r}"
    question = _get(item, "question", where, str)
    if not question.strip():
        raise ValueError(f"{where}: the question is empty")
    answers = _get(item, "answers", where, list)
    impossible = item.get("is_impossible", False)  # SQuAD 1.1 does not say
    if impossible is not (not answers):
        raise ValueError(
            f"{where}: {'there are answers' if answers else 'no answer'}, but is_impossible is {impossible!r}"
        )
    return Question(question, context, tuple(_answer(answer, context, where) for answer in answers), where)


def _answer(item, context, where):
    text, start = _get(item, "text", where, str), _get(item, "answer_start", where, int)
    if not text.strip():
        raise ValueError(f"{where}: an answer is empty")
    if not 0 <= start < len(context):
        raise ValueError(f"{where}: answer_start is {start}, but the context has {len(context)} characters")
    found = context[start : start + len(text)]
    if found != text:
        raise ValueError(f"{where}: at answer_start {start} the context has {found!r}, not the answer {text!r}")
    return text, start


def _get(item, key, where, kind=object):
    """What a JSON object has under a key; an error says where it has nothing, or nothing of this kind."""
    if not isinstance(item, dict):
        raise ValueError(f"{where}: there must be a JSON object with the key {key!r}, not {str(item)[:40]!r}")
    if key not in item:
        raise ValueError(f"{where}: no key {key!r}")
    if not isinstance(item[key], kind) or isinstance(item[key], bool):
        expected = {str: "a string", list: "a list", int: "a whole number"}.get(kind, "a string or a number")
        raise ValueError(f"{where}: {key!r} must be {expected}, not {str(item[key])[:40]!r}")
    return item[key]


def normalize(text):
    """An answer as SQuAD compares it: lower case, without punctuation, articles and white space that is too much."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(answer, right):
    """1 if an answer is the right one, as `normalize` leaves both, else 0."""
    return float(normalize(answer) == normalize(right))


def f1(answer, right):
    """The harmonic mean of precision and recall of an answer's words, as `normalize` leaves them."""
    words, right_words = normalize(answer).split(), normalize(right).split()
    if not words or not right_words:
        return float(words == right_words)
    shared = sum((Counter(words) & Counter(right_words)).values())
    return 2 * shared / (len(words) + len(right_words))


def score_answers(answers, questions):
    """SQuAD's metrics.

    Parameters
    ----------
    answers : sequence of str
        "" for none.
    questions : sequence of Question

    Returns
    -------
    dict
        exact_match and f1, the means over the questions of the best that an answer makes of a question's right ones;
        no_answer_accuracy, the share of the questions without an answer to which none was given, if there are any;
        count.
    """
    pairs = [(answer, question.texts) for answer, question in zip(answers, questions, strict=True)]
    scores = {
        measure.__name__: sum(max(measure(answer, text) for text in texts) for answer, texts in pairs) / len(pairs)
        for measure in (exact_match, f1)
    }
    given = [answer for answer, question in zip(answers, questions, strict=True) if not question.answers]
    if given:
        scores["no_answer_accuracy"] = sum(not answer for answer in given) / len(given)
    return scores | {"count": len(pairs)}
