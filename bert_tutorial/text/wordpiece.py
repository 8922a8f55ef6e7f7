"""WordPiece: from text to the token ids BERT was trained on.

A tokenizer first cuts text into words and punctuation marks, then each word into the longest pieces that the
vocabulary holds ("untimely" -> "un", "##time", "##ly"). For uncased weights two tokenizers give the same ids for
every string: GluonNLP's `nlp.data.BERTTokenizer(vocabulary)`, in Python, to read and to teach with, and
`FastTokenizer`, for whole data sets.

Source: Devlin et al. 2018, section 3; Wu et al. 2016, "Google's Neural Machine Translation System",
section 4.1 (WordPiece).
"""

import hashlib
import re
import unicodedata
from collections import Counter
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import gluonnlp as nlp
import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, WhitespaceSplit
from tokenizers.trainers import WordPieceTrainer

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST_WORD = 200  # characters; a longer word is [UNK], as for Google and GluonNLP
ALPHABET = 200  # characters of a learned vocabulary; without a limit, rare symbols would fill it
TOKENIZER_SETTINGS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")  # Hugging Face's names
BATCH = 1024  # texts tokenized at once: bounds the memory, which holds every word of a batch

# BERT drops control characters, except the three that count as spaces.
ASCII_CONTROLS = dict.fromkeys(i for i in (*range(32), 127) if chr(i) not in "\t\n\r")
ASCII_WORD = re.compile(r"[A-Za-z0-9]+|\S")
# Half a UTF-16 pair, as broken decoding leaves it: no character, so Rust cannot hold it. U+10FFFF, which is
# never assigned, takes its place; no vocabulary holds either, so the word is [UNK] both ways.
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def load_vocabulary(path):
    """Read a `vocab.txt`: one token a line, the first line is id 0.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    nlp.vocab.BERTVocab
        Exactly the file's tokens, at exactly the file's ids.

    Raises
    ------
    ValueError
        The file is empty or not UTF-8, holds a token twice or lacks one of `SPECIAL_TOKENS`.
    FileNotFoundError
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 at byte {error.start}: save it again as UTF-8 text") from error
    if not text:
        raise ValueError(f"{path} is empty: copy the vocab.txt that belongs to the weights")
    # Not splitlines(): vocabularies hold tokens, U+2028 for one, at which it would break the line.
    tokens = text.removesuffix("\n").split("\n")
    ids = {}
    for i, token in enumerate(tokens):
        if token in ids:
            raise ValueError(
                f"{path} holds the token {token!r} on lines {ids[token] + 1} and {i + 1}, but a token has "
                "one id: copy the vocab.txt that belongs to the weights"
            )
        ids[token] = i
    missing = [token for token in SPECIAL_TOKENS if token not in ids]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: give a BERT vocab.txt, one token a line, every line ended by \\n alone"
        )
    return nlp.vocab.BERTVocab(nlp.data.count_tokens(tokens), token_to_idx=ids)


def learn_vocabulary(texts, size, lower=True):
    """Learn a WordPiece vocabulary from texts.

    Words are cut as `FastTokenizer` cuts them. Words with a character that is not among the `ALPHABET` most
    frequent are left out, for no piece could spell them. The same texts give the same vocabulary every time.

    Parameters
    ----------
    texts : iterable of str
    size : int
        Tokens of the vocabulary, special tokens included. Few texts may give fewer.
    lower : bool, default True
        Lowercase and strip accents, as `FastTokenizer` does.

    Returns
    -------
    nlp.vocab.BERTVocab
        `SPECIAL_TOKENS` at ids 0 to 4, then the characters, then longer pieces in the order they were learned.

    Raises
    ------
    ValueError
        There is no word to learn from, or `size` is too small for the special tokens and the characters.

    Source: Devlin et al. 2018, section 3; Wu et al. 2016, section 4.1. `tokenizers` learns the pieces as in byte
    pair encoding (Sennrich et al. 2016): it joins the most frequent pair, over and over.
    """
    if isinstance(texts, str):
        raise TypeError("texts is one string: put it in a list")
    basic_tokenizer = _basic_tokenizer(lower)
    words = Counter(word for text in texts for word in _cut_words(text, lower, basic_tokenizer))
    characters = Counter()
    for word, count in words.items():
        for character in word:
            characters[character] += count
    del characters["\U0010ffff"]  # a lone surrogate
    alphabet = set(sorted(characters, key=lambda character: (-characters[character], character))[:ALPHABET])
    words = {word: n for word, n in sorted(words.items()) if len(word) <= LONGEST_WORD and alphabet.issuperset(word)}
    if not words:
        raise ValueError("the texts hold no word to learn from")
    # The trainer would number "##x" in an order that changes from run to run, and would break ties by these
    # numbers. As "special" tokens they come in the order given.
    first = [*SPECIAL_TOKENS, *sorted(set().union(*words)), *sorted({f"##{c}" for word in words for c in word[1:]})]
    if size < len(first):
        raise ValueError(
            f"size is {size}: give at least {len(first)}, for the {len(SPECIAL_TOKENS)} special tokens and the "
            "characters of the texts, at the beginning and inside of words"
        )
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.train_from_iterator(
        (f"{word} " * count for word, count in words.items()),
        WordPieceTrainer(vocab_size=size, special_tokens=first, show_progress=False),
    )
    ids = tokenizer.get_vocab()
    tokens = sorted(ids, key=ids.get)
    return nlp.vocab.BERTVocab(nlp.data.count_tokens(tokens), token_to_idx=ids)


def save_vocabulary(vocabulary, path):
    """Write `vocabulary` as a `vocab.txt` that `load_vocabulary` reads back with the same ids.

    Parameters
    ----------
    vocabulary : nlp.vocab.BERTVocab
    path : str or Path

    Raises
    ------
    ValueError
        A token holds a line break, so it cannot stand on one line.
    """
    for token in vocabulary.idx_to_token:
        if "\n" in token:
            raise ValueError(f"the token {token!r} holds a line break: remove it from the vocabulary")
    Path(path).write_bytes("".join(f"{token}\n" for token in vocabulary.idx_to_token).encode("utf-8"))


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
        self._basic_tokenizer = _basic_tokenizer(*values)
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
        return self._wordpiece.encode(_cut_words(text, self._lower, self._basic_tokenizer), is_pretokenized=True).tokens

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
            words = [
                _cut_words(text, self._lower, self._basic_tokenizer)[:room] for text in texts[start : start + BATCH]
            ]
            for encoding in self._wordpiece.encode_batch_fast(words, is_pretokenized=True):
                encoded.append(np.array([cls, *encoding.ids[:room], sep], dtype="int32"))
        return encoded

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
        special = (self.vocab.cls_token, self.vocab.sep_token, self.vocab.unknown_token)
        code = (version("gluonnlp"), version("tokenizers"), unicodedata.unidata_version)
        digest = hashlib.sha256(Path(__file__).read_bytes())
        digest.update(repr((special, code, self.settings, max_length, len(self.vocab))).encode())
        for text in chain(self.vocab.idx_to_token, texts):
            _require_string(text)
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
    """The tokenizer that a checkpoint was trained with.

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


