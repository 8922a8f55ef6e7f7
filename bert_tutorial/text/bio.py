"""Tags of words in BIO: B-x begins an entity of type x, I-x goes on with it, O is outside of all.

An entity is its type and where it stands. What is scored are entities: one with a word too many is wrong, however many
of its words are right.

Source: Ramshaw and Marcus 1995, "Text Chunking using Transformation-Based Learning"; Tjong Kim Sang and Veenstra 1999,
"Representing Text Chunks" (IOB1, IOB2, which is BIO).
"""

import re
from itertools import chain

OUTSIDE = "O"
TAG = re.compile(r"O|[BI]-.+", re.DOTALL)


def with_tag_before(tags):
    """Pairs of each tag and the one before it; before the first there is "O"."""
    return zip([OUTSIDE, *tags], tags, strict=False)  # the last tag is before none


def goes_on(before, tag):
    """Whether a tag is of the same entity type as the one before it, so that I-x may go on with it."""
    return before[1:] == tag[1:]  # "" of "O"


def begins(before, tag):
    """Whether an entity begins with a tag: with B-x, and with an I-x that has nothing to go on with."""
    return tag != OUTSIDE and (tag[0] == "B" or not goes_on(before, tag))


def is_iob1(sentences):
    """Whether tags are in IOB1, as those of the original CoNLL-2003: there I-x begins an entity, too.

    IOB1 has B-x only where an entity follows another of its type without a word between. So it is IOB1 if an I-x
    begins an entity, and no B-x stands where IOB1 would have written I-x. If both occur, it is BIO with a mistake.

    Parameters
    ----------
    sentences : sequence of (sequence of str)
        The tags of all sentences that were written alike.

    Returns
    -------
    bool
    """
    pairs = chain.from_iterable(map(with_tag_before, sentences))
    starts = {tag[0] for before, tag in pairs if tag != OUTSIDE and not goes_on(before, tag)}
    return starts == {"I"}


def to_bio(tags):
    """A sentence's tags in BIO, of tags in IOB1."""
    return [f"B{tag[1:]}" if begins(before, tag) else tag for before, tag in with_tag_before(tags)]


def entities(tags):
    """The entities of a sentence.

    Tags that a network gives need not be well-formed: an I-x that has nothing to go on with begins an entity, as for
    seqeval and CoNLL's own script.

    Parameters
    ----------
    tags : sequence of str

    Returns
    -------
    list of (str, int, int)
        Type, first word, and the word after the last, in the order of the sentence.
    """
    found = []
    for place, (before, tag) in enumerate(with_tag_before(tags)):
        if begins(before, tag):
            found.append((tag[2:], place, place + 1))
        elif tag != OUTSIDE:
            kind, first, _ = found[-1]
            found[-1] = kind, first, place + 1
    return found


def score_tags(expected, answered):
    """Compare tags.

    Parameters
    ----------
    expected, answered : sequence of (sequence of str)
        The tags of each sentence's words.

    Returns
    -------
    dict
        accuracy: the share of words whose tag is right. precision: of the entities answered, the share that is right,
        in type and in every word; recall: the share of the expected ones that was found; f1: their harmonic mean, all
        over all sentences together, as seqeval's; 0 where there are no entities. count: sentences.

    Source: Tjong Kim Sang and De Meulder 2003, "Introduction to the CoNLL-2003 Shared Task".
    """
    pairs = list(zip(expected, answered, strict=True))
    words = sum(len(tags) for tags in expected)
    same = sum(tag == answer for tags, answers in pairs for tag, answer in zip(tags, answers, strict=True))
    true, found = (sum(len(entities(tags)) for tags in column) for column in (expected, answered))
    right = sum(len(set(entities(tags)) & set(entities(answers))) for tags, answers in pairs)
    return {
        "accuracy": same / words,
        "precision": right / found if found else 0.0,
        "recall": right / true if true else 0.0,
        "f1": 2 * right / (true + found) if true + found else 0.0,
        "count": len(pairs),
    }


def mark(text, tokens, tags):
    """A text with its entities in brackets, each after its type: "two seats for [film The Last Tuesday]".

    Parameters
    ----------
    text : str
    tokens : sequence of str
        In their order in the text, with nothing but spaces between.
    tags : sequence of str

    Returns
    -------
    str
    """
    places, end = [], 0
    for token in tokens:
        begin = text.index(token, end)
        end = begin + len(token)
        places.append((begin, end))
    parts, done = [], 0
    for kind, first, last in entities(tags):
        begin, end = places[first][0], places[last - 1][1]
        parts += [text[done:begin], f"[{kind} {text[begin:end]}]"]
        done = end
    return "".join([*parts, text[done:]])
