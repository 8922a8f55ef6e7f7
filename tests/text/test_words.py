"""The vocabulary file, and the fast tokenizer against GluonNLP's on every kind of text."""

import itertools
import os
import pickle
import re
import string
import subprocess
import sys
import unicodedata
from pathlib import Path

from bert_tutorial.machine.fetching import cache_dir
from bert_tutorial.text.imdb import load_imdb
from bert_tutorial.text.tables import load_reviews
from bert_tutorial.text.vocabulary import (
    ALPHABET,
    LONGEST_WORD,
    SPECIAL_TOKENS,
    learn_vocabulary,
    load_vocabulary,
    save_vocabulary,
)
from bert_tutorial.text.wordpiece import FastTokenizer, lookups, make_tokenizer

import gluonnlp as nlp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

CHARACTERS = [
    *string.ascii_letters,
    *string.digits,
    *string.punctuation,
    *"éÉßøæıσςΣ¡«–—…€中文㐀𠀀가ガᄀ😀\ue000\u2028",
]
WORDS = ["the", "movie", "good", "un", "##able", "##ing", "e\u0301", "[unused0]"]

# Characters on which tokenizers tend to disagree: white space, control and format characters, U+FFFD, accents
# before and after their letters, letters whose lowercase depends on their neighbours or has two characters,
# CJK inside and outside BERT's ranges, private use, surrogates, punctuation newer than some Unicode tables.
ODD = [
    *"\0\a\t\n\v\f\r\x1b\x1c\x1f \x7f\x85\xa0\xad\u1680\u180e\u2003\u200b\u200d",
    *"\u2028\u2029\u202f\u3000\ufeff\ufffd",
    *"éÅ\u0301\u0307\u0345\u0483\ufe0fİıΣσςẞßﬁǅKÅ가ᄀ\u1161ょ。「中\u9fff\ua000\U0002b73f\U0002b820\U0002f800\U0002ceb0",
    *"\ue000\U0010ffff\U000e0001\ud800\udbff\udc00\udfff\u061d\u1734\u2e52\u2e5d\U00010ead\U00011f43",
    *"\U0001f600aAzZ09_'[]#",
    *SPECIAL_TOKENS,
    "##a",
    "a" * LONGEST_WORD,
]
TEXTS = st.lists(st.one_of(st.characters(), st.characters(max_codepoint=127), st.sampled_from(ODD)), max_size=40).map(
    "".join
)


def write_vocabulary(path, tokens):
    path.write_bytes("\n".join(tokens).encode())
    return path


@pytest.fixture(scope="module")
def small_vocabulary(tmp_path_factory):
    # the special tokens not at their usual ids
    tokens = [*WORDS, *SPECIAL_TOKENS, *CHARACTERS, *(f"##{c}" for c in CHARACTERS)]
    return load_vocabulary(write_vocabulary(tmp_path_factory.mktemp("vocabulary") / "vocab.txt", tokens))


@pytest.fixture(scope="module")
def published_vocabulary_file():
    path = cache_dir() / "minilm-l6" / "vocab.txt"
    if not path.is_file():
        pytest.skip("no published vocabulary in the cache: run `bert-tutorial fetch minilm-l6`")
    return path


@pytest.fixture(scope="module", params=["small", "published"])
def vocabulary(request):
    if request.param == "small":
        return request.getfixturevalue("small_vocabulary")
    return load_vocabulary(request.getfixturevalue("published_vocabulary_file"))


def both(vocabulary, lower=True):
    """Ours and GluonNLP's, which strips accents in either case."""
    return FastTokenizer(vocabulary, lower, strip_accents=True), nlp.data.BERTTokenizer(vocabulary, lower)


@pytest.fixture(scope="module", params=[True, False], ids=["lower", "cased"])
def tokenizers(request, vocabulary):
    return both(vocabulary, request.param)


def assert_same(tokenizers, texts):
    fast, gluonnlp = tokenizers
    encoded = fast.encode_batch(texts, max_length=10**7)
    for text, ids in zip(texts, encoded, strict=True):
        tokens = gluonnlp(text)
        assert fast(text) == tokens, repr(text[:1000])
        assert ids[1:-1].tolist() == gluonnlp.convert_tokens_to_ids(tokens), repr(text[:1000])


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


