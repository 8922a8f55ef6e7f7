"""Tasks made of the docstrings on the reader's disk: which library, does a summary belong to a signature, questions.

What one file of a library gives stands in one split, so no function stands in two.
"""

import hashlib
import re
from collections import defaultdict

from tqdm.auto import tqdm

from . import definitions, parameters
from .definitions import read_definitions
from .docstrings import keep_what_is_read
from .parameters import read_parameters
from .prose import clean_docstring

LIBRARIES_TASK, PAIRS_TASK, QUESTIONS_TASK = "docstring-libraries", "docstring-pairs", "docstring-questions"
# Those beside Python's own; a fixed list, so that a reader's others do not change the tasks.
LIBRARIES = ("gluonnlp", "huggingface_hub", "matplotlib", "mxnet", "numpy", "pandas", "scikit-learn", "scipy")
CALLED = {"scikit-learn": "sklearn|scikit", "gluonnlp": "gluon", "huggingface_hub": "hugging|hf"}  # in texts
LIMITS = {"train": 2400, "valid": 300, "test": 500}  # a training of few minutes on two cores
SENTENCES = 3  # of a docstring, from which to tell the library
LONGEST_SIGNATURE = 200  # characters
LONGEST_ENTRY, LONGEST_CONTEXT = 300, 400
LONGEST_ANSWER = 12  # words
ONE_OF_SO_MANY_HAS_NO_ANSWER = 5
ASKED = {
    "default": ("What is the default of {}?", "What does {} default to?", "Which value has {} if it is left out?"),
    "type": ("What type is {}?", "What kind of object must {} be?", "What can be given as {}?"),
    "purpose": ("What is {} for?", "What does {} mean?", "What is {}?"),
}


def docstring_examples(name, split):
    """The examples of one split of a task.

    Parameters
    ----------
    name : {"docstring-libraries", "docstring-pairs"}
        Which library a docstring is of, in classes of up to as many examples each; does a signature belong to what a
        docstring says in its first sentence, "yes" or "no", where a wrong one is of a neighbour in the same file.
    split : {"train", "valid", "test"}

    Returns
    -------
    list of [id, label, text, text_b or None]

    Raises
    ------
    FileNotFoundError
        No library's source was found.
    """
    return _tasks()[name][split]


def docstring_questions():
    """Questions about parameters of functions, in the layout of SQuAD 2.0: dict.

    A context is a part of a docstring as it stands there, a few parameters. What is asked is the default, the type or
    the purpose of one, or of one that another context of the same file has: then there is no answer. The text of an
    answer stands in its context once.

    Raises
    ------
    FileNotFoundError
        No library's source was found.
    """
    return {"version": "v2.0", "data": _tasks()[QUESTIONS_TASK]}


def _tasks():
    """All three; from the disk if the libraries were read before."""
    code = (__file__, definitions.__file__, parameters.__file__)
    return keep_what_is_read("docstring-tasks", _read_tasks, *code, libraries=LIBRARIES)


def _read_tasks(libraries):
    modules = defaultdict(list)  # from (library, module) to definitions
    with tqdm(desc="Reading docstrings", total=sum(len(paths) for _, paths in libraries.values()), unit="file") as bar:
        for library, (_, paths) in libraries.items():
            for one in read_definitions(paths):
                modules[library, one.module].append(one)
            bar.update(len(paths))
    if not modules:
        raise FileNotFoundError("no library's source was found on this machine, of which examples could be made")
    return {
        LIBRARIES_TASK: _drawn(_library_examples(modules), per_label=True),
        PAIRS_TASK: _drawn(_pair_examples(modules)),
        QUESTIONS_TASK: _questions(modules),
    }


def _number(*key):
    """A number that looks random, the same for the same strings on every machine."""
    return int.from_bytes(hashlib.sha256("\0".join(key).encode()).digest()[:8], "big")


def _split_of(library, module):
    return {0: "test", 1: "test", 2: "valid"}.get(_number(library, module) % 10, "train")


def _drawn(found, per_label=False):
    """Up to `LIMITS` examples for each split, drawn by their ids; with `per_label` as many of each label at most.

    No text stands in them twice.
    """
    splits, seen = {split: [] for split in LIMITS}, set()
    labels = len({label for _, (_, label, *_) in found}) if per_label else 1
    counts = defaultdict(int)
    for split, example in sorted(found, key=lambda one: _number(one[1][0])):
        _, label, text, _ = example
        key = split, label if per_label else None
        if text.lower() not in seen and counts[key] < LIMITS[split] // labels:
            seen.add(text.lower())
            counts[key] += 1
            splits[split].append(example)
    return splits


