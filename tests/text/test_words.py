"""Text is cut into words as GluonNLP cuts it, or Hugging Face where GluonNLP cannot."""

import itertools
import pickle
import re
import unicodedata

from bert_tutorial.text.vocabulary import LONGEST_WORD, SPECIAL_TOKENS
from bert_tutorial.text.wordpiece import FastTokenizer, make_tokenizer
from bert_tutorial.text.words import cut_words, make_basic_tokenizer, place_words

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


def alike(words):
    """Without the one lowercase letter that depends on its neighbours, also across an apostrophe."""
    return [word.replace("ς", "σ") for word in words]


def assert_placed(text, cut):
    """The words are those of `cut`; each is what is cut out of its place, and nothing is left between the places."""
    placed = list(place_words(text, cut))
    assert [word for word, _, _ in placed] == cut(text)
    beyond = 0
    for word, begin, end in placed:
        assert begin < end
        assert alike(cut(text[begin:end])) == alike([word])
        assert cut(text[beyond:begin]) == []
        beyond = end
    assert cut(text[beyond:]) == []


def cutter(lower, strip, chinese):
    basic_tokenizer = make_basic_tokenizer(lower, strip, chinese)
    return lambda text: cut_words(text, lower, basic_tokenizer)


@given(
    text=TEXTS | st.text("aéÉÅß中文 .'e\u0301\u0327ΑΣς\0", max_size=30),
    lower=st.booleans(),
    strip=st.none() | st.booleans(),
    chinese=st.booleans(),
)
@settings(max_examples=1000)
def test_words_stand_where_they_are_said_to_stand(text, lower, strip, chinese):
    assert_placed(text, cutter(lower, strip, chinese))


@pytest.mark.slow
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("strip", [None, True, False])
@pytest.mark.parametrize("chinese", [True, False])
def test_words_of_every_two_odd_characters_are_placed(lower, strip, chinese):
    cut = cutter(lower, strip, chinese)
    for one, two in itertools.product(ODD, repeat=2):
        assert_placed(f"a{one}{two}B", cut)


@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        ("Café.", (True, None, True), ["Café", "."]),
        ("Cafe\u0301, ÅSE\u0301\u0327", (True, None, True), ["Cafe\u0301", ",", "ÅSE\u0301\u0327"]),
        ("Cafe\u0301, ÅSE\u0301", (False, None, True), ["Cafe\u0301", ",", "ÅSE\u0301"]),
        ("\ufeffre\u00adad\0 me\u200b!", (True, None, True), ["re\u00adad", "me", "!"]),
        ("the 中文 of", (True, None, True), ["the", "中", "文", "of"]),
        ("the 中文 of", (True, None, False), ["the", "中文", "of"]),
        ("1895–1943", (True, None, True), ["1895", "–", "1943"]),
        ("İstanbul ﬁlm", (True, None, True), ["İstanbul", "ﬁlm"]),
        ("a\ud83db 😀", (True, None, True), ["a\ud83db", "😀"]),
    ],
)
def test_places_of_words_in_texts(text, settings, expected):
    assert [text[begin:end] for _, begin, end in place_words(text, cutter(*settings))] == expected


@given(text=TEXTS, lower=st.booleans(), strip=st.none() | st.booleans(), chinese=st.booleans())
@settings(max_examples=300)
def test_placed_pieces_are_those_of_the_whole_text(cased_vocabulary, text, lower, strip, chinese):
    tokenizer = FastTokenizer(cased_vocabulary, lower, strip, chinese)
    ids, begins, ends = tokenizer.encode_placed(text)
    assert ids.tolist() == tokenizer.encode_batch([text], 10**6)[0][1:-1].tolist()
    pieces = []
    for word, begin, end in place_words(text, cutter(lower, strip, chinese)):
        pieces += [(begin, end)] * len(tokenizer._wordpiece.encode([word], is_pretokenized=True).ids)
    assert list(zip(begins, ends, strict=True)) == pieces
