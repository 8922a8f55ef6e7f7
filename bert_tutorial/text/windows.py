"""Questions about contexts as BERT reads them: a context that is too long is read in windows that overlap.

Source: Devlin et al. 2018, section 4.2; the windows are in the authors' published code (run_squad.py).
"""

from typing import NamedTuple

import numpy as np

MAX_QUESTION_LENGTH = 64  # word pieces; the authors'


class Window(NamedTuple):
    """[CLS] question [SEP] part of the context [SEP], L word pieces."""

    number: int  # of the question
    words: np.ndarray  # ids (L,)
    segments: np.ndarray  # (L,)
    offset: int  # where the part begins
    first: int  # which word piece of the context that is

    @property
    def count(self):
        """Word pieces of the part."""
        return len(self.words) - self.offset - 1

    def positions(self, span):
        """Where in the window first and last word piece of a span of the context stand; None if not both do."""
        if span is None or span[0] < self.first or span[1] >= self.first + self.count:
            return None
        return span[0] - self.first + self.offset, span[1] - self.first + self.offset


def cut_windows(questions, passages, tokenizer, max_length, doc_stride):
    """All windows of questions, one after the other.

    Parameters
    ----------
    questions : list of str
        `MAX_QUESTION_LENGTH` word pieces of each are read, or as many as leave half of the room to the context.
    passages : list of PlacedPieces
        The context of each.
    tokenizer : FastTokenizer
    max_length : int
        Of a window, [CLS] and both [SEP] included.
    doc_stride : int
        How many word pieces further in the context the next window begins; half of what fits, if that is less.

    Yields
    ------
    Window

    Raises
    ------
    ValueError
        `max_length` leaves no room.
    """
    longest = min(MAX_QUESTION_LENGTH, (max_length - 3) // 2)
    if longest < 1:
        raise ValueError(
            f"max_length is {max_length}: give at least 5, for [CLS], a question, a text and a [SEP] after each"
        )
    asked = tokenizer.encode_batch(questions, longest + 2)
    for number, (question, passage) in enumerate(zip(asked, passages, strict=True)):
        room = max_length - len(question) - 1
        stride = min(doc_stride, max(1, room // 2))
        beyond = max(0, len(passage.ids) - room)
        for first in range(0, beyond + stride, stride):
            words = np.concatenate([question, passage.ids[first : first + room], question[-1:]])
            segments = np.zeros_like(words)
            segments[len(question) :] = 1
            yield Window(number, words, segments, len(question), first)


def span_of(passage, begin, end):
    """First and last word piece of the words that hold text[begin:end]; None if none does."""
    inside = np.flatnonzero((passage.begins < end) & (passage.ends > begin))
    return (inside[0], inside[-1]) if len(inside) else None


def best_span(scores, window, max_answer_length):
    """The best answer within a window.

    Parameters
    ----------
    scores : numpy.ndarray
        Of start and end at every position of the window, (L, 2).
    window : Window
    max_answer_length : int
        In word pieces.

    Returns
    -------
    score : float
        Of start and end together; minus infinity if the window has no part of the context.
    first, last : int
        Word pieces of the context, first <= last.
    """
    starts, ends = scores[window.offset : window.offset + window.count].T  # (count,) each
    best = -np.inf, 0, 0
    for extra in range(min(max_answer_length, window.count)):
        sums = starts[: len(starts) - extra] + ends[extra:]
        start = int(sums.argmax())
        best = max(best, (float(sums[start]), window.first + start, window.first + start + extra), key=lambda b: b[0])
    return best
