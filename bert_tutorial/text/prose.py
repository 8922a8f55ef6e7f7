"""Sentences: cutting prose into them, and finding them in docstrings full of markup."""

import re
from itertools import groupby

WORDS_IN_SENTENCE = range(4, 81)
ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'])(?:(?:[^\W\d_]\.)*[^\W\d_]|al|cf|dr|eg|etc|ex|ie|jr|mrs?|ms|prof|sr|st|vs)\.$", re.IGNORECASE
)
SENTENCE_END = re.compile(r"[.!?]+[\"'”’)\]]* ")
OPENING = "\"'“‘(["
ENDS_LINE = re.compile(r"[.!?]+[\"'”’)\]]*$")
FENCE = re.compile(r"```[^`]*$")
CODE_START = (">>>", "In [", "$ ", "% ")
PROSE_DIRECTIVE = re.compile(
    r"\.\. (?:note|warning|important|tip|hint|caution|attention|(?:deprecated|version\w+):: *v?\d[\d.]*)(?:::)? *(.*)"
)
TABLE = re.compile(r" *(\+[-=+]+\+|=+( +=+)+|-+( +-+)+|\|.*\|)$")
UNDERLINE = re.compile(r" *([-=~^*#+\"'`])\1{2,}$")
ITEM = re.compile(r"([-*•+]|\(?\d+[.)]) +(?:[\w.`*]+ --? )?")
FIELD = re.compile(r":[a-z]+(?: [^:]*)?:(?= |$)|@\w+ \w+:?|\W*[\w.]+\W* ?\([^)]*\):(?= |$)")  # :param x:, x (int):
NAMED = re.compile(r"[\w.*`]+:(?= |$)")  # x: some number
NAME_AND_TYPE = re.compile(r"[*`\w.\\]+(, ?[*`\w.\\]+)* : ?")  # x, y : array_like
INLINE_MARKUP = (  # in this order
    (re.compile(r":[\w:+.-]+:`~[^`<]*?(\w+)`"), r"\1"),  # :class:`~numpy.ndarray`
    # `x`, ``x``, :class:`x`, `x <url>`_
    (re.compile(r"(?::[\w:+.-]+:)?`+(?:!|\.(?=[A-Z]))?([^`]*?)(?:\s*<[^`>]*>)?`+_*"), r"\1"),
    (re.compile(r"!?\[([^\]]+)\]\([^)\s]*\)"), r"\1"),  # [x](url)
    (re.compile(r" *\[#?\w+\]_"), ""),  # [1]_
    (re.compile(r"(?<![\w*])\*{1,2}([^\s*](?:[^*]*[^\s*])?)\*{1,2}(?![\w*])"), r"\1"),  # *x*, **x**
    (re.compile(r"\b([^\W_]\w*?)_{1,2}(?=[\s.,;:)]|$)"), r"\1"),  # x_
    (re.compile(r"\\(\W)"), r"\1"),
    (re.compile(r"\s+([.,;:!?])(?=\s|$)"), r"\1"),
)
# What prose is made of; a link, a formula, a template or markup that we do not know has other signs.
PROSE = re.compile(r"[\"'“‘(\[]?[A-Z](?!.*(?:://|%\(|:\w*:))[\w .,;:!?'\"“”‘’()\[\]/%&=+–-]*[.!?][\"'”)\]]*$")
PLAIN_WORD = re.compile(r"[\"'“‘(\[]*[^\W\d_]+(?:['’/-][^\W\d_]+)*[.,;:!?\"'”’)\]]*$")
SHARE_OF_PLAIN_WORDS = 0.75


def split_sentences(text):
    """Cut text after . ! or ? where a capital, a quote or a bracket follows, but not after "e.g." or an initial."""
    text = " ".join(text.split())
    sentences, start = [], 0
    for end in SENTENCE_END.finditer(text):
        following = text[end.end() : end.end() + 1]
        if (following.isupper() or following in OPENING) and not ABBREVIATION.search(text[start : end.end() - 1]):
            sentences.append(text[start : end.end() - 1])
            start = end.end()
    return [*sentences, text[start:]] if text else []


def split_lines(text):
    """Sentences of a passage; a line that ends in . ! or ? ends a sentence, whatever follows."""
    sentences, lines = [], []
    for line in [*text.splitlines(), ""]:
        lines.append(line)
        if ENDS_LINE.search(line.rstrip()) or not line:
            sentences += split_sentences(" ".join(lines))
            lines = []
    return tuple(sentences)


def clean_docstring(docstring):
    """The sentences of a docstring that are prose, without the markup of reStructuredText or Markdown."""
    return [
        sentence
        for paragraph in _paragraphs(_drop_code(docstring.expandtabs().splitlines()))
        for sentence in map(_strip_label, split_sentences(_strip_inline_markup(paragraph)))
        if _is_prose(sentence)
    ]


def _drop_code(lines):
    """Leave out examples in code, directives and footnotes; what remains keeps its indentation."""
    fenced = example = False
    code_indent = None  # deeper lines belong to a literal block or a directive
    for line in lines:
        text, indent = line.strip(), len(line) - len(line.lstrip())
        if FENCE.match(text):
            fenced = not fenced
            text = ""
        if not text:
            example = False
            yield ""
            continue
        if code_indent is not None and indent <= code_indent:
            code_indent = None
        example = example or text.startswith(CODE_START)
        if fenced or example or code_indent is not None:
            continue
        if text.startswith(".. "):
            admonition = PROSE_DIRECTIVE.match(text)
            if not admonition:
                code_indent = indent
            yield from ("", f"{line[:indent]}- {admonition[1]}" if admonition and admonition[1] else "")
        elif text.endswith("::"):
            code_indent = indent
            yield line.rstrip()[:-1]
        else:
            yield line


def _paragraphs(lines):
    """Join lines into paragraphs, list items and descriptions of parameters; leave out titles and tables."""
    for has_text, block in groupby(lines, key=bool):
        block = list(block)
        if not has_text or any(TABLE.match(line) for line in block):
            continue
        paragraph, hangs, last_indent = [], False, 0
        for line, following in zip(block, [*block[1:], ""], strict=True):
            text, indent = line.strip(), len(line) - len(line.lstrip())
            opening = ITEM.match(text) or FIELD.match(text) or NAME_AND_TYPE.match(text)
            if not opening and (not paragraph or ENDS_LINE.search(paragraph[-1])):
                opening = NAMED.match(text)
            term = indent > last_indent and len(paragraph) == 1 and not hangs
            if opening or term or indent < last_indent or UNDERLINE.match(line):
                yield " ".join(paragraph)
                paragraph, hangs = [], bool(opening)
            last_indent = indent
            if (opening and opening.re is NAME_AND_TYPE) or UNDERLINE.match(line) or UNDERLINE.match(following):
                continue
            paragraph.append(text[opening.end() :].strip() if opening else text)
        yield " ".join(paragraph)


def _strip_inline_markup(text):
    for markup, plain in INLINE_MARKUP:
        text = markup.sub(plain, text)
    return text


def _strip_label(sentence):
    """Without "Note:" or the like at the beginning."""
    while label := FIELD.match(sentence) or NAMED.match(sentence):
        sentence = sentence[label.end() :].lstrip()
    return sentence


def _is_prose(sentence):
    words = sentence.split()
    return (
        len(words) in WORDS_IN_SENTENCE
        and PROSE.match(sentence) is not None
        and sentence.count("(") == sentence.count(")")
        and sentence.count('"') % 2 == 0
        and sum(PLAIN_WORD.match(word) is not None for word in words) >= SHARE_OF_PLAIN_WORDS * len(words)
    )
