"""Tensors that do not fit are named, none is left out."""

import shutil

from bert_tutorial import load_pretrained, load_pretrained_heads
from bert_tutorial.weights.loading import BACKENDS

import numpy as np
import pytest
from golden_weights import SMALL, edit_config, edit_tensors
from safetensors.numpy import load_file

TENSORS = sorted(load_file(SMALL / "model.safetensors"))
ENCODER_TENSORS = [name for name in TENSORS if name.startswith("bert.")]
HEAD_TENSORS = [name for name in TENSORS if name.startswith("cls.")]


def load_all(folder):
    bert, _ = load_pretrained(folder)
    load_pretrained_heads(folder, bert)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ENCODER_TENSORS)
def test_missing_or_misshapen_tensor_is_named(folder, name, backend):
    found = load_file(folder / "model.safetensors")[name].shape
    for axis in range(len(found)):
        shutil.copy(SMALL / "model.safetensors", folder)
        edit_tensors(folder, lambda tensors, axis=axis: tensors.update({name: tensors[name].repeat(3, axis)}))
        with pytest.raises(ValueError, match=name.removeprefix("bert.")) as caught:
            load_pretrained(folder, backend=backend)
        assert str(found) in str(caught.value), "the shape that would be right"
    edit_tensors(folder, lambda tensors: tensors.pop(name))
    with pytest.raises(ValueError, match=name.removeprefix("bert.")):
        load_pretrained(folder, backend=backend)


@pytest.mark.parametrize("name", HEAD_TENSORS)
def test_missing_or_misshapen_tensor_of_a_head_is_named(folder, name):
    for axis in range(load_file(folder / "model.safetensors")[name].ndim):
        shutil.copy(SMALL / "model.safetensors", folder)
        edit_tensors(folder, lambda tensors, axis=axis: tensors.update({name: tensors[name].repeat(3, axis)}))
        with pytest.raises(ValueError, match=name):
            load_all(folder)
    edit_tensors(folder, lambda tensors: tensors.pop(name))
    load_pretrained(folder)
    with pytest.raises(ValueError, match=name):
        load_all(folder)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["bert.encoder.layer.1.output.dense.bias", "classifier.weight", "adapter"])
def test_unknown_tensor_is_named(folder, name, backend):
    edit_tensors(folder, lambda tensors: tensors.update({name: np.ones(2, "float32")}))
    with pytest.raises(ValueError, match=name.removeprefix("bert.")):
        load_pretrained(folder, backend=backend)


def test_unknown_tensor_of_a_head_is_named(folder):
    edit_tensors(folder, lambda tensors: tensors.update({"cls.predictions.gate": np.ones(2, "float32")}))
    with pytest.raises(ValueError, match=r"cls\.predictions\.gate"):
        load_all(folder)


@pytest.mark.parametrize(
    ("copy", "original"), [("weight", "bert.embeddings.word_embeddings.weight"), ("bias", "cls.predictions.bias")]
)
def test_decoder_of_its_own_is_refused(folder, copy, original):
    """The shared tensor would take its place, silently."""
    copy = f"cls.predictions.decoder.{copy}"
    edit_tensors(folder, lambda tensors: tensors.update({copy: tensors[original].copy()}))
    load_all(folder)
    edit_tensors(folder, lambda tensors: tensors.update({copy: tensors[original] + 1}))
    with pytest.raises(ValueError, match=copy):
        load_all(folder)


def test_checkpoint_without_heads(folder):
    edit_tensors(folder, lambda tensors: [tensors.pop(name) for name in HEAD_TENSORS])
    with pytest.raises(ValueError, match="without pre-training heads"):
        load_all(folder)


@pytest.mark.parametrize("backend", BACKENDS)
def test_more_layers_than_tensors_are_refused_before_they_are_built(folder, backend):
    """Finding 28."""
    edit_config(folder, num_hidden_layers=10**9)
    with pytest.raises(ValueError, match="num_hidden_layers = 1000000000"):
        load_pretrained(folder, backend=backend)