@given(text=TEXTS)
@settings(max_examples=1000)
def test_same_tokens_and_ids_as_gluonnlp(tokenizers, text):
    assert_same(tokenizers, [text])


def test_same_ids_for_ascii(tokenizers):
    ascii_characters = [chr(i) for i in range(128)]
    assert_same(tokenizers, [f"a{one}{two}B" for one, two in itertools.product(ascii_characters, repeat=2)])


def test_same_ids_for_odd_characters(tokenizers):
    assert_same(tokenizers, [f"{one}{two}" for one, two in itertools.product(ODD, repeat=2)])


def test_same_ids_for_extreme_texts(tokenizers):
    longest = ["a" * n for n in (LONGEST_WORD - 1, LONGEST_WORD, LONGEST_WORD + 1)]
    accented = ["é" * n for n in (LONGEST_WORD, LONGEST_WORD + 1)]
    assert_same(tokenizers, ["", " ", " \t\r\n\u3000", "\0\x1f\x7f\u200b", *longest, *accented])
    assert_same(tokenizers, ["good movie, the\u00a0" * 66_000, "good movie, the " * 66_000, "x" * 10**6])


def test_same_ids_across_batches(tokenizers):
    texts = ["the good movie"[: i % 15] + "é" * (i % 2) for i in range(2500)]
    assert_same(tokenizers, texts)
    assert tokenizers[0].encode_batch([], max_length=3) == []


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


def hugging_face(vocabulary, **settings):
    """Hugging Face's tokenizer of a BERT, but for the length of the longest word."""
    tokenizer = Tokenizer(
        WordPiece(dict(vocabulary.token_to_idx), unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD)
    )
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(**settings), BertPreTokenizer()
    return tokenizer


def cut_by_hugging_face(text):
    cased = BertNormalizer(lowercase=False)
    return [word for word, _ in BertPreTokenizer().pre_tokenize_str(cased.normalize_str(text))]


@pytest.fixture(scope="module")
def cased_vocabulary(tmp_path_factory):
    tokens = [*SPECIAL_TOKENS, *CHARACTERS, *(f"##{c}" for c in CHARACTERS), "e\u0301", "sch", "##ön", "Müller", "中文"]
    return load_vocabulary(write_vocabulary(tmp_path_factory.mktemp("cased") / "vocab.txt", tokens))


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


def test_a_lone_surrogate_makes_its_word_unknown(small_vocabulary):
    assert FastTokenizer(small_vocabulary)("the mo\ud83dvie, good") == ["the", "[UNK]", ",", "good"]


def test_case(small_vocabulary):
    assert FastTokenizer(small_vocabulary)("THE Σ İ") == ["the", "σ", "i"]
    assert FastTokenizer(small_vocabulary, lower=False)("THE Σ") == ["T", "##H", "##E", "Σ"]


def test_copies_and_numpy_strings_are_tokenized_too(small_vocabulary):
    tokenizer = pickle.loads(pickle.dumps(FastTokenizer(small_vocabulary)))
    texts = np.array(["the movie", "the é movie"])
    for ids, text in zip(tokenizer.encode_batch(texts, 10), texts.tolist(), strict=True):
        assert ids[1:-1].tolist() == tokenizer.convert_tokens_to_ids(tokenizer(text))


@pytest.mark.parametrize("max_length", [2, 0, -1])
def test_no_room_for_a_token(small_vocabulary, max_length):
    with pytest.raises(ValueError, match=str(max_length)):
        FastTokenizer(small_vocabulary).encode_batch(["the"], max_length)


@pytest.mark.parametrize("texts", ["the movie", ["the", None], ["the", b"movie"], [float("nan")]])
def test_texts_that_are_no_strings(small_vocabulary, texts):
    with pytest.raises(TypeError, match=r"a list|None|b'movie'|nan"):
        FastTokenizer(small_vocabulary).encode_batch(texts, max_length=10)


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
        "from bert_tutorial.text.wordpiece import *; from bert_tutorial import load_reviews\n"
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
