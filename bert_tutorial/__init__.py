"""Helpers of the BERT course. Import this before MXNet, so that MXNet loads with the right settings."""

from .machine import runtime

runtime.prepare()

from .baselines import score_baselines  # noqa: E402
from .blocks import (  # noqa: E402
    AddNorm,
    DotProductAttention,
    EncoderBlock,
    MultiHeadAttention,
    PositionalEncoding,
    PositionWiseFFN,
)
from .classifier import SentimentClassifier, predict_sentiment  # noqa: E402
from .contrastive import finetune_encoder  # noqa: E402
from .doctor import doctor  # noqa: E402
from .encoder import BERTEncoder, BERTModel  # noqa: E402
from .finetuning import finetune_reviews, finetune_task  # noqa: E402
from .heads import (  # noqa: E402
    BERTClassifier,
    BERTForPreTraining,
    BERTForQA,
    BERTTagger,
    MLMDecoder,
    NSClassifier,
    SentenceEncoder,
)
from .machine.devices import choose_device  # noqa: E402
from .machine.seeds import seed_everything  # noqa: E402
from .precision import set_precision  # noqa: E402
from .pretraining import fill_mask, pretrain_corpus, pretrain_loop  # noqa: E402
from .tasks.answer import QuestionAnswerer  # noqa: E402
from .tasks.classify import TextClassifier  # noqa: E402
from .tasks.encode import TextEncoder  # noqa: E402
from .tasks.regress import TextRegressor  # noqa: E402
from .tasks.tag import TokenTagger  # noqa: E402
from .text.corpora import load_corpus  # noqa: E402
from .text.imdb import load_imdb  # noqa: E402
from .text.tables import load_reviews  # noqa: E402
from .text.vocabulary import load_vocabulary  # noqa: E402
from .text.wordpiece import FastTokenizer  # noqa: E402
from .training.loop import train_loop  # noqa: E402
from .training.recipe import Recipe  # noqa: E402
from .training.scoring import evaluate, wilson_interval  # noqa: E402
from .weights.config import pretrained_config  # noqa: E402
from .weights.loading import load_for_pretraining, load_pretrained, load_pretrained_heads  # noqa: E402
from .weights.saving import save_pretrained  # noqa: E402

__all__ = [
    "AddNorm",
    "BERTClassifier",
    "BERTEncoder",
    "BERTForPreTraining",
    "BERTForQA",
    "BERTModel",
    "BERTTagger",
    "DotProductAttention",
    "EncoderBlock",
    "FastTokenizer",
    "MLMDecoder",
    "MultiHeadAttention",
    "NSClassifier",
    "PositionWiseFFN",
    "PositionalEncoding",
    "QuestionAnswerer",
    "Recipe",
    "SentenceEncoder",
    "SentimentClassifier",
    "TextClassifier",
    "TextEncoder",
    "TextRegressor",
    "TokenTagger",
    "choose_device",
    "doctor",
    "evaluate",
    "fill_mask",
    "finetune_encoder",
    "finetune_reviews",
    "finetune_task",
    "load_corpus",
    "load_for_pretraining",
    "load_imdb",
    "load_pretrained",
    "load_pretrained_heads",
    "load_reviews",
    "load_vocabulary",
    "predict_sentiment",
    "pretrain_corpus",
    "pretrain_loop",
    "pretrained_config",
    "save_pretrained",
    "score_baselines",
    "seed_everything",
    "set_precision",
    "train_loop",
    "wilson_interval",
]
