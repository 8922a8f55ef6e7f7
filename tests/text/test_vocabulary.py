"""Vocabularies: read, learned, written."""

import os
import re
import subprocess
import sys

from bert_tutorial.text.tables import load_reviews
from bert_tutorial.text.vocabulary import (
    ALPHABET,
    LONGEST_WORD,
    SPECIAL_TOKENS,
    learn_vocabulary,
    load_vocabulary,
    save_vocabulary,
)
from bert_tutorial.text.wordpiece import FastTokenizer

import gluonnlp as nlp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_texts import TEXTS, assert_same, write_vocabulary
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer


@pytest.mark.parametrize("ending", ["", "\n"])
def test_vocabulary_has_the_ids_of_the_file(tmp_path, ending):
    # white space, and every character but "\n" at which str.splitlines() breaks a line
    tokens = [
        "b",
        *SPECIAL_TOKENS,
        "a",
        " ",
        "\t",
        "\r",
        "\v",
        "\f",
        "\x1c",
        "\x85",
        "\u2028",
        "\u2029",
        "\u3000",
        "",
    ]
    path = write_vocabulary(tmp_path / "vocab.txt", [*tokens, "é"])
    path.write_bytes(path.read_bytes() + ending.encode())
    vocabulary = load_vocabulary(path)
    assert vocabulary.idx_to_token == [*tokens, "é"]
    assert [vocabulary[token] for token in vocabulary.idx_to_token] == list(range(len(vocabulary)))
    assert vocabulary["not there"] == vocabulary["[UNK]"]
    named = (
        vocabulary.padding_token,
        vocabulary.unknown_token,
        vocabulary.cls_token,
        vocabulary.sep_token,
        vocabulary.mask_token,
    )
    assert named == SPECIAL_TOKENS


def test_published_vocabulary_has_the_ids_of_the_file(published_vocabulary_file):
    tokens = published_vocabulary_file.read_bytes().decode().split("\n")[:-1]
    vocabulary = load_vocabulary(published_vocabulary_file)
    assert vocabulary.idx_to_token == tokens
    assert [vocabulary[token] for token in tokens] == list(range(len(tokens)))


@given(st.sets(st.text().filter(lambda token: "\n" not in token and token not in SPECIAL_TOKENS)), st.randoms())
def test_vocabulary_round_trip(tmp_path_factory, tokens, shuffler):
    tokens = [*SPECIAL_TOKENS, *sorted(tokens)]
    shuffler.shuffle(tokens)
    path = tmp_path_factory.mktemp("round_trip") / "vocab.txt"
    save_vocabulary(
        nlp.vocab.BERTVocab(nlp.data.count_tokens(tokens), token_to_idx={token: i for i, token in enumerate(tokens)}),
        path,
    )
    assert load_vocabulary(path).idx_to_token == tokens


def test_published_vocabulary_is_saved_byte_for_byte(published_vocabulary_file, tmp_path):
    save_vocabulary(load_vocabulary(published_vocabulary_file), tmp_path / "vocab.txt")
    assert (tmp_path / "vocab.txt").read_bytes() == published_vocabulary_file.read_bytes()


def test_a_token_with_a_line_break_is_not_saved(tmp_path):
    path = tmp_path / "vocab.txt"
    with pytest.raises(ValueError, match=r"'a\\nb'"):
        save_vocabulary(nlp.vocab.BERTVocab(nlp.data.count_tokens(["a\nb"])), path)
    assert not path.exists()


SPECIAL_LINES = "\n".join(SPECIAL_TOKENS).encode()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "empty"),
        (b"\n", r"lacks \[PAD\], \[UNK\], \[CLS\], \[SEP\], \[MASK\]"),
        (SPECIAL_LINES.replace(b"[CLS]", b"[cls]"), r"lacks \[CLS\]"),
        (SPECIAL_LINES.replace(b"\n", b"\r\n"), "lacks"),
        (SPECIAL_LINES + b"\nfilm\nplot\nfilm", "'film' on lines 6 and 8"),
        (SPECIAL_LINES + "\nné".encode("latin-1"), "not UTF-8"),
    ],
)
def test_a_bad_vocabulary_file_is_named(tmp_path, content, named):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=named) as raised:
        load_vocabulary(path)
    assert str(path) in str(raised.value)


