"""The word pieces that a BERT knows: read from a `vocab.txt`, learned from texts, written."""

from collections import Counter
from pathlib import Path

import gluonnlp as nlp
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.trainers import WordPieceTrainer

from .words import cut_words, make_basic_tokenizer

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST_WORD = 200  # characters; a longer word is [UNK], as for Google and GluonNLP
ALPHABET = 200  # characters of a learned vocabulary; without a limit, rare symbols would fill it


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
    basic_tokenizer = make_basic_tokenizer(lower)
    words = Counter(word for text in texts for word in cut_words(text, lower, basic_tokenizer))
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


def is_uncased(vocabulary):
    """Whether the vocabulary knows lower-case words only, so that text must be lower-cased first."""
    return all(token == token.lower() for token in vocabulary.idx_to_token if token not in SPECIAL_TOKENS)
