"""Writes sentences.npz: texts, and the vectors that sentence-transformers gives for them with the weights of minilm-l6.

How to run it, in any environment with sentence-transformers (not among the project's requirements):

    python tests/golden/make_sentences.py FOLDER

FOLDER holds the weights: `bert-tutorial fetch minilm-l6` says where. The modules are those of the model's page on the
hub, 256 word pieces of a text among them. Last run with sentence-transformers 6.2.0 and torch 2.13.0.
"""

import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer

TEXTS = [
    "How do I copy a folder?",
    "Recursively copy a directory tree and return the destination directory.",
    "A film.",
    "Naïve café owners, 東京 and 100% of the “others” - all in one sentence!",
    "word " * 300,
    "",
]


def encode(folder, texts):
    """The texts' vectors, (len(texts), units)."""
    transformer = Transformer(str(folder), max_seq_length=256)
    pooling = Pooling(transformer.get_word_embedding_dimension(), pooling_mode="mean")
    return SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu").encode(texts)


if __name__ == "__main__":
    np.savez_compressed(Path(__file__).with_name("sentences.npz"), texts=TEXTS, vectors=encode(sys.argv[1], TEXTS))
