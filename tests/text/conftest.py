"""What tests of text share: reviews as IMDB has them, vocabularies."""

from bert_tutorial.machine.fetching import cache_dir
from bert_tutorial.text.vocabulary import SPECIAL_TOKENS, load_vocabulary

import pytest
from imdb_sources import REVIEWS, as_archive, as_json
from odd_texts import CHARACTERS, WORDS, both, write_vocabulary


@pytest.fixture
def folder(tmp_path):
    for name, text in REVIEWS.items():
        path = tmp_path / "aclImdb" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "aclImdb"


@pytest.fixture(params=["folder", "folder above", "archive", "json"])
def root(request, folder, tmp_path):
    return {
        "folder": lambda: folder,
        "folder above": lambda: folder.parent,
        "archive": lambda: as_archive(folder, tmp_path / "a.tar.gz"),
        "json": lambda: as_json(folder, tmp_path / "json"),
    }[request.param]()


@pytest.fixture(scope="module")
def small_vocabulary(tmp_path_factory):
    # the special tokens not at their usual ids
    tokens = [*WORDS, *SPECIAL_TOKENS, *CHARACTERS, *(f"##{c}" for c in CHARACTERS)]
    return load_vocabulary(write_vocabulary(tmp_path_factory.mktemp("vocabulary") / "vocab.txt", tokens))


@pytest.fixture(scope="module")
def published_vocabulary_file():
    path = cache_dir() / "minilm-l6" / "vocab.txt"
    if not path.is_file():
        pytest.skip("no published vocabulary in the cache: run `bert-tutorial fetch minilm-l6`")
    return path


@pytest.fixture(scope="module", params=["small", "published"])
def vocabulary(request):
    if request.param == "small":
        return request.getfixturevalue("small_vocabulary")
    return load_vocabulary(request.getfixturevalue("published_vocabulary_file"))


@pytest.fixture(scope="module", params=[True, False], ids=["lower", "cased"])
def tokenizers(request, vocabulary):
    return both(vocabulary, request.param)


@pytest.fixture(scope="module")
def cased_vocabulary(tmp_path_factory):
    tokens = [*SPECIAL_TOKENS, *CHARACTERS, *(f"##{c}" for c in CHARACTERS), "e\u0301", "sch", "##ön", "Müller", "中文"]
    return load_vocabulary(write_vocabulary(tmp_path_factory.mktemp("cased") / "vocab.txt", tokens))
