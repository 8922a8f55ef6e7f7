"""Encoding, its cache, padding and bucketing."""

import gc
import hashlib
import os
import subprocess
import sys
import tempfile
import textwrap

from bert_tutorial import FastTokenizer, SentimentClassifier, load_vocabulary
from bert_tutorial.text import batches
from bert_tutorial.text.batches import CACHE_FROM, ROUND_LENGTH_TO, encode_dataset, make_loader

import gluonnlp as nlp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def vocabulary(tiny_checkpoint):
    return load_vocabulary(tiny_checkpoint / "vocab.txt")


@pytest.fixture(scope="module")
def tokenizer(vocabulary):
    return FastTokenizer(vocabulary)


def assert_same(found, expected):
    for found_sample, expected_sample in zip(found, expected, strict=True):
        for found_field, expected_field in zip(found_sample, expected_sample, strict=True):
            np.testing.assert_array_equal(found_field, expected_field)
            assert np.asarray(found_field).dtype == np.asarray(expected_field).dtype


class NoTokenizer(FastTokenizer):
    """Knows its fingerprint but cannot tokenise, so that only the cache can answer."""

    def encode_batch(self, texts, max_length):
        raise AssertionError("tokenised again")


REVIEWS = [(f"the film {i} was great, \x00 naïve 😀 \ud83d \n" * (i % 5), i % 2) for i in range(CACHE_FROM)]
lengths = st.lists(st.integers(1, 80), min_size=1, max_size=30)


