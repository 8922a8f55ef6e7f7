"""WordPiece: from text to the token ids BERT was trained on.

A tokenizer first cuts text into words and punctuation marks, then each word into the longest pieces that the
vocabulary holds ("untimely" -> "un", "##time", "##ly"). For uncased weights two tokenizers give the same ids for
every string: GluonNLP's `nlp.data.BERTTokenizer(vocabulary)`, in Python, to read and to teach with, and
`FastTokenizer`, for whole data sets.

Source: Devlin et al. 2018, section 3; Wu et al. 2016, "Google's Neural Machine Translation System",
section 4.1 (WordPiece).
"""

import hashlib
import unicodedata
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from .vocabulary import LONGEST_WORD, is_uncased
from .words import cut_words, make_basic_tokenizer, place_words, require_string

TOKENIZER_SETTINGS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")  # Hugging Face's names
BATCH = 1024  # texts tokenized at once: bounds the memory, which holds every word of a batch


class PlacedPieces(NamedTuple):
    """The word pieces of a text of n pieces, without [CLS] and [SEP]."""

    ids: np.ndarray  # (n,), int32
    begins: np.ndarray  # (n,): where in the text each one's word begins
    ends: np.ndarray  # (n,): and ends


class FastTokenizer:
    """`nlp.data.BERTTokenizer(vocabulary)` on all cores: same calls, same ids for every string.

    Words of ASCII text, as most reviews are, are cut by one regular expression; those of other text by
    GluonNLP's own `BERTBasicTokenizer`, because accents, punctuation and control characters depend on the
    Unicode tables of the Python that runs, and `tokenizers` brings tables of its own. Only the cutting of
    words into pieces is left to `tokenizers`.

    Where accents or Chinese words stay as they are, it gives the ids of Hugging Face's BertTokenizer, for GluonNLP
    cannot: it strips accents with `lower=False` too ("schön" -> "schon"), and published cased weights saw them. Only
    words of 101 to 200 characters differ: Hugging Face makes them [UNK], Google, whose code trained BERT, longer ones.

    "[SEP]" and the like, typed in a text, are plain text.

    Parameters
    ----------
    vocabulary : nlp.vocab.BERTVocab
    lower : bool, default True
        Lowercase, for uncased weights.
    strip_accents : bool, optional
        As `lower` if not given.
    tokenize_chinese_chars : bool, default True
        Make each Chinese character a word.

    Attributes
    ----------
    settings : dict
        These settings under Hugging Face's names, as in a `tokenizer_config.json`.

    Source: https://github.com/google-research/bert/blob/master/tokenization.py, by way of GluonNLP.
    """

    def __init__(self, vocabulary, lower=True, strip_accents=None, tokenize_chinese_chars=True):
        self.vocab = vocabulary
        values = (lower, strip_accents, tokenize_chinese_chars)
        self.settings = dict(zip(TOKENIZER_SETTINGS, values, strict=True))
        self._lower = lower
        self._basic_tokenizer = make_basic_tokenizer(*values)
        self._wordpiece = Tokenizer(
            WordPiece(
                dict(vocabulary.token_to_idx),
                unk_token=vocabulary.unknown_token,
                max_input_chars_per_word=LONGEST_WORD,
            )
        )

    def __call__(self, text):
        """Tokenize one text.

        Parameters
        ----------
        text : str

        Returns
        -------
        list of str
            Its tokens, without [CLS] and [SEP].
        """
        return self._wordpiece.encode(self._cut(text), is_pretokenized=True).tokens

    def convert_tokens_to_ids(self, tokens):
        """Ids of `tokens`, a list of str."""
        return self.vocab.to_indices(tokens)

    def encode_batch(self, texts, max_length):
        """Tokenize many texts at once.

        Parameters
        ----------
        texts : list of str
        max_length : int
            Most tokens of one text, [CLS] and [SEP] included. A longer text loses its end.

        Returns
        -------
        list of np.ndarray
            For each text its ids [CLS] ... [SEP], int32, shape (length of this text,). The same as
            `nlp.data.BERTSentenceTransform(tokenizer, max_length, pad=False, pair=False)` gives.

        Raises
        ------
        ValueError
            `max_length` leaves no room for a token.
        """
        if max_length < 3:
            raise ValueError(f"max_length is {max_length}: give at least 3, for [CLS], one token and [SEP]")
        if isinstance(texts, str):
            raise TypeError("texts is one string: put it in a list")
        cls, sep = self.vocab[[self.vocab.cls_token, self.vocab.sep_token]]
        room = max_length - 2
        encoded = []
        for start in range(0, len(texts), BATCH):
            # a word is one token at least, so words past `room` cannot matter
            words = [self._cut(text)[:room] for text in texts[start : start + BATCH]]
            for encoding in self._wordpiece.encode_batch_fast(words, is_pretokenized=True):
                encoded.append(np.array([cls, *encoding.ids[:room], sep], dtype="int32"))
        return encoded

    def encode_placed(self, text):
        """Tokenize one text, and say where in it the word of each token stands.

        Parameters
        ----------
        text : str

        Returns
        -------
        PlacedPieces
            The ids are those of `encode_batch`.
        """
        words = list(place_words(text, self._cut))
        encoding = self._wordpiece.encode([word for word, _, _ in words], is_pretokenized=True)
        places = np.array([words[i][1:] for i in encoding.word_ids], dtype="int64").reshape(-1, 2)
        return PlacedPieces(np.array(encoding.ids, dtype="int32"), places[:, 0], places[:, 1])

    def _cut(self, text):
        return cut_words(text, self._lower, self._basic_tokenizer)

    def fingerprint(self, texts, max_length):
        """SHA-256 of all that `encode_batch(texts, max_length)` depends on.

        Parameters
        ----------
        texts : iterable of str
        max_length : int

        Returns
        -------
        str
            64 hexadecimal digits: equal for equal texts in the same order, vocabulary, settings, length and code.
        """
        fixed = (self.vocab.cls_token, self.vocab.sep_token, self.vocab.unknown_token, LONGEST_WORD)
        code = (version("gluonnlp"), version("tokenizers"), unicodedata.unidata_version)
        digest = hashlib.sha256(Path(__file__).read_bytes() + Path(__file__).with_name("words.py").read_bytes())
        digest.update(repr((fixed, code, self.settings, max_length, len(self.vocab))).encode())
        for text in chain(self.vocab.idx_to_token, texts):
            require_string(text)
            digest.update(text.encode("utf-8", "surrogatepass") + b"\xff")  # UTF-8 never holds this byte
        return digest.hexdigest()


