"""Writes the golden files: random checkpoints, and what Hugging Face's BertForPreTraining computes with them.

How to run it, in any environment with torch and transformers (they are not among the project's requirements):

    python tests/golden/make_golden.py

It writes one folder for each entry of SHAPES next to this script. The weights are drawn anew from the seeds, so the
same versions of torch and transformers give the same files. Last run with torch 2.13.0 and transformers 5.23.0.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForPreTraining

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# vocab_size, hidden_size, intermediate_size, num_attention_heads, num_hidden_layers, max_position_embeddings
SHAPES = {
    "one-layer": (23, 8, 16, 1, 1, 12),
    "deep": (47, 32, 64, 4, 4, 24),
    "odd": (61, 36, 50, 12, 3, 40),  # 3 units a head, and an inner layer that is no multiple of anything
    "old-names": (90, 24, 96, 2, 2, 31),
}


def make_model(shape, seed):
    """A BertForPreTraining whose every tensor is random: a fresh one has biases of 0 and gammas of 1."""
    keys = "vocab_size hidden_size intermediate_size num_attention_heads num_hidden_layers max_position_embeddings"
    torch.manual_seed(seed)
    model = BertForPreTraining(BertConfig(**dict(zip(keys.split(), shape, strict=True)))).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1 if name.endswith("LayerNorm.weight") else 0, 0.2)
    return model


def save_checkpoint(model, folder):
    """config.json, model.safetensors and a made-up vocab.txt."""
    model.save_pretrained(folder)
    words = (f"word{i}" for i in range(model.config.vocab_size - len(SPECIAL_TOKENS)))
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, *words]) + "\n")


def use_old_names(folder):
    """As checkpoints of 2019 name their tensors: gamma and beta, a position buffer, the decoder's copies."""
    path = folder / "model.safetensors"
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in load_file(path).items()
    }
    word_embed = tensors["bert.embeddings.word_embeddings.weight"]
    num_positions = len(tensors["bert.embeddings.position_embeddings.weight"])
    tensors["bert.embeddings.position_ids"] = torch.arange(num_positions)[None]
    tensors["cls.predictions.decoder.weight"] = word_embed.clone()
    save_file(tensors, path, metadata={"format": "pt"})


def run(model, seed):
    """Inputs, one sample of full length and three padded ones, and the outputs, as arrays."""
    rng = np.random.default_rng(seed)
    vocab_size, length = model.config.vocab_size, model.config.max_position_embeddings
    valid_length = np.array([length, length - 1, length // 2, 1])
    words = rng.integers(vocab_size, size=(4, length))
    segments = rng.integers(2, size=words.shape)
    samples = np.sort(rng.integers(4, size=7))
    positions = rng.integers(valid_length[samples])
    with torch.no_grad():
        outputs = model(
            input_ids=torch.tensor(words),
            token_type_ids=torch.tensor(segments),
            attention_mask=torch.tensor(np.arange(length) < valid_length[:, None]).long(),
            output_hidden_states=True,
        )
        sequence = outputs.hidden_states[-1]
        pooled = model.bert.pooler(sequence)
    return {
        "words": words,
        "segments": segments,
        "valid_length": valid_length,
        "masked_positions": np.stack([samples, positions]),
        "sequence": sequence.numpy(),
        "pooled": pooled.numpy(),
        "two_way": outputs.seq_relationship_logits.numpy(),  # (4, 2): IsNext, NotNext
        "mlm_logits": outputs.prediction_logits.numpy()[samples, positions],
    }


if __name__ == "__main__":
    for seed, (name, shape) in enumerate(SHAPES.items(), start=1):
        folder = Path(__file__).parent / name
        model = make_model(shape, seed)
        save_checkpoint(model, folder)
        if name == "old-names":
            use_old_names(folder)
        np.savez_compressed(folder / "io.npz", **run(model, seed))
        print(folder)
