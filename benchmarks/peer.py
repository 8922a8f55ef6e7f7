"""The peer: PyTorch and Hugging Face transformers on the CPU, in their fastest plain form. Runs in .venv-peer.

That is attention by `scaled_dot_product_attention`, the fused AdamW, `inference_mode`, batches of similar length in
fine-tuning, and `encode_batch_fast`, which leaves out offsets, in tokenising. See `common.py` for the protocol.
"""

import json
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from torch.nn.functional import cross_entropy

from .common import NUM_CLASSES, SENTENCE, make_batch, make_head, peak_memory, run_job, timed_steps

LEARNING_RATE = 2e-5
WEIGHT_DECAY, EPSILON = 0.01, 1e-6  # ours
LONGEST_WORD = 200  # characters, as in GluonNLP


def describe(channel):
    """What this environment is."""
    packages = ("torch", "transformers", "numpy", "tokenizers")
    versions = {"Python": platform.python_version()} | {name: version(name) for name in packages}
    channel.reply(versions=versions, threads=torch.get_num_threads(), kernels=torch.backends.cpu.get_cpu_capability())


def predict(channel, folder, batch_size, length):
    """Answer with the logits, then time predictions of one batch."""
    model, (words, mask, _) = _load_with_batch(folder, batch_size, length)
    model.eval()
    with torch.inference_mode():
        channel.reply(logits=model(words, mask).logits.tolist())
        for _ in timed_steps(channel):
            model(words, mask)


def train(channel, folder, batch_size, length):
    """Time training steps on one batch."""
    model, (words, mask, labels) = _load_with_batch(folder, batch_size, length)
    optimizer = _optimizer(model, LEARNING_RATE)
    model.train()
    channel.reply(ready=True)
    for _ in timed_steps(channel):
        _step(model, optimizer, words, mask, labels)


def _load(folder):
    transformers.logging.set_verbosity_error()
    return transformers.BertForSequenceClassification.from_pretrained(
        folder, num_labels=NUM_CLASSES, attn_implementation="sdpa", dtype=torch.float32
    )


def _load_with_batch(folder, batch_size, length):
    model = _load(folder)
    with torch.no_grad():
        model.classifier.weight.copy_(torch.from_numpy(make_head(model.config.hidden_size)))
        model.classifier.bias.zero_()
    words, valid_length, labels = make_batch(model.config.vocab_size, batch_size, length)
    mask = np.arange(length) < valid_length[:, None]
    return model, tuple(torch.from_numpy(array).long() for array in (words, mask, labels))


def _optimizer(model, lr):
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        (free if name.endswith("bias") or "LayerNorm" in name else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, eps=EPSILON, fused=True)


def _step(model, optimizer, words, mask, labels):
    cross_entropy(model(words, mask).logits, labels).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def finetune(channel, folder, texts, epochs, batch_size, max_length, lr, seed):
    """Fine-tune on the reviews in the file `texts` and score the test reviews."""
    start = time.perf_counter()
    data = json.loads(Path(texts).read_text(encoding="utf-8"))
    torch.manual_seed(seed)
    model = _load(folder)
    train_batches, test_batches = (_batches(folder, data[split], batch_size, max_length) for split in data)
    optimizer = _optimizer(model, lr)
    num_steps = epochs * len(train_batches)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, int(0.1 * num_steps), num_steps)
    model.train()
    training_start, tokens = time.perf_counter(), 0
    for _ in range(epochs):
        for words, mask, labels in train_batches:
            _step(model, optimizer, words, mask, labels)
            schedule.step()
            tokens += int(mask.sum())
    training_seconds = time.perf_counter() - training_start
    model.eval()
    with torch.inference_mode():
        correct = sum(int((model(w, m).logits.argmax(1) == labels).sum()) for w, m, labels in test_batches)
    channel.reply(
        seconds=time.perf_counter() - start,
        training_seconds=training_seconds,
        tokens=tokens,
        accuracy=correct / len(data["test"]),
        peak_memory=peak_memory(),
    )


def _batches(folder, pairs, batch_size, max_length):
    """Batches of similar length, each padded to its longest."""
    from torch.utils.data import DataLoader
    from transformers.trainer_pt_utils import LengthGroupedSampler  # slow to import: not in the time to start

    texts, labels = zip(*pairs, strict=True)
    samples = list(zip(_encode(_tokenizer(folder, max_length), texts), labels, strict=True))

    def collate(members):
        ids = [torch.tensor(ids) for ids, _ in members]
        words = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)  # [PAD] is 0
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
        return words, mask, torch.tensor([label for _, label in members])

    sampler = LengthGroupedSampler(batch_size, lengths=[len(ids) for ids, _ in samples])
    return DataLoader(samples, batch_size, sampler=sampler, collate_fn=collate)


def _tokenizer(folder, max_length):
    vocabulary = str(Path(folder) / "vocab.txt")
    model = WordPiece.from_file(vocabulary, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = processors.BertProcessing(*ends)
    tokenizer.enable_truncation(max_length)
    return tokenizer


def _encode(tokenizer, texts):
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]


def tokenise(channel, folder, texts, max_length):
    """Answer with the ids, then time passes over the reviews in the file `texts`."""
    data = json.loads(Path(texts).read_text(encoding="utf-8"))
    texts = [text for split in data.values() for text, _ in split]
    tokenizer = _tokenizer(folder, max_length)
    channel.reply(ids=_encode(tokenizer, texts))
    for _ in timed_steps(channel):
        _encode(tokenizer, texts)


def first_prediction(channel, folder):
    """Load weights and classify one sentence."""
    model = _load(folder).eval()
    with torch.inference_mode():
        ids = _encode(_tokenizer(folder, model.config.max_position_embeddings), [SENTENCE])
        label = int(model(torch.tensor(ids)).logits.argmax())
    channel.reply(label=label)


if __name__ == "__main__":
    run_job(describe, predict, train, finetune, tokenise, first_prediction)