def _basic_tokenizer(lower=True, strip_accents=None, tokenize_chinese_chars=True):
    """What cuts a text into words and punctuation marks, a callable from str to list of str."""
    if tokenize_chinese_chars and (lower if strip_accents is None else strip_accents):
        return nlp.data.BERTBasicTokenizer(lower=lower)
    return partial(
        _cut_as_hugging_face,
        BertNormalizer(strip_accents=strip_accents, lowercase=lower, handle_chinese_chars=tokenize_chinese_chars),
    )


def _cut_as_hugging_face(normalizer, text):
    return [word for word, _ in BertPreTokenizer().pre_tokenize_str(normalizer.normalize_str(text))]


def _cut_words(text, lower, basic_tokenizer):
    """`basic_tokenizer(text)`, faster where the text is ASCII."""
    _require_string(text)
    if not text.isascii():
        return basic_tokenizer(LONE_SURROGATE.sub("\U0010ffff", text))
    text = text.translate(ASCII_CONTROLS)
    return ASCII_WORD.findall(text.lower() if lower else text)


def _require_string(text):
    if not isinstance(text, str):
        raise TypeError(f"a text must be a string, not {text!r}")


def is_uncased(vocabulary):
    """Whether the vocabulary knows lower-case words only, so that text must be lower-cased first."""
    return all(token == token.lower() for token in vocabulary.idx_to_token if token not in SPECIAL_TOKENS)