def _library_examples(modules):
    """Pairs of a split and [id, library, text, None]; no text names its library."""
    found = []
    for (library, module), members in modules.items():
        named = re.compile(CALLED.get(library, library), re.IGNORECASE)
        for one in members:
            text = " ".join(clean_docstring(one.docstring)[:SENTENCES])
            if text and not named.search(text):
                found.append((_split_of(library, module), [one.name, library, text, None]))
    return found


def _pair_examples(modules):
    """Pairs of a split and [id, "yes" or "no", first sentence, signature]."""
    found = []
    for (library, module), members in modules.items():
        taken = {}  # a signature or sentence that stands there twice would belong to both
        for one in members:
            sentence = next(iter(clean_docstring(one.docstring)), None)
            fresh = sentence and sentence not in {kept for kept, _ in taken.values()}
            if fresh and "(" in one.signature and len(one.signature) <= LONGEST_SIGNATURE:
                taken.setdefault(one.signature.split("(")[0], (sentence, one))
        known = list(taken.values())
        for i, (sentence, one) in enumerate(known):
            if len(known) > 1:
                belongs = _number("pair", library, one.name) % 2
                _, shown = known[i] if belongs else known[(i + 1) % len(known)]
                example = [one.name, "yes" if belongs else "no", sentence, shown.signature]
                found.append((_split_of(library, module), example))
    return found


def _questions(modules):
    """Entries of SQuAD's "data", one for each docstring."""
    found = []
    for (library, module), members in modules.items():
        parts = [(one.name, part) for one in members for part in _contexts(read_parameters(one.docstring))]
        names = sorted({parameter.name for _, part in parts for parameter in part})
        for number, (name, part) in enumerate(parts):
            asked = _ask(f"{name}-{number}", part, names)
            if asked:
                found.append((_split_of(library, module), name, *asked))
    entries, seen = [], set()
    counts = defaultdict(int)
    for split, title, about, context, question in sorted(found, key=lambda one: _number(one[-1]["id"])):
        if context not in seen and about not in seen and counts[split] < LIMITS[split]:
            seen |= {context, about}
            counts[split] += 1
            paragraphs = [{"context": context, "qas": [question]}]
            entries.append({"title": title, "split": split, "paragraphs": paragraphs})
    return entries


def _contexts(found):
    """Yield lists of two or more parameters that follow each other and are short enough together."""
    part = []
    for parameter in found:
        short = _shortened(parameter)
        if part and (short is None or len("\n".join(p.text for p in (*part, short))) > LONGEST_CONTEXT):
            yield from [part] if len(part) > 1 else []
            part = []
        part += [short] if short else []
    yield from [part] if len(part) > 1 else []


def _shortened(parameter):
    """A parameter and its first paragraph; None if that is too long."""
    text = parameter.text.split("\n\n")[0]
    if len(text) > LONGEST_ENTRY:
        return None
    facts = {kind: fact for kind, fact in parameter.facts.items() if fact.start + len(fact.text) <= len(text)}
    return parameter._replace(text=text, facts=facts)


def _ask(key, part, names):
    """(text of the parameter, context, question) of a part of a docstring; None if nothing can be asked."""
    context = "\n".join(parameter.text for parameter in part)
    kinds = sorted(ASKED, key=lambda kind: _number(key, kind))
    # Few contexts say what a default is, so half of them are asked for it; all, and nobody need read the question.
    preferred = sorted(kinds, key=lambda kind: kind != "default") if _number(key, "half") % 2 else kinds

    def question(kind, name, answers):
        templates = ASKED[kind]
        text = templates[_number(key) % len(templates)].format(name)
        return {"id": f"{key}-{name}-{kind}", "question": text, "is_impossible": not answers, "answers": answers}

    if _number(key, "none") % ONE_OF_SO_MANY_HAS_NO_ANSWER == 0:
        others = [name for name in names if not re.search(rf"\b{re.escape(name)}\b", context)]
        if not others:
            return None
        other = others[_number(key, "other") % len(others)]
        return context, context, question(kinds[0], other, [])
    begins = [sum(len(parameter.text) + 1 for parameter in part[:i]) for i in range(len(part))]
    order = sorted(range(len(part)), key=lambda i: _number(key, part[i].name))
    for kind in preferred:
        for i in order:
            fact = part[i].facts.get(kind)
            if fact and len(fact.text.split()) <= LONGEST_ANSWER and _stands_once(fact.text, context):
                answers = [{"text": fact.text, "answer_start": begins[i] + fact.start}]
                return part[i].text, context, question(kind, part[i].name, answers)
    return None


def _stands_once(answer, context):
    return len(re.findall(rf"(?<!\w){re.escape(answer)}(?!\w)", context)) == 1
