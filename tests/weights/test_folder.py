"""What can be wrong with the files of a folder."""

import json

from bert_tutorial import load_pretrained

import pytest
from golden_weights import SMALL
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@given(data=st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_truncated_weights_are_an_error(folder, data):
    content = (SMALL / "model.safetensors").read_bytes()
    size = data.draw(st.integers(0, len(content) - 1))
    (folder / "model.safetensors").write_bytes(content[:size])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        load_pretrained(folder)


@pytest.mark.parametrize(("dtype", "size"), [("BF16", 2), ("F8_E4M3", 1)])
def test_types_that_numpy_does_not_have(folder, dtype, size):
    header = json.dumps({"bert.pooler.dense.bias": {"dtype": dtype, "shape": [8], "data_offsets": [0, 8 * size]}})
    content = len(header).to_bytes(8, "little") + header.encode() + bytes(8 * size)
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="save them as float32"):
        load_pretrained(folder)


@pytest.mark.parametrize("change", [lambda tokens: tokens[:-1], lambda tokens: [*tokens, "more"]])
def test_vocabulary_of_another_size(folder, change):
    path = folder / "vocab.txt"
    path.write_text("\n".join(change(path.read_text().split())) + "\n")
    with pytest.raises(ValueError, match=r"vocab_size = 23"):
        load_pretrained(folder)