def lookups(word, vocabulary):
    """What WordPiece looks up to cut a word: from each place the longest piece first, until one is found.

    The tokenizers do this in C++ and Rust; this is the same, to look at. Every piece that is found is one of the
    word's; if none is found from some place, the whole word is [UNK].

    Parameters
    ----------
    word : str
    vocabulary : nlp.vocab.BERTVocab

    Yields
    ------
    begin, end : int
        The piece is word[begin:end], with "##" in front if it continues the word.
    found : bool
        Whether the vocabulary holds it.

    Source: Devlin et al. 2018, the authors' published code (tokenization.py).
    """
    begin, end = 0, len(word)
    while begin < end:
        found = ("##" if begin else "") + word[begin:end] in vocabulary
        yield begin, end, found
        begin, end = (end, len(word)) if found else (begin, end - 1)


def make_tokenizer(vocabulary, settings):
    """The tokenizer that published weights were trained with.

    Parameters
    ----------
    vocabulary : nlp.vocab.BERTVocab
    settings : dict
        Those of `TOKENIZER_SETTINGS` that are known. Whether text is lowercased can be told from the vocabulary.

    Returns
    -------
    FastTokenizer

    Raises
    ------
    ValueError
        A setting that is neither true nor false, or something else than a dict.
    """
    if not isinstance(settings, dict):
        raise ValueError(f"the tokenizer's settings must be a JSON object, not {settings!r}")
    for name, value in settings.items():
        if not isinstance(value, bool | None):
            raise ValueError(f"the tokenizer's {name} must be true or false, not {value!r}")
    lower, strip_accents, chinese = map(settings.get, TOKENIZER_SETTINGS)
    return FastTokenizer(
        vocabulary, is_uncased(vocabulary) if lower is None else lower, strip_accents, chinese is not False
    )
