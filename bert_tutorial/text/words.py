"""Cutting text into words and punctuation marks, as BERT's tokenizers do before they cut words into pieces.

Source: https://github.com/google-research/bert/blob/master/tokenization.py, by way of GluonNLP.
"""

import re
import unicodedata
from functools import partial

import gluonnlp as nlp
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

# BERT drops control characters, except the three that count as spaces.
ASCII_CONTROLS = dict.fromkeys(i for i in (*range(32), 127) if chr(i) not in "\t\n\r")
ASCII_WORD = re.compile(r"[A-Za-z0-9]+|\S")
# Half a UTF-16 pair, as broken decoding leaves it: no character, so Rust cannot hold it. U+10FFFF, which is
# never assigned, takes its place; no vocabulary holds either, so the word is [UNK] both ways.
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def make_basic_tokenizer(lower=True, strip_accents=None, tokenize_chinese_chars=True):
    """What cuts a text into words and punctuation marks, a callable from str to list of str."""
    if tokenize_chinese_chars and (lower if strip_accents is None else strip_accents):
        return nlp.data.BERTBasicTokenizer(lower=lower)
    return partial(
        _cut_as_hugging_face,
        BertNormalizer(strip_accents=strip_accents, lowercase=lower, handle_chinese_chars=tokenize_chinese_chars),
    )


def _cut_as_hugging_face(normalizer, text):
    return [word for word, _ in BertPreTokenizer().pre_tokenize_str(normalizer.normalize_str(text))]


def cut_words(text, lower, basic_tokenizer):
    """`basic_tokenizer(text)`, faster where the text is ASCII."""
    require_string(text)
    if not text.isascii():
        return basic_tokenizer(LONE_SURROGATE.sub("\U0010ffff", text))
    text = text.translate(ASCII_CONTROLS)
    return ASCII_WORD.findall(text.lower() if lower else text)


def place_words(text, cut):
    """Words, and where in the text each of them stands.

    Parameters
    ----------
    text : str
    cut : callable
        From a str to its words, as `cut_words` gives them.

    Yields
    ------
    word : str
        Those of `cut(text)`, in their order.
    begin, end : int
        It was made of text[begin:end], the accents after it among them.
    """
    # Cutting changes characters (it lowers, strips, drops), but one leaves as many behind amid others as it does alone.
    left = {character: len("".join(cut(character))) for character in set(text)}
    origins = [i for i, character in enumerate(text) for _ in range(left[character])]  # of the words' characters
    done = 0
    for word in cut(text):
        begin, end = origins[done], origins[done + len(word) - 1] + 1
        while end < len(text) and not left[text[end]] and unicodedata.category(text[end]) == "Mn":
            end += 1
        yield word, begin, end
        done += len(word)


def require_string(text):
    if not isinstance(text, str):
        raise TypeError(f"a text must be a string, not {text!r}")