def test_a_missing_vocabulary_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt"):
        load_vocabulary(tmp_path / "nowhere.txt")


def cut_by_hugging_face(text):
    cased = BertNormalizer(lowercase=False)
    return [word for word, _ in BertPreTokenizer().pre_tokenize_str(cased.normalize_str(text))]


def test_a_learned_vocabulary_knows_the_words_of_its_texts(tmp_path):
    texts = [text for text, _ in load_reviews("train")]
    vocabulary = learn_vocabulary(texts, 800)
    assert len(vocabulary) == 800
    assert vocabulary.idx_to_token[:5] == list(SPECIAL_TOKENS)
    save_vocabulary(vocabulary, tmp_path / "vocab.txt")
    assert load_vocabulary(tmp_path / "vocab.txt").idx_to_token == vocabulary.idx_to_token
    assert_same((FastTokenizer(vocabulary), nlp.data.BERTTokenizer(vocabulary)), texts)
    encoded = np.concatenate(FastTokenizer(vocabulary).encode_batch(texts, 10**6))
    assert vocabulary["[UNK]"] not in encoded
    spelled = learn_vocabulary(texts, 150)  # hardly more than the characters
    assert len(encoded) < len(np.concatenate(FastTokenizer(spelled).encode_batch(texts, 10**6)))


@given(st.lists(TEXTS, max_size=5), st.booleans())
def test_any_text_gives_a_vocabulary_of_its_own_words(tmp_path_factory, texts, lower):
    cut = nlp.data.BERTBasicTokenizer() if lower else cut_by_hugging_face
    words = [cut(re.sub("[\ud800-\udfff]", "\U0010ffff", text)) for text in texts]
    spelled = [[len(word) <= LONGEST_WORD and "\U0010ffff" not in word for word in text] for text in words]
    if not any(map(any, spelled)):
        with pytest.raises(ValueError, match="no word"):
            learn_vocabulary(texts, 2000, lower)
        return
    vocabulary = learn_vocabulary(texts, 2000, lower)
    path = tmp_path_factory.mktemp("learned") / "vocab.txt"
    save_vocabulary(vocabulary, path)
    assert load_vocabulary(path).idx_to_token == vocabulary.idx_to_token
    tokenizer = FastTokenizer(vocabulary, lower)
    unknown = [tokenizer(text).count("[UNK]") for text in texts]
    assert unknown == [text.count(False) for text in spelled]


def test_case_of_a_learned_vocabulary():
    assert "Film" in learn_vocabulary(["Film Film"], 20, lower=False).token_to_idx
    assert "film" in learn_vocabulary(["Film Film"], 20).token_to_idx


@pytest.mark.slow
def test_the_same_texts_give_the_same_vocabulary_in_every_process():
    code = (
        "from bert_tutorial.text.vocabulary import *; from bert_tutorial import load_reviews\n"
        "print(ascii(learn_vocabulary([text for text, _ in load_reviews('train')], 600).idx_to_token))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "012"
    }
    assert len(found) == 1


def test_rare_characters_do_not_fill_a_learned_vocabulary():
    rare = [chr(0x4E00 + i) for i in range(ALPHABET + 100)]
    vocabulary = learn_vocabulary(["film plot"] * 2 + rare, ALPHABET + 30)
    assert "film" in vocabulary.token_to_idx
    assert sum(token in rare for token in vocabulary.idx_to_token) == ALPHABET - len(set("filmplot"))


@pytest.mark.parametrize("texts", [[], [""], [" \n", "\x00"], ["a" * (LONGEST_WORD + 1)]])
def test_no_word_to_learn_from(texts):
    with pytest.raises(ValueError, match="no word"):
        learn_vocabulary(texts, 100)


def test_the_smallest_learned_vocabulary():
    texts = ["aba c"]  # a, b, c, ##b, ##a
    with pytest.raises(ValueError, match="at least 10"):
        learn_vocabulary(texts, 9)
    assert len(learn_vocabulary(texts, 10)) == 10


def test_one_string_is_no_list_of_texts_to_learn_from():
    with pytest.raises(TypeError, match="a list"):
        learn_vocabulary("the film", 100)
