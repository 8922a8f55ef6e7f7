"""Sentences are found and none is lost; markup goes."""

from bert_tutorial.text.prose import clean_docstring, split_lines, split_sentences

import pytest
from hypothesis import given
from hypothesis import strategies as st

words = st.text("abcxyz", min_size=1, max_size=6)
plain_sentences = st.builds(
    lambda first, rest, end: " ".join([f"It{first}", *rest, "end"]) + end,
    words,
    st.lists(words, min_size=3, max_size=8),
    st.sampled_from([".", "!", "?", '."', ".)", "..."]),
)
prose = st.lists(plain_sentences, min_size=1, max_size=6)


@given(st.text() | st.text("Ab .!?\"'()[]\n") | prose.map(" ".join))
def test_cutting_loses_nothing_but_whitespace(text):
    sentences = split_sentences(text)
    assert " ".join(sentences) == " ".join(text.split())
    assert all(sentences)
    assert [split_sentences(sentence) for sentence in sentences] == [[sentence] for sentence in sentences]
    assert " ".join(split_lines(text)) == " ".join(text.split())


@given(prose, st.sampled_from([" ", "\n", "  \n "]))
def test_plain_prose_comes_back_in_sentences(sentences, between):
    assert split_sentences(between.join(sentences)) == sentences
    assert list(split_lines("\n".join(sentences).lower())) == [sentence.lower() for sentence in sentences]


@given(prose)
def test_cleaning_keeps_plain_prose(sentences):
    balanced = [s for s in sentences if '"' not in s and ")" not in s]
    assert clean_docstring("\n".join(balanced)) == balanced


@given(st.text() | st.text("ab A.`*:_-=|>\n \\[]()<"))
def test_cleaning_is_idempotent_and_leaves_no_markup(text):
    for sentence in clean_docstring(text):
        assert clean_docstring(sentence) == [sentence]
        assert not set("`|<>\\*") & set(sentence)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One here. Two there! Three? Four", ["One here.", "Two there!", "Three?", "Four"]),
        ("Use a list, e.g. Names, i.e. Words. Done.", ["Use a list, e.g. Names, i.e. Words.", "Done."]),
        ("By J. R. R. Tolkien et al. In print.", ["By J. R. R. Tolkien et al. In print."]),
        ('He said "No." Then (he left.) "Yes."', ['He said "No."', "Then (he left.)", '"Yes."']),
        ("Version 1.2 is out. numpy 2.0 is not.", ["Version 1.2 is out. numpy 2.0 is not."]),
        ("Ende gut. Über alles.", ["Ende gut.", "Über alles."]),
        (" \n ", []),
    ],
)
def test_where_sentences_end(text, sentences):
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    "docstring",
    [
        "Return the :class:`~numpy.array` of a ``given`` *shape* [1]_.",
        "Return the `array <https://a.org/b>`_ of a **given** `shape`.",
        "Return the [array](https://a.org) of a `given` shape .",
        "Title\n=====\nReturn the array of a given shape.\n\n>>> print('It is not this one.')\nNor is it this one.\n",
        "Return the array of a given shape.\n\n.. code-block:: python\n\n    # This is not the right one.\n",
        "Return the array of a given shape.\n\nSo::\n\n    This is not the right one.\n\n    Nor is it this one.\n",
        "Return the array of a given shape.\n\n```python\nThis is not the right one.\n```\n",
        "Return the array of a given shape.\n\n.. [1] A. Author, The name of a book.\n   And its other name here.\n",
        "Return the array\nof a given shape.\n\n====  ====\nThis is not the right one.\n====  ====\n",
        "Parameters\n----------\nshape : int or tuple of ints\n    Return the array\n    of a given shape.\n",
        "Args:\n    shape (int): Return the array of\n        a given shape.\n    dtype: no sentence here",
        ":param shape: Return the array of a given\n    shape.\n:type shape: int",
        ".. note:: Return the array\n   of a given shape.",
        ".. versionchanged:: 1.2.3\n   Return the array of a given shape.",
        "Note: Return the array of a given shape.",
        "- first\n- Return the array\n  of a given shape.\n- last",
        "Return the array of a given shape.\n\nSee it at https://a.org/b today. The {klass} of the shape. E = m * c.",
    ],
)
def test_markup_goes_and_prose_stays(docstring):
    assert [s.replace("numpy.array", "array") for s in clean_docstring(docstring)] == [
        "Return the array of a given shape."
    ]
