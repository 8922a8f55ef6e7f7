"""Text is cut into words as GluonNLP cuts it, or Hugging Face where GluonNLP cannot."""

import itertools
import pickle
import re
import unicodedata

from bert_tutorial.text.vocabulary import LONGEST_WORD, SPECIAL_TOKENS
from bert_tutorial.text.wordpiece import FastTokenizer, make_tokenizer

import gluonnlp as nlp
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from odd_texts import ODD, TEXTS, assert_same, both
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer


def test_same_ids_for_ascii(tokenizers):
    ascii_characters = [chr(i) for i in range(128)]
    assert_same(tokenizers, [f"a{one}{two}B" for one, two in itertools.product(ascii_characters, repeat=2)])


def test_same_ids_for_odd_characters(tokenizers):
    assert_same(tokenizers, [f"{one}{two}" for one, two in itertools.product(ODD, repeat=2)])


@pytest.mark.slow
def test_same_ids_for_every_character():
    """All that Unicode knows, and one of every 97 code points that it has not given away."""
    # Every character is a token of its own, so a difference in one character shows. Surrogates cannot be
    # tokens, nor can the character that stands for them.
    code_points = [i for i in range(0x110000) if i % 97 == 0 or unicodedata.category(chr(i)) not in ("Cn", "Co")]
    characters = [chr(i) for i in code_points if chr(i) not in "\n\U0010ffff" and not 0xD800 <= i <= 0xDFFF]
    tokens = [*SPECIAL_TOKENS, *characters, *(f"##{c}" for c in characters)]
    vocabulary = nlp.vocab.BERTVocab(
        nlp.data.count_tokens(tokens), token_to_idx={token: i for i, token in enumerate(tokens)}
    )
    blocks = [map(chr, code_points[start : start + 128]) for start in range(0, len(code_points), 128)]
    texts = [" ".join(f"{c} a{c}B" for c in block) for block in blocks]
    assert_same(both(vocabulary), texts)


def hugging_face(vocabulary, **settings):
    """Hugging Face's tokenizer of a BERT, but for the length of the longest word."""
    tokenizer = Tokenizer(
        WordPiece(dict(vocabulary.token_to_idx), unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD)
    )
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(**settings), BertPreTokenizer()
    return tokenizer


@given(
    text=TEXTS | st.text("aéÉÜß中文 .'e\u0301", max_size=30),
    lower=st.booleans(),
    strip=st.none() | st.booleans(),
    chinese=st.booleans(),
)
@settings(max_examples=300)
def test_other_settings_give_the_ids_of_hugging_face(cased_vocabulary, text, lower, strip, chinese):
    """Finding 4."""
    assume(not (chinese and (lower if strip is None else strip)))  # GluonNLP's own
    text = re.sub("[\ud800-\udfff]", "", text)
    expected = hugging_face(cased_vocabulary, lowercase=lower, strip_accents=strip, handle_chinese_chars=chinese)
    tokenizer = pickle.loads(pickle.dumps(FastTokenizer(cased_vocabulary, lower, strip, chinese)))
    assert tokenizer.encode_batch([text], 10**6)[0][1:-1].tolist() == expected.encode(text).ids


def test_cased_text_keeps_its_accents(cased_vocabulary):
    """Finding 4: it was tokenised as "schon Muller"."""
    assert make_tokenizer(cased_vocabulary, {})("schön Müller") == ["sch", "##ön", "Müller"]
    assert make_tokenizer(cased_vocabulary, {"strip_accents": True})("schön") == ["sch", "##o", "##n"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["É", "中", "文"]),
        ({"do_lower_case": True}, ["e", "中", "文"]),
        ({"do_lower_case": None, "strip_accents": None, "tokenize_chinese_chars": None}, ["É", "中", "文"]),
        ({"do_lower_case": True, "strip_accents": False}, ["é", "中", "文"]),
        ({"tokenize_chinese_chars": False}, ["É", "中文"]),
    ],
)
def test_settings_of_a_checkpoint(cased_vocabulary, settings, expected):
    tokenizer = make_tokenizer(cased_vocabulary, settings)
    assert tokenizer("É 中文") == expected
    assert make_tokenizer(cased_vocabulary, tokenizer.settings)("É 中文") == expected


def test_a_lone_surrogate_makes_its_word_unknown(small_vocabulary):
    assert FastTokenizer(small_vocabulary)("the mo\ud83dvie, good") == ["the", "[UNK]", ",", "good"]


def test_case(small_vocabulary):
    assert FastTokenizer(small_vocabulary)("THE Σ İ") == ["the", "σ", "i"]
    assert FastTokenizer(small_vocabulary, lower=False)("THE Σ") == ["T", "##H", "##E", "Σ"]


@pytest.mark.parametrize("texts", ["the movie", ["the", None], ["the", b"movie"], [float("nan")]])
def test_texts_that_are_no_strings(small_vocabulary, texts):
    with pytest.raises(TypeError, match=r"a list|None|b'movie'|nan"):
        FastTokenizer(small_vocabulary).encode_batch(texts, max_length=10)
