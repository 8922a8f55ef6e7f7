"""A tiny random checkpoint, the place of the real reviews, a web server to fetch from, and the built book."""

import json
import os
import shlex
import signal
import string
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bert_tutorial import BERTModel, seed_everything
from bert_tutorial.machine.cpu import usable_cores
from bert_tutorial.machine.fetching import FetchError
from bert_tutorial.weights.names import OURS, bert_parameters
from bert_tutorial.weights.sources import pretrained_folder

import pytest
from filelock import FileLock
from hypothesis import settings
from mxnet import nd
from safetensors.numpy import save_file

TINY = {
    "model_type": "bert",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "hidden_dropout_prob": 0.1,
    "max_position_embeddings": 64,
}
LETTERS = string.ascii_lowercase + string.digits + string.punctuation
WORDS = ["great", "awful", "film", "the", "was", "not", "movie", "plot", "acting"]


settings.register_profile("any speed", deadline=None)  # how long an example takes says nothing on a busy machine
settings.load_profile("any speed")
SIDE_BY_SIDE = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))  # processes that share out the tests


def pytest_configure(config):
    """Set what all processes that run tests inherit."""
    # A test run in the background inherits that Ctrl-C is ignored, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Side by side they share out the cores: two trainings with all of them each are slower than one after the other.
    if processes := config.getoption("numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))


def pytest_collection_modifyitems(items):
    """Side by side, the slow ones come first: at the end no long one is left to wait for."""
    if SIDE_BY_SIDE > 1:
        items.sort(key=lambda item: "slow" not in item.keywords)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory):
    """Folder of a random two-layer BERT whose vocabulary spells any ASCII word."""
    folder = tmp_path_factory.mktemp("tiny")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS), *WORDS]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    config = {**TINY, "vocab_size": len(tokens)}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    seed_everything(11)
    bert = BERTModel(len(tokens), 16, 32, 2, 2, 0.1, 64)
    bert.initialize()
    for parameter in bert.collect_params(".*weight").values():  # larger than BERT's, so that it learns in seconds
        parameter.set_data(nd.random.normal(0, 0.3, shape=parameter.shape))
    parameters = bert_parameters(bert, 2, OURS)
    save_file({hf: own.data().asnumpy() for hf, own in parameters.items()}, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """A task that the tiny network can do: 160 reviews to train on, 42 for the test."""
    path = tmp_path_factory.mktemp("data") / "reviews.tsv"
    rows = [
        f"{split}\t{label}\tthe film {i} was {'great great great' if label else 'awful awful awful'}"
        for split, count in (("train", 80), ("test", 21))
        for i, label in enumerate([0, 1] * count)
    ]
    path.write_text("\n".join(["split\tlabel\ttext", *rows]) + "\n")
    return path


@pytest.fixture(scope="session")
def minilm(tmp_path_factory):
    """Folder of the real weights, fetched the first time, by one of the processes that run side by side."""
    shared = tmp_path_factory.getbasetemp().parent if SIDE_BY_SIDE > 1 else tmp_path_factory.getbasetemp()
    try:
        with FileLock(shared / "minilm.lock"):
            return pretrained_folder("minilm-l6")
    except FetchError as error:
        pytest.skip(str(error))


@pytest.fixture
def imdb_sample():
    """Archive of real IMDB reviews in the original layout."""
    path = os.environ.get("BERT_TUTORIAL_IMDB")
    if not path:
        pytest.skip("BERT_TUTORIAL_IMDB does not name an archive of IMDB reviews")
    return Path(path)


class Web(ThreadingHTTPServer):
    """A web server of this machine, which also answers as the Hugging Face hub does.

    Attributes
    ----------
    url : str
    files : dict
        From path to content, str or bytes. Any other path is a 404.
    stalled : set
        Paths that stop in the middle of their content.
    silent : bool
        Take every request, and answer none.
    asked : list of str
        "GET /path" or "HEAD /path" of every request.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), WebHandler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files, self.stalled, self.silent, self.asked = {}, set(), False, []
        self.closing = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        self.closing.set()
        self.shutdown()
        self.server_close()


class WebHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(f"{self.command} {self.path}")
        if self.server.silent:
            self.server.closing.wait()
            return
        found = self.path in self.server.files
        content = self.server.files.get(self.path, b"no such file")
        content = content.encode() if isinstance(content, str) else content
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hash(content):x}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        if not found:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.path in self.server.stalled:
            self.wfile.write(content[: len(content) // 2])
            self.server.closing.wait()
        else:
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *args):
        """Not to the terminal."""


@pytest.fixture
def web(monkeypatch):
    """A `Web` that no proxy stands before."""
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "127.0.0.1")
    server = Web()
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache for what is fetched."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("BERT_TUTORIAL_CACHE", str(folder))
    return folder


def make(target, folder):
    """Run `make target` with the tests' own Python, into `folder`; fail with its output unless it is silent."""
    variables = [f"BUILD={folder}", f"SPHINX={shlex.quote(sys.executable)} -m sphinx"]
    command = ["make", "--silent", "--old-file=venv", target, *variables]
    result = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout + result.stderr
    return folder / target


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """The folder that `make book` makes."""
    return make("book", tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="session")
def slides(tmp_path_factory):
    """The folder that `make slides` makes."""
    return make("slides", tmp_path_factory.mktemp("build"))
