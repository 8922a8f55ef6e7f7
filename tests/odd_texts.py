"""Texts on which tokenizers disagree, and the comparison of ours with GluonNLP's."""

import string

from bert_tutorial.text.vocabulary import LONGEST_WORD, SPECIAL_TOKENS
from bert_tutorial.text.wordpiece import FastTokenizer

import gluonnlp as nlp
from hypothesis import strategies as st

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


def both(vocabulary, lower=True):
    """Ours and GluonNLP's, which strips accents in either case."""
    return FastTokenizer(vocabulary, lower, strip_accents=True), nlp.data.BERTTokenizer(vocabulary, lower)


def assert_same(tokenizers, texts):
    fast, gluonnlp = tokenizers
    encoded = fast.encode_batch(texts, max_length=10**7)
    for text, ids in zip(texts, encoded, strict=True):
        tokens = gluonnlp(text)
        assert fast(text) == tokens, repr(text[:1000])
        assert ids[1:-1].tolist() == gluonnlp.convert_tokens_to_ids(tokens), repr(text[:1000])
