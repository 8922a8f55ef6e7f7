"""Writes the golden files: random checkpoints, and what Hugging Face's BertForPreTraining computes with them.

`io.npz` holds outputs, `training.npz` (for two of the checkpoints) losses and gradients; `tagging.npz` (for one) holds
logits, loss and gradients of a BertForTokenClassification with the same BERT inside, `answers.npz` (for two) those of a
BertForQuestionAnswering.

How to run it, in any environment with torch and transformers (they are not among the project's requirements):

    python tests/golden/make_golden.py

It writes one folder for each entry of SHAPES next to this script. The weights are drawn anew from the seeds, so the
same versions of torch and transformers give the same files. Last run with torch 2.13.0 and transformers 5.23.0.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForPreTraining, BertForQuestionAnswering, BertForTokenClassification

TRAINED = ("deep", "odd")
TAGGED = ("odd",)
NUM_TAGS = 5
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


def train(model, seed, num_samples=4, length=None):
    """A pre-training batch, both losses, and the gradients of their sum under Hugging Face's names, as arrays.

    Words, places and labels are random. Half of the samples are padded; a quarter of the masked slots has weight 0.
    """
    rng = np.random.default_rng(seed)
    length = length or model.config.max_position_embeddings
    words, segments, valid_length, padding = draw_batch(rng, model.config.vocab_size, num_samples, length)
    num_masked = max(2, (~padding).sum() // 7)
    places = np.sort(rng.permutation(np.flatnonzero(~padding))[:num_masked])  # no place twice
    masked_positions = np.stack(np.divmod(places, length))
    masked_labels = rng.integers(model.config.vocab_size, size=num_masked)
    masked_weights = np.ones(num_masked)
    masked_weights[1::4] = 0
    ns_labels = rng.integers(2, size=num_samples)

    model.set_attn_implementation("eager")
    model.zero_grad()
    outputs = model(
        input_ids=torch.tensor(words),
        token_type_ids=torch.tensor(segments),
        attention_mask=torch.tensor(~padding).long(),
    )
    labels = torch.tensor(np.where(masked_weights == 1, masked_labels, -100))  # -100: ignored
    mlm_logits = outputs.prediction_logits[tuple(masked_positions)]
    mlm_loss = torch.nn.functional.cross_entropy(mlm_logits, labels)
    not_next = torch.tensor(1 - ns_labels)  # Hugging Face's 0 says IsNext
    ns_loss = torch.nn.functional.cross_entropy(outputs.seq_relationship_logits, not_next)
    (mlm_loss + ns_loss).backward()
    return {
        "words": words,
        "segments": segments,
        "valid_length": valid_length,
        "masked_positions": masked_positions,
        "masked_labels": masked_labels,
        "masked_weights": masked_weights,
        "ns_labels": ns_labels,
        "mlm_loss": mlm_loss.detach().numpy(),
        "ns_loss": ns_loss.detach().numpy(),
        **{f"gradient.{name}": parameter.grad.numpy() for name, parameter in model.named_parameters()},
    }


def draw_batch(rng, vocab_size, num_samples, length):
    """Random words, segments, lengths, and where the padding is; half of the samples are padded."""
    valid_length = rng.integers(length // 2, length + 1, size=num_samples)
    valid_length[::2] = length
    padding = np.arange(length) >= valid_length[:, None]
    words = np.where(padding, 0, rng.integers(1, vocab_size, size=padding.shape))  # 0 is [PAD], never trained there
    segments = np.where(padding, 0, rng.integers(2, size=padding.shape))
    return words, segments, valid_length, padding


def make_tagger(folder, seed):
    """A BertForTokenClassification: the BERT of a folder under a random layer."""
    torch.manual_seed(seed)
    model = BertForTokenClassification.from_pretrained(folder, num_labels=NUM_TAGS, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.normal_(0, 0.2)
    return model


def tag(model, seed):
    """A batch of words of which some have a label, else -1; the logits, the loss, and its gradients, as arrays."""
    rng = np.random.default_rng(seed)
    words, segments, valid_length, padding = draw_batch(
        rng, model.config.vocab_size, 4, model.config.max_position_embeddings
    )
    labels = np.where(padding | (rng.random(padding.shape) < 0.4), -1, rng.integers(NUM_TAGS, size=padding.shape))
    model.set_attn_implementation("eager")
    model.zero_grad()
    outputs = model(
        input_ids=torch.tensor(words),
        token_type_ids=torch.tensor(segments),
        attention_mask=torch.tensor(~padding).long(),
        labels=torch.tensor(np.where(labels < 0, -100, labels)),  # -100: ignored
    )
    outputs.loss.backward()
    return {
        "words": words,
        "segments": segments,
        "valid_length": valid_length,
        "labels": labels,
        "logits": outputs.logits.detach().numpy(),
        "loss": outputs.loss.detach().numpy(),
        **{name: parameter.detach().numpy() for name, parameter in model.classifier.named_parameters()},
        **{f"gradient.{name}": parameter.grad.numpy() for name, parameter in model.named_parameters()},
    }


def answer(model, seed):
    """Logits of a BertForQuestionAnswering, and the gradients of the mean loss of start and end, as arrays.

    Its BERT is that of `model`, its last layer is random. Padding is no place for an answer: it is left out of the
    softmax, which their own loss does not do.
    """
    rng = np.random.default_rng(seed)
    length = model.config.max_position_embeddings
    valid_length = np.array([length, length - 1, length // 2])
    padding = np.arange(length) >= valid_length[:, None]
    words = np.where(padding, 0, rng.integers(1, model.config.vocab_size, size=padding.shape))  # as in `train`
    segments = np.sort(rng.integers(2, size=padding.shape))
    labels = np.sort(rng.integers(valid_length, size=(2, 3)), axis=0).T  # (3, 2)
    torch.manual_seed(seed)
    theirs = BertForQuestionAnswering(model.config).eval()
    theirs.set_attn_implementation("eager")
    theirs.bert.load_state_dict(model.bert.state_dict(), strict=False)  # it has no pooler
    with torch.no_grad():
        for parameter in theirs.qa_outputs.parameters():
            parameter.normal_(0, 0.5)
    outputs = theirs(
        input_ids=torch.tensor(words),
        token_type_ids=torch.tensor(segments),
        attention_mask=torch.tensor(~padding).long(),
    )
    logits = torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)  # (3, L, 2)
    masked = logits.masked_fill(torch.tensor(padding)[:, :, None], -torch.inf)
    losses = torch.nn.functional.cross_entropy(masked, torch.tensor(labels), reduction="none").mean(dim=1)  # (3,)
    losses.sum().backward()
    return {
        "words": words,
        "segments": segments,
        "valid_length": valid_length,
        "labels": labels,
        "logits": logits.detach().numpy(),
        "losses": losses.detach().numpy(),
        "qa_outputs.weight": theirs.qa_outputs.weight.detach().numpy(),
        "qa_outputs.bias": theirs.qa_outputs.bias.detach().numpy(),
        **{f"gradient.{name}": parameter.grad.numpy() for name, parameter in theirs.named_parameters()},
    }


if __name__ == "__main__":
    for seed, (name, shape) in enumerate(SHAPES.items(), start=1):
        folder = Path(__file__).parent / name
        model = make_model(shape, seed)
        save_checkpoint(model, folder)
        if name == "old-names":
            use_old_names(folder)
        np.savez_compressed(folder / "io.npz", **run(model, seed))
        if name in TRAINED:
            np.savez_compressed(folder / "training.npz", **train(model, seed))
            np.savez_compressed(folder / "answers.npz", **answer(model, seed))
        if name in TAGGED:
            np.savez_compressed(folder / "tagging.npz", **tag(make_tagger(folder, seed), seed))
        print(folder)
