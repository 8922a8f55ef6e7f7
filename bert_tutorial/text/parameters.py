"""What docstrings say of parameters: type, default and purpose, and where in the text it stands.

Source: the layouts of numpydoc ("axis : int, default 0") and of Google's style guide ("axis (int): Defaults to 0.").
"""

import re
from textwrap import dedent
from typing import NamedTuple

NUMPY_SECTION = re.compile(r"^(?:Other )?Parameters\n-{3,}\n", re.MULTILINE)
NUMPY_END = re.compile(r"^\S.*\n(?:-{3,}|={3,})$|^\.\. ", re.MULTILINE)  # the next section
GOOGLE_SECTION = re.compile(r"^(?:Args|Arguments|Parameters):\n", re.MULTILINE)
GOOGLE_END = re.compile(r"^\S", re.MULTILINE)
NUMPY_ENTRY = re.compile(r"^`*(\w+)`* *:(.*)$", re.MULTILINE)
GOOGLE_ENTRY = re.compile(r"^`*(\w+)`* *\((.*)\):", re.MULTILINE)
# At the end of a type: that the parameter may be left out, and what it is then.
LEFT_OUT = re.compile(r"[,;(]? *\(?\b(?:optional|required|defaults?)\b.*$|,? *\*optional\*.*$|[,.;:] *$", re.IGNORECASE)
LITERAL = (
    r"'[^'\n]*'|\"[^\"\n]*\"|\([^()\n]*\)|\[[^\[\]\n]*\]|\{\}|None|True|False|-?(?:\d[\w.]*(?:e[-+]\d+)?|\.\d+|inf)\b"
)
DEFAULT = re.compile(rf"\bdefaults?(?: value)?(?: is| to|:|=| =)? *`*({LITERAL})`*(?=[\s.,;)*]|$)", re.IGNORECASE)
SENTENCE = re.compile(r"\s*([\w`'\"].*?)(?:(?<!\b[ei]\.[eg])[.;:](?=\s)|[.;:]?\Z|\n\s*\n)", re.DOTALL)


class Stretch(NamedTuple):
    """A part of a text."""

    text: str
    start: int  # where it begins


class Parameter(NamedTuple):
    """A parameter, and what is said of it."""

    name: str
    text: str  # its lines, as they stand in the docstring but for their indentation
    facts: dict  # from "type", "default" and "purpose" to Stretch of `text`, as far as each can be told


def read_parameters(docstring):
    """The parameters that a docstring has a section for, in its order.

    Parameters
    ----------
    docstring : str
        Its indentation taken away, as `inspect.cleandoc` does.

    Returns
    -------
    list of Parameter
    """
    layouts = ((NUMPY_SECTION, NUMPY_END, NUMPY_ENTRY), (GOOGLE_SECTION, GOOGLE_END, GOOGLE_ENTRY))
    for section, end, entry in layouts:
        if begins := section.search(docstring):
            rest = docstring[begins.end() :]
            ends = end.search(rest)
            return list(_read_section(dedent(rest[: ends.start() if ends else None]), entry))
    return []


def _read_section(text, entry):
    heads = [*entry.finditer(text)]
    starts = [*(head.start() for head in heads), len(text)]
    for head, end in zip(heads, starts[1:], strict=True):
        yield _read_entry(head, text[head.start() : end].rstrip())


def _read_entry(head, text):
    """One Parameter of the match of its first line, and all its text."""
    offset = head.start()
    facts = {}
    kind = LEFT_OUT.sub("", head[2]).rstrip()
    if kind.strip():
        facts["type"] = _stretch(kind, head.start(2) - offset)
    if default := DEFAULT.search(text, head.end(1) - offset):
        facts["default"] = Stretch(default[1], default.start(1))
    if purpose := SENTENCE.match(text, head.end() - offset):
        facts["purpose"] = _stretch(purpose[1], purpose.start(1))
    return Parameter(head[1], text, facts)


def _stretch(text, start):
    """Without white space around it."""
    return Stretch(text.strip(), start + len(text) - len(text.lstrip()))
