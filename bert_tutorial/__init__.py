"""Helpers of the BERT course. Import this before MXNet, so that MXNet loads with the right settings."""

from .machine import runtime

runtime.prepare()

from .blocks import (  # noqa: E402
    AddNorm,
    DotProductAttention,
    EncoderBlock,
    MultiHeadAttention,
    PositionalEncoding,
    PositionWiseFFN,
)
from .classifier import SentimentClassifier  # noqa: E402
from .doctor import doctor  # noqa: E402
from .encoder import BERTEncoder, BERTModel  # noqa: E402
from .finetuning import evaluate, predict_sentiment, train_loop  # noqa: E402
from .heads import BERTClassifier, MLMDecoder, NSClassifier  # noqa: E402
from .machine.runtime import choose_device, seed_everything  # noqa: E402
from .precision import set_precision  # noqa: E402
from .pretraining import BERTForPreTraining, fill_mask, load_for_pretraining, pretrain_loop  # noqa: E402
from .text.corpora import load_corpus  # noqa: E402
from .text.datasets import load_imdb, load_reviews  # noqa: E402
from .text.wordpiece import FastTokenizer, load_vocabulary  # noqa: E402
from .training.run import Recipe  # noqa: E402
from .weights.loading import load_pretrained, load_pretrained_heads, pretrained_config, save_pretrained  # noqa: E402

__all__ = [
    "AddNorm",
    "BERTClassifier",
    "BERTEncoder",
    "BERTForPreTraining",
    "BERTModel",
    "DotProductAttention",
    "EncoderBlock",
    "FastTokenizer",
    "MLMDecoder",
    "MultiHeadAttention",
    "NSClassifier",
    "PositionWiseFFN",
    "PositionalEncoding",
    "Recipe",
    "SentimentClassifier",
    "choose_device",
    "doctor",
    "evaluate",
    "fill_mask",
    "load_corpus",
    "load_for_pretraining",
    "load_imdb",
    "load_pretrained",
    "load_pretrained_heads",
    "load_reviews",
    "load_vocabulary",
    "predict_sentiment",
    "pretrain_loop",
    "pretrained_config",
    "save_pretrained",
    "seed_everything",
    "set_precision",
    "train_loop",
]
