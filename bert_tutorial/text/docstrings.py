"""The docstrings inside Python's standard library and the libraries that are installed with this course."""

import ast
import hashlib
import json
import platform
import sysconfig
import warnings
from contextlib import suppress
from importlib import metadata
from inspect import cleandoc
from pathlib import Path

from ..machine.fetching import cache_dir
from ..machine.files import write_text
from .prose import clean_docstring

# The largest of the libraries that setup.py asks for, directly or not, but scikit-learn and SciPy, which came after the
# small BERT had learned. A fixed list, so that a reader's other libraries do not change the corpus.
LIBRARIES = (
    "anyio", "attrs", "babel", "beautifulsoup4", "bleach", "cffi", "click", "contourpy", "cython", "d2l", "filelock",
    "fonttools", "fsspec", "gluonnlp", "httpcore", "httpx", "huggingface_hub", "ipykernel", "ipython", "ipywidgets",
    "jedi", "jinja2", "jsonschema", "jupyter_client", "jupyter_server", "jupyterlab", "jupytext", "markdown-it-py",
    "matplotlib", "mistune", "mxnet", "nbconvert", "nbformat", "numpy", "packaging", "pandas", "parso", "pexpect",
    "pillow", "pip", "platformdirs", "pooch", "prompt_toolkit", "psutil", "pygments", "pyparsing", "python-dateutil",
    "pyzmq", "referencing", "requests", "setuptools", "tornado", "tqdm", "traitlets", "urllib3",
)  # fmt: skip
LEFT_OUT = {  # folders of tests, copies of other libraries, and MXNet's second copy of its own documentation
    *("test", "tests", "testing", "_testing", "idlelib", "lib2to3", "turtledemo"),
    *("_vendor", "_vendored", "vendor", "vendored", "third_party", "site-packages", "dist-packages", "symbol"),
}


def python_files(libraries=None):
    """Map each library found, "python" first, to its version and its files, in the same order everywhere.

    `libraries` are those of `LIBRARIES` if not given.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    found = {"python": (platform.python_version(), {p.relative_to(folder).as_posix(): p for p in folder.rglob("*.py")})}
    for name in LIBRARIES if libraries is None else libraries:
        with suppress(metadata.PackageNotFoundError):
            library = metadata.distribution(name)
            files = {str(file): Path(file.locate()) for file in library.files or () if file.suffix == ".py"}
            files = {short: path for short, path in files.items() if path.is_file()}
            found[name] = (library.version, files)
    return {
        name: (version, [files[short] for short in sorted(files) if not LEFT_OUT & set(short.lower().split("/"))])
        for name, (version, files) in found.items()
    }


def keep_what_is_read(name, read, *code, libraries=None):
    """What is read out of the libraries' files; from the disk if the same code has read the same versions before.

    Parameters
    ----------
    name : str
        What the file in the cache is called.
    read : callable
        From `python_files()` to what JSON can hold, lists in the place of tuples.
    *code : path
        Python files that change the result if they are changed, besides this one and `prose.py`.
    libraries : sequence of str, optional
        As for `python_files`.
    """
    libraries = python_files(libraries)
    key = hashlib.sha256()
    for file in (Path(__file__), Path(__file__).with_name("prose.py"), *map(Path, code)):
        key.update(file.read_bytes())
    key.update(json.dumps([(name, version) for name, (version, _) in libraries.items()]).encode())
    path = cache_dir() / "corpora" / f"{name}-{key.hexdigest()[:16]}.json"
    with suppress(Exception):  # if damaged in any way, it is made anew
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["digest"] == json_digest(stored["content"]):
            return stored["content"]
    content = read(libraries)
    with suppress(OSError):  # a full or read-only disk must not stop anyone
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"digest": json_digest(content), "content": content}))
    return content


def json_digest(content):
    """SHA-256 of what JSON can hold."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_modules(files):
    """Yield (library, passages) of each (library, file) with two sentences or more; no sentence twice in all of them.

    Else text that a model is validated on could be text that it was trained on.
    """
    seen = set()
    for library, file in files:
        passages = []
        for docstring in read_docstrings(file.read_bytes()):
            fresh = []
            for sentence in clean_docstring(docstring):
                if sentence.lower() not in seen:
                    seen.add(sentence.lower())
                    fresh.append(sentence)
            if fresh:
                passages.append(tuple(fresh))
        if sum(map(len, passages)) > 1:
            yield library, tuple(passages)


def read_docstrings(source):
    """The texts in a module's source (bytes), in order: every docstring, and other strings of several paragraphs.

    Those others are the templates from which pandas and matplotlib make docstrings, what NumPy attaches to functions
    written in C, and the language reference behind Python's `help`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that are out of date
        try:
            nodes = list(ast.walk(ast.parse(source)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # a template, another Python's, nested deeply
            return []
    docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
    strings = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    texts = [node for node in strings if node in docstrings or "\n\n" in node.value]
    return [cleandoc(node.value) for node in sorted(texts, key=lambda node: (node.lineno, node.col_offset))]