@settings(max_examples=40)
@given(lengths=lengths, batch_size=st.integers(1, 9), shuffle=st.booleans())
def test_every_sample_comes_once_and_whole(vocabulary, lengths, batch_size, shuffle):
    dataset = [("a " * length, i) for i, length in enumerate(lengths)]
    encoded = encode_dataset(dataset, FastTokenizer(vocabulary), max_length=70)
    loader = make_loader(encoded, vocabulary, batch_size, shuffle)
    seen = []
    for words, valid_length, segments, labels in loader:
        assert words.dtype == segments.dtype == np.int32
        assert words.shape == segments.shape
        assert words.shape[1] % ROUND_LENGTH_TO == 0
        assert words.shape[1] - valid_length.max().asscalar() < ROUND_LENGTH_TO
        assert len(words) <= batch_size
        assert not segments.asnumpy().any()
        for row, length, label in zip(words.asnumpy(), valid_length.asnumpy(), labels.asnumpy(), strict=True):
            expected = encoded[int(label)][0]
            assert length == len(expected) == min(lengths[int(label)] + 2, 70)
            np.testing.assert_array_equal(row[: int(length)], expected)
            assert (row[int(length) :] == vocabulary[vocabulary.padding_token]).all()
            seen.append(int(label))
    assert sorted(seen) == list(range(len(lengths)))
    assert len(loader) == -(-len(lengths) // batch_size)


def test_encoding_equals_gluonnlps_transform(vocabulary):
    text = "The film was not great, [SEP] the plot was awful; " * 3
    encoded = encode_dataset([(text, 1)], FastTokenizer(vocabulary), max_length=24)
    tokenizer = nlp.data.BERTTokenizer(vocabulary)
    expected = nlp.data.BERTSentenceTransform(tokenizer, 24, pad=False, pair=False)([text])
    for found, wanted in zip(encoded[0][:3], expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("max_length", "longest"), [(None, 64), (50, 50), (64, 64), (200, 64)])
def test_rounding_stops_at_the_positions_there_are(vocabulary, max_length, longest):
    encoded = encode_dataset([("a " * 60, 0), ("a", 1)], FastTokenizer(vocabulary), max_length=50)
    loader = make_loader(encoded, vocabulary, 1, shuffle=False, max_length=max_length)
    batches = [(words.shape, segments.shape) for words, _, segments, _ in loader]
    assert sorted(batches) == [((1, 32), (1, 32)), ((1, longest), (1, longest))]


def test_bucketing_saves_padding(vocabulary):
    dataset = [("a " * (5 if i % 2 else 60), 0) for i in range(64)]
    encoded = encode_dataset(dataset, FastTokenizer(vocabulary), max_length=64)
    sizes = [words.size for words, *_ in make_loader(encoded, vocabulary, 8, shuffle=True)]
    assert sorted(sizes) == [8 * 32] * 4 + [8 * 64] * 4


def test_shuffling_follows_the_seed(vocabulary):
    encoded = encode_dataset([("a " * (i % 7 + 1), i) for i in range(20)], FastTokenizer(vocabulary), max_length=32)

    def order(seed):
        np.random.seed(seed)
        return [labels.asnumpy().tolist() for *_, labels in make_loader(encoded, vocabulary, 4, shuffle=True)]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_bad_input(vocabulary):
    encoded = encode_dataset([("a", 0)], FastTokenizer(vocabulary), max_length=32)
    with pytest.raises(ValueError, match="empty"):
        make_loader([], vocabulary, 4, shuffle=False)
    with pytest.raises(ValueError, match="batch_size"):
        make_loader(encoded, vocabulary, 0, shuffle=False)


def test_a_loader_is_made_without_collecting_garbage(vocabulary, tokenizer):
    encoded = encode_dataset([("a", 0)], tokenizer, max_length=32)
    collections = []
    gc.disable()
    gc.callbacks.append(lambda phase, info: collections.append(phase))
    try:
        list(make_loader(encoded, vocabulary, 1, shuffle=False))
    finally:
        gc.callbacks.pop()
        gc.enable()
    assert not collections


def test_the_cache_gives_what_tokenising_gives(vocabulary, tokenizer, cache):
    expected = encode_dataset(REVIEWS, tokenizer, 32, cached=False)
    assert not cache.exists()
    assert_same(encode_dataset(REVIEWS, tokenizer, 32), expected)
    assert_same(encode_dataset(REVIEWS, NoTokenizer(vocabulary), 32), expected)


def test_changed_labels_are_not_those_of_the_cache(vocabulary, tokenizer, cache):
    encode_dataset(REVIEWS, tokenizer, 32)
    changed = [(text, 1 - label) for text, label in REVIEWS]
    found = encode_dataset(changed, NoTokenizer(vocabulary), 32)
    assert [label for *_, label in found] == [label for _, label in changed]


@pytest.mark.parametrize("change", ["vocabulary", "case", "length", "text", "order", "boundary"])
def test_any_change_of_the_input_is_seen(change, vocabulary, tokenizer, cache):
    encode_dataset(REVIEWS, tokenizer, 32)
    reviews, max_length = list(REVIEWS), 32
    if change == "vocabulary":
        tokens = list(vocabulary.idx_to_token)
        tokens[-1], tokens[-2] = tokens[-2], tokens[-1]
        ids = {token: i for i, token in enumerate(tokens)}
        tokenizer = FastTokenizer(nlp.vocab.BERTVocab(nlp.data.count_tokens(tokens), token_to_idx=ids))
        reviews[0] = ("plot acting", 0)  # the two that changed places
        encode_dataset(reviews, FastTokenizer(vocabulary), max_length)
    elif change == "case":
        tokenizer = FastTokenizer(vocabulary, lower=False)
        reviews[0] = ("GREAT", 0)
        encode_dataset(reviews, FastTokenizer(vocabulary), max_length)
    elif change == "length":
        max_length = 16
    elif change == "text":
        reviews[CACHE_FROM // 2] = ("awful", 0)
    elif change == "order":
        reviews.reverse()
    elif change == "boundary":  # the same characters, cut elsewhere
        reviews[1:3] = [(reviews[1][0] + reviews[2][0], 0), ("", 0)]
    assert_same(
        encode_dataset(reviews, tokenizer, max_length), encode_dataset(reviews, tokenizer, max_length, cached=False)
    )


@pytest.mark.parametrize("change", ["empty", "half", "other file", "only a checksum", "longer"])
def test_a_damaged_file_is_made_anew(change, vocabulary, tokenizer, cache):
    expected = list(encode_dataset(REVIEWS, tokenizer, 32))
    (path,) = cache.rglob("*.ids")
    whole = path.read_bytes()
    damaged = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "other file": b"PK, but no archive",
        "only a checksum": hashlib.sha256().digest(),  # the right one, of nothing
        "longer": whole + b"0",
    }
    path.write_bytes(damaged[change])
    assert_same(encode_dataset(REVIEWS, tokenizer, 32), expected)
    assert path.read_bytes() == whole
    assert_same(encode_dataset(REVIEWS, NoTokenizer(vocabulary), 32), expected)


@settings(max_examples=60)
@given(data=st.data())
def test_no_flipped_bit_goes_unseen(vocabulary, tokenizer, tmp_path_factory, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "CACHE_FROM", 1)
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("BERT_TUTORIAL_CACHE", str(folder))
        reviews = REVIEWS[:8]
        expected = list(encode_dataset(reviews, tokenizer, 32))
        (path,) = folder.rglob("*.ids")
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        assert_same(encode_dataset(reviews, tokenizer, 32), expected)


def test_a_cache_that_cannot_be_written_stops_nobody(tokenizer, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BERT_TUTORIAL_CACHE", str(tmp_path / "file" / "cache"))  # fails for root too
    assert_same(encode_dataset(REVIEWS, tokenizer, 32), encode_dataset(REVIEWS, tokenizer, 32, cached=False))


def test_a_full_disk_stops_nobody_and_leaves_nothing(tokenizer, cache, monkeypatch):
    def fail(path, size):
        raise OSError("no space left on device")

    monkeypatch.setattr(batches, "digest", fail)
    assert_same(encode_dataset(REVIEWS, tokenizer, 32), encode_dataset(REVIEWS, tokenizer, 32, cached=False))
    assert not list((cache / "tokenised").iterdir())


def test_no_disk_at_all_stops_nobody(tokenizer, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BERT_TUTORIAL_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    assert_same(encode_dataset(REVIEWS, tokenizer, 32), encode_dataset(REVIEWS, tokenizer, 32, cached=False))


texts = st.lists(
    st.one_of(st.text(max_size=40), st.sampled_from(["", "\n\n", "a\r\nb", "great \ud83d film"])), min_size=1
)


@settings(max_examples=40)
@given(texts=texts, batch_size=st.integers(1, 5), seed=st.integers(0, 9))
def test_batches_from_the_disk_are_those_from_memory(vocabulary, tokenizer, tmp_path_factory, texts, batch_size, seed):
    dataset = [(text, i % 2) for i, text in enumerate(texts)]
    expected = encode_dataset(dataset, tokenizer, 16, cached=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "CACHE_FROM", 1)
        patch.setattr(batches, "BATCH", 3)  # texts tokenised at once
        patch.setenv("BERT_TUTORIAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        written = encode_dataset(dataset, tokenizer, 16)
        read = encode_dataset(dataset, NoTokenizer(vocabulary), 16)
    served = []
    for encoded in (expected, written, read):
        np.random.seed(seed)
        served.append([[a.asnumpy() for a in b] for b in make_loader(encoded, vocabulary, batch_size, shuffle=True)])
    assert len(served[0]) == len(served[1]) == len(served[2])
    for found in served[1:]:
        assert_same(found, served[0])


def test_a_file_that_another_process_replaces_or_removes_is_read_to_its_end(vocabulary, tokenizer, cache):
    expected = encode_dataset(REVIEWS, tokenizer, 32, cached=False)
    written = encode_dataset(REVIEWS, tokenizer, 32)
    (path,) = cache.rglob("*.ids")
    read = encode_dataset(REVIEWS, NoTokenizer(vocabulary), 32)
    path.unlink()
    encode_dataset(REVIEWS, tokenizer, 32)
    assert_same(written, expected)
    assert_same(read, expected)


def start_python(code, *arguments):
    """Another process, with what tests of the data path need."""
    imports = (
        "import hashlib, sys, tracemalloc; from bert_tutorial import *; from bert_tutorial.text.batches import *\n"
        "from bert_tutorial.text import batches; from bert_tutorial.machine import files\n"
        "from bert_tutorial.text.datasets import split_off_validation\n"
    )
    command = [sys.executable, "-c", imports + textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_processes_may_write_the_same_file_at_once(tiny_checkpoint, vocabulary, tokenizer, cache):
    code = """
        tokenizer = FastTokenizer(load_vocabulary(sys.argv[1]))
        for max_length in range(10, 30):
            encoded = encode_dataset([(f"the film {i}", 0) for i in range(CACHE_FROM)], tokenizer, max_length)
            print(hashlib.sha256(b"".join(words.tobytes() for words, *_ in encoded)).hexdigest())
    """
    processes = [start_python(code, tiny_checkpoint / "vocab.txt") for _ in range(3)]
    answers = [process.communicate()[0].split() for process in processes]
    texts = [f"the film {i}" for i in range(CACHE_FROM)]
    for i, max_length in enumerate(range(10, 30)):
        ids = b"".join(words.tobytes() for words in tokenizer.encode_batch(texts, max_length))
        assert {answer[i] for answer in answers} == {hashlib.sha256(ids).hexdigest()}
        encode_dataset([(text, 0) for text in texts], NoTokenizer(vocabulary), max_length)
    assert len(list((cache / "tokenised").iterdir())) == 20, "no temporary file is left"


@pytest.mark.slow
def test_the_memory_hardly_grows_with_the_reviews(tiny_checkpoint, tmp_path, cache):
    code = """
        vocabulary = load_vocabulary(sys.argv[1])
        tokenizer = FastTokenizer(vocabulary)
        batches.BATCH, files.READ_AT_ONCE = 64, 2**14  # what is held at once
        seed_everything(1)  # the same split each time
        tracemalloc.start()
        reviews = load_reviews("train", sys.argv[2])
        for part in split_off_validation(reviews, 0.5, [label for _, label in reviews]):
            for words, *_ in make_loader(encode_dataset(part, tokenizer, 64), vocabulary, 16, shuffle=True):
                pass
        print(tracemalloc.get_traced_memory()[1])
    """
    peaks = {}
    for count in (2000, 6000):
        path = tmp_path / f"{count}.tsv"
        with path.open("w") as file:
            file.write("split\tlabel\ttext\n")
            file.writelines(f"train\t{i % 2}\t{i} {'great film ' * 40}\n" for i in range(count))
        for from_cache in (False, True):
            process = start_python(code, tiny_checkpoint / "vocab.txt", path)
            peaks[count, from_cache] = int(process.communicate()[0])
    for from_cache in (False, True):
        growth = (peaks[6000, from_cache] - peaks[2000, from_cache]) / 4000
        assert growth < 200, "bytes a review; its text has 440, its ids 256"


def test_the_oldest_files_make_room(vocabulary, tokenizer, cache, monkeypatch):
    encode_dataset(REVIEWS, tokenizer, 32)
    (first,) = cache.rglob("*.ids")
    monkeypatch.setattr(batches, "CACHE_SIZE", int(1.5 * first.stat().st_size))
    for age, max_length in ((3, 31), (2, 30)):
        os.utime(first, (0, 0))
        encode_dataset(REVIEWS, tokenizer, max_length)
        for file in set(cache.rglob("*.ids")) - {first}:
            os.utime(file, (10 - age, 10 - age))
    assert not first.exists()
    for max_length in (30, 31):
        encode_dataset(REVIEWS, NoTokenizer(vocabulary), max_length)


def test_a_data_set_larger_than_the_cache_is_kept(vocabulary, tokenizer, cache, monkeypatch):
    """Finding 25: it was deleted right after it was written, so tokenised again in each run."""
    monkeypatch.setattr(batches, "CACHE_SIZE", 100)
    small = REVIEWS[:10]
    encode_dataset(REVIEWS, tokenizer, 32)
    encode_dataset(REVIEWS, NoTokenizer(vocabulary), 32)
    monkeypatch.setattr(batches, "CACHE_FROM", 1)
    encode_dataset([("a", 0)], tokenizer, 32)  # the test set of the same run
    encode_dataset(REVIEWS, NoTokenizer(vocabulary), 32)
    encode_dataset(small, tokenizer, 32)
    encode_dataset(small, tokenizer, 31)
    assert len(list(cache.rglob("*.ids"))) == 1, "the newest; the others made room"
    encode_dataset(small, NoTokenizer(vocabulary), 31)


@pytest.mark.parametrize("before", [False, True])
def test_only_the_user_can_read_the_cache(tokenizer, cache, before):
    """Finding 25: word ids of private reviews can be turned back into text."""
    if before:  # as earlier versions made it
        (cache / "tokenised").mkdir(parents=True)
        (cache / "tokenised").chmod(0o755)
    encode_dataset(REVIEWS, tokenizer, 32)
    (path,) = cache.rglob("*.ids")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_predictions_come_in_the_order_of_the_texts(tiny_checkpoint, monkeypatch):
    """Finding 27: the row travelled as the label, in float32, which is exact up to 2 ** 24."""

    def without_labels(*args, **kwargs):
        return [(*batch, labels * 0) for *batch, labels in make_loader(*args, **kwargs)]

    classifier = SentimentClassifier.from_pretrained(tiny_checkpoint, max_length=16)
    texts = ["great " * (i % 5 + 1) + "film " * (i % 3) + str(i) for i in range(40)]
    expected = [classifier.predict([text])[0] for text in texts]
    assert len(set(expected)) == len(texts)
    monkeypatch.setattr("bert_tutorial.classifier.make_loader", without_labels)
    np.testing.assert_allclose(classifier.predict(texts, batch_size=7), expected, atol=1e-6)


def test_only_large_datasets_are_kept_and_no_predicted_text(tiny_checkpoint, cache):
    classifier = SentimentClassifier.from_pretrained(tiny_checkpoint, max_length=16)
    classifier.predict([text for text, _ in REVIEWS], batch_size=500)
    classifier.batches(REVIEWS[1:], 8)
    classifier.batches(REVIEWS, 8, cached=False)
    assert not cache.exists()
    classifier.batches(REVIEWS, 8)
    assert len(list(cache.rglob("*.ids"))) == 1


def test_a_large_dataset_with_something_else_than_text(tokenizer, cache):
    with pytest.raises(TypeError, match="must be a string, not None"):
        encode_dataset([*REVIEWS, (None, 0)], tokenizer, 32)
