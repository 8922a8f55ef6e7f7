"""What a configuration says, and what it must not say."""

import json
import math
import shutil

from bert_tutorial import SentimentClassifier, load_pretrained, pretrained_config
from bert_tutorial.weights.config import model_arguments, pooling_setting
from bert_tutorial.weights.loading import BACKENDS

import pytest
from golden_weights import edit_config
from hypothesis import given
from hypothesis import strategies as st

DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"bert"', b"\xff\xfe{}", b'{"hidden_size": 8'])
def test_broken_config(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "roberta"),
        ("hidden_act", "gelu_new"),
        ("hidden_act", "relu"),
        ("layer_norm_eps", 1e-5),
        ("type_vocab_size", 1),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("hidden_size", 0),
        ("hidden_size", "8"),
        ("num_hidden_layers", 2.5),
        ("num_attention_heads", True),
        ("max_position_embeddings", None),
        ("vocab_size", -1),
        ("vocab_size", ...),  # no such key at all
        ("hidden_dropout_prob", ...),
        *(
            (key, value)
            for key in DROPOUT
            for value in (-0.5, 1, 1.0, 1.5, math.nan, math.inf, None, True, "0.1", [0.1])
        ),
    ],
)
def test_setting_that_does_not_suit_is_named(folder, key, value):
    """Finding 19 among them: rates of dropout that gave NaN or a TypeError, or were accepted."""
    edit_config(folder, **{key: value})
    with pytest.raises(ValueError, match=key):
        load_pretrained(folder)


SENTENCE_ENCODER = {  # as sentence-transformers writes it
    "word_embedding_dimension": 8,
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": False,
    "pooling_mode_max_tokens": False,
    "pooling_mode_mean_sqrt_len_tokens": False,
    "include_prompt": True,
}


def edit_pooling(folder, **changes):
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(SENTENCE_ENCODER | changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode_max_tokens": True}, "'pooling_mode_max_tokens'"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "'cls[+]mean'"),
        ({"pooling_mode": "lasttoken"}, "'lasttoken'"),
        ({}, "''"),
    ],
)
def test_a_sentence_encoder_says_how_it_is_read(folder, changes, expected):
    assert pooling_setting(folder) == "pooler"
    edit_pooling(folder, **changes)
    if expected in ("cls", "mean"):
        assert pooling_setting(folder) == expected
        assert SentimentClassifier.from_pretrained(folder, max_length=8).net.pooling == expected
    else:
        with pytest.raises(ValueError, match=f"1_Pooling/config.json says pooling = {expected}; choose one of pooler,"):
            SentimentClassifier.from_pretrained(folder, max_length=8)
    for chosen in ("pooler", "cls", "mean"):
        assert SentimentClassifier.from_pretrained(folder, max_length=8, pooling=chosen).net.pooling == chosen
    edit_config(folder, bert_tutorial={"pooling": "pooler"})
    assert pooling_setting(folder) == "pooler", "our own training came last"


@pytest.mark.parametrize("backend", BACKENDS)
def test_units_that_the_heads_do_not_divide(folder, backend):
    edit_config(folder, num_attention_heads=3)
    with pytest.raises(ValueError, match="hidden_size = 8; it must be a multiple of num_attention_heads = 3"):
        load_pretrained(folder, backend=backend)


@pytest.mark.parametrize("content", ['{"word_tokenizer_type": "mecab"}', "[]", "[" * 100_000, '{"strip_accents": 1}'])
def test_tokenizer_settings_that_cannot_be(tiny_checkpoint, tmp_path, content):
    shutil.copytree(tiny_checkpoint, tmp_path / "bert")
    (tmp_path / "bert" / "tokenizer_config.json").write_text(content)
    with pytest.raises(ValueError, match=r"tokenizer_config\.json|strip_accents"):
        SentimentClassifier.from_pretrained(tmp_path / "bert", max_length=8)


@given(st.tuples(*[st.integers(1, 10**6)] * 5), st.floats(0, 0.9), st.integers(1, 10**4))
def test_pretrained_config_gives_the_settings_back(sizes, dropout, max_length):
    names = ("vocab_size", "units", "hidden_size", "num_heads", "num_layers")
    arguments = dict(zip(names, sizes, strict=True)) | {"dropout": dropout, "max_length": max_length}
    arguments["units"] *= arguments["num_heads"]
    assert model_arguments(pretrained_config(**arguments)) == arguments
