"""Contexts cut into windows, and the best span in one."""

from bert_tutorial.text.windows import MAX_QUESTION_LENGTH, Window, best_span, cut_windows, span_of
from bert_tutorial.text.wordpiece import FastTokenizer

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def tokenizer(small_vocabulary):
    return FastTokenizer(small_vocabulary)


def windows_of(tokenizer, question, context, max_length, doc_stride=128):
    passage = tokenizer.encode_placed(context)
    return passage, list(cut_windows([question], [passage], tokenizer, max_length, doc_stride))


@given(st.integers(0, 200), st.integers(0, 90), st.integers(5, 100), st.integers(1, 150))
def test_windows_cover_the_context_and_overlap(tokenizer, context, question, max_length, doc_stride):
    text = " ".join("abcdefghij"[i % 10] for i in range(context))
    passage, windows = windows_of(tokenizer, "q " * question, text, max_length, doc_stride)
    cls, sep = tokenizer.vocab[["[CLS]", "[SEP]"]]
    asked = min(question, MAX_QUESTION_LENGTH, (max_length - 3) // 2)
    room = max_length - asked - 3
    seen = 0
    for window in windows:
        part = passage.ids[window.first : window.first + window.count]
        expected = [cls, *[tokenizer.vocab["q"]] * asked, sep, *part, sep]
        assert window.words.tolist() == expected
        assert window.segments.tolist() == [0] * (asked + 2) + [1] * (window.count + 1)
        assert window.words[window.offset : -1].tolist() == part.tolist()
        assert window.first <= seen
        assert window.count == room or len(windows) == 1 or window is windows[-1]
        seen = window.first + window.count
    assert seen == context
    starts = [window.first for window in windows]
    assert set(np.diff(starts)) <= {min(doc_stride, max(1, room // 2))}
    if len(windows) > 1:
        assert windows[-2].first + room < context  # the last one is needed


def test_a_question_leaves_half_of_a_short_window(tokenizer):
    _, (window, *_) = windows_of(tokenizer, "q " * 90, "a b c d e f", 11)
    assert (window.offset, window.count) == (6, 4)
    with pytest.raises(ValueError, match="max_length is 4: give at least 5"):
        windows_of(tokenizer, "q", "a", 4)


def test_a_context_of_nothing_is_one_window_of_nothing(tokenizer):
    passage, (window,) = windows_of(tokenizer, "the", "\0\u200b", 20)
    assert window.count == len(passage.ids) == 0
    assert best_span(np.ones((4, 2)), window, 30)[0] == -np.inf


def test_a_span_is_the_words_that_hold_it(tokenizer):
    text = "The movie, good!"
    passage = tokenizer.encode_placed(text)
    whole = {text[begin:end] for begin, end in zip(passage.begins, passage.ends, strict=True)}
    assert whole == {"The", "movie", ",", "good", "!"}
    first, last = span_of(passage, 6, 13)  # "vie, go"
    assert text[passage.begins[first] : passage.ends[last]] == "movie, good"
    assert span_of(passage, 3, 4) is None  # the space
    assert span_of(passage, 3, 5) == span_of(passage, 4, 9)


def test_positions_in_a_window():
    window = Window(0, np.arange(9), np.zeros(9), offset=3, first=10)  # pieces 10 to 14
    assert window.positions((10, 14)) == (3, 7)
    assert window.positions((12, 12)) == (5, 5)
    for span in ((9, 11), (14, 15), (0, 3), None):
        assert window.positions(span) is None


@given(st.integers(0, 2**31), st.integers(0, 12), st.integers(1, 14))
def test_best_span_is_the_best_of_all(seed, count, max_answer_length):
    scores = np.random.default_rng(seed).normal(size=(count + 5, 2))
    window = Window(0, np.zeros(count + 4), np.zeros(count + 4), offset=3, first=7)
    spans = {
        (7 + i, 7 + j): scores[3 + i, 0] + scores[3 + j, 1]
        for i in range(count)
        for j in range(i, min(count, i + max_answer_length))
    }
    score, *span = best_span(scores, window, max_answer_length)
    if spans:
        assert spans[tuple(span)] == pytest.approx(score)
        assert score == pytest.approx(max(spans.values()))
    else:
        assert score == -np.inf
