"""A small vocabulary, and corpora of random word pieces in it."""

from bert_tutorial.text.sentence_pairs import TokenizedCorpus
from bert_tutorial.text.vocabulary import SPECIAL_TOKENS

import gluonnlp as nlp
import numpy as np
from hypothesis import strategies as st

DEVIATIONS = 5  # standard deviations that a random count may be off


def vocabulary_of(*tokens):
    return nlp.vocab.BERTVocab(nlp.data.count_tokens(tokens), token_to_idx={token: i for i, token in enumerate(tokens)})


# the special tokens not at their usual ids
VOCABULARY = vocabulary_of("a", "##b", "##c", *SPECIAL_TOKENS, "d", "##e", "f", "g")
PAD, UNK, CLS, SEP, MASK = SPECIAL_IDS = VOCABULARY[list(SPECIAL_TOKENS)]
ORDINARY_IDS = [i for i in range(len(VOCABULARY)) if i not in SPECIAL_IDS]


def corpus_of(documents):
    """A corpus of documents given as lists of sentence lengths, of random ids, one in thirty unknown."""
    lengths = np.concatenate(documents)
    ids = np.random.RandomState(0).choice([*ORDINARY_IDS * 5, UNK], lengths.sum()).astype("int32")
    return TokenizedCorpus(ids, np.cumsum(lengths), np.cumsum([len(document) for document in documents]))


documents = st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=12), min_size=2, max_size=8)
max_lengths = st.integers(5, 40)
seeds = st.integers(0, 2**32 - 1)
