"""The fast tokenizer against GluonNLP's."""

import pickle
from pathlib import Path

from bert_tutorial.text.imdb import load_imdb
from bert_tutorial.text.tables import load_reviews
from bert_tutorial.text.vocabulary import LONGEST_WORD, SPECIAL_TOKENS
from bert_tutorial.text.wordpiece import FastTokenizer, lookups, make_tokenizer

import gluonnlp as nlp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_texts import TEXTS, assert_same


@given(text=TEXTS)
@settings(max_examples=1000)
def test_same_tokens_and_ids_as_gluonnlp(tokenizers, text):
    assert_same(tokenizers, [text])


def test_same_ids_for_extreme_texts(tokenizers):
    longest = ["a" * n for n in (LONGEST_WORD - 1, LONGEST_WORD, LONGEST_WORD + 1)]
    accented = ["é" * n for n in (LONGEST_WORD, LONGEST_WORD + 1)]
    assert_same(tokenizers, ["", " ", " \t\r\n\u3000", "\0\x1f\x7f\u200b", *longest, *accented])
    assert_same(tokenizers, ["good movie, the\u00a0" * 66_000, "good movie, the " * 66_000, "x" * 10**6])


def test_same_ids_across_batches(tokenizers):
    texts = ["the good movie"[: i % 15] + "é" * (i % 2) for i in range(2500)]
    assert_same(tokenizers, texts)
    assert tokenizers[0].encode_batch([], max_length=3) == []


def test_same_ids_for_the_shipped_reviews(tokenizers):
    assert_same(tokenizers, [text for split in ("train", "test") for text, _ in load_reviews(split)])


def test_same_ids_for_imdb(tokenizers, imdb_sample):
    assert_same(tokenizers, [text for text, _ in load_imdb("test", imdb_sample, limit=500)])


@given(
    texts=st.lists(st.one_of(TEXTS, st.text("aé the.", max_size=60)), max_size=8),
    max_length=st.integers(3, 70),
)
def test_truncated_as_bert_sentence_transform(tokenizers, texts, max_length):
    encoded = tokenizers[0].encode_batch(texts, max_length)
    for tokenizer in tokenizers:
        transform = nlp.data.BERTSentenceTransform(tokenizer, max_length, pad=False, pair=False)
        for text, ids in zip(texts, encoded, strict=True):
            expected, valid_length, _ = transform((text,))
            np.testing.assert_array_equal(ids, expected)
            assert ids.dtype == np.int32
            assert len(ids) == valid_length <= max_length


def test_truncation_keeps_the_head(small_vocabulary):
    tokenizer = FastTokenizer(small_vocabulary)
    (ids,) = tokenizer.encode_batch(["The good, unable movie"], max_length=6)
    assert [small_vocabulary.idx_to_token[i] for i in ids] == ["[CLS]", "the", "good", ",", "un", "[SEP]"]


def test_settings_that_are_wrong(cased_vocabulary):
    with pytest.raises(ValueError, match="do_lower_case must be true or false, not 'false'"):
        make_tokenizer(cased_vocabulary, {"do_lower_case": "false"})
    with pytest.raises(ValueError, match="JSON object"):
        make_tokenizer(cased_vocabulary, ["do_lower_case"])


def test_special_tokens_typed_in_a_text_are_plain_text(vocabulary):
    special = set(SPECIAL_TOKENS) - {"[UNK]"}
    for lower in (True, False):
        (ids,) = FastTokenizer(vocabulary, lower).encode_batch(["[SEP][CLS] x [PAD] [MASK]"], max_length=100)
        assert special.isdisjoint(vocabulary.idx_to_token[i] for i in ids[1:-1])


def test_copies_and_numpy_strings_are_tokenized_too(small_vocabulary):
    tokenizer = pickle.loads(pickle.dumps(FastTokenizer(small_vocabulary)))
    texts = np.array(["the movie", "the é movie"])
    for ids, text in zip(tokenizer.encode_batch(texts, 10), texts.tolist(), strict=True):
        assert ids[1:-1].tolist() == tokenizer.convert_tokens_to_ids(tokenizer(text))


@pytest.mark.parametrize("max_length", [2, 0, -1])
def test_no_room_for_a_token(small_vocabulary, max_length):
    with pytest.raises(ValueError, match=str(max_length)):
        FastTokenizer(small_vocabulary).encode_batch(["the"], max_length)


@given(text=TEXTS)
def test_lookups_find_the_pieces_of_each_word(vocabulary, text):
    tokenizer = FastTokenizer(vocabulary)
    for word in nlp.data.BERTBasicTokenizer()(text):
        tries = list(lookups(word, vocabulary))
        pieces = [("##" if begin else "") + word[begin:end] for begin, end, found in tries if found]
        spelled = tries[-1][1] == len(word) and tries[-1][2] and len(word) <= LONGEST_WORD
        assert tokenizer(word) == (pieces if spelled else ["[UNK]"])


@pytest.mark.parametrize("file", ["wordpiece.py", "words.py"])
def test_another_code_gives_another_fingerprint(small_vocabulary, file, monkeypatch):
    tokenizer = FastTokenizer(small_vocabulary)
    before, read_bytes = tokenizer.fingerprint(["the movie"], 8), Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read_bytes(path) + b"\n" * (path.name == file))
    assert tokenizer.fingerprint(["the movie"], 8) != before
