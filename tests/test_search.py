"""Search by vectors and by words, and its scores."""

import json
import os

import bert_tutorial as bt
from bert_tutorial import search
from bert_tutorial.cli import main
from bert_tutorial.search import VectorIndex, WordIndex, mean_reciprocal_rank, recall_at, rerank
from bert_tutorial.text.passages import Passage

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

PASSAGES = [
    Passage("zoo.feed", "Give an animal its food."),
    Passage("zoo.count", "How many animals there are."),
    Passage("bank.pay", "Pay money into an account of the bank."),
]


@pytest.fixture(scope="module")
def encoder(tiny_checkpoint):
    return bt.TextEncoder.load(tiny_checkpoint, 32)


# Metrics


def test_metrics_by_hand():
    found = [["a", "b", "c"], ["d", "e", "f"], ["g", "h", "i"], []]
    right = [{"b", "c"}, {"d"}, {"x"}, {"y"}]
    assert recall_at(1, found, right) == 1 / 4
    assert recall_at(2, found, right) == recall_at(3, found, right) == 2 / 4
    assert mean_reciprocal_rank(found, right) == (1 / 2 + 1 + 0 + 0) / 4


@given(st.lists(st.tuples(st.permutations("abcdef"), st.sets(st.sampled_from("abcdefgh"), min_size=1)), min_size=1))
def test_metrics_of_any_order(queries):
    found, right = zip(*queries, strict=True)
    recalls = [recall_at(k, found, right) for k in range(7)]
    assert recalls[0] == 0
    assert recalls == sorted(recalls)
    assert recalls[6] == np.mean([bool(names & set("abcdef")) for names in right])
    expected = sum((recalls[k] - recalls[k - 1]) / k for k in range(1, 7))  # a question counts at its rank alone
    assert mean_reciprocal_rank(found, right) == pytest.approx(expected)


def test_metrics_need_questions_and_answers():
    with pytest.raises(ValueError, match="no questions"):
        recall_at(1, [], [])
    with pytest.raises(ValueError, match="shorter"):
        mean_reciprocal_rank([["a"], ["b"]], [{"a"}])


# Vectors


def test_the_closest_vectors_come_first(encoder):
    index = VectorIndex(PASSAGES, encoder, cached=False)
    texts = [passage.text for passage in PASSAGES]
    vectors, (vector,) = encoder.encode(texts), encoder.encode(["an animal"])
    cosines = dict(zip(PASSAGES, vectors @ vector, strict=True))
    hits = index.search("an animal")
    assert [hit.passage for hit in hits] == sorted(PASSAGES, key=cosines.get, reverse=True)
    np.testing.assert_allclose([hit.score for hit in hits], sorted(cosines.values(), reverse=True), atol=1e-6)
    assert index.search("an animal", 2) == hits[:2]
    assert index.search(texts[1], 1)[0].passage == PASSAGES[1]
    assert index.search(texts[1], 1)[0].score == pytest.approx(1, abs=1e-5)


@pytest.fixture
def counted(monkeypatch):
    """Texts that were encoded."""
    counts, encode = [], bt.TextEncoder.encode
    monkeypatch.setattr(
        bt.TextEncoder, "encode", lambda self, texts, *args: counts.append(len(texts)) or encode(self, texts, *args)
    )
    return counts


def test_vectors_are_computed_once(encoder, tiny_checkpoint, cache, counted):
    first = VectorIndex(PASSAGES, encoder).vectors
    np.testing.assert_array_equal(VectorIndex(PASSAGES, encoder).vectors, first)
    assert counted == [3]
    (path,) = (cache / "vectors").iterdir()
    assert (path.parent.stat().st_mode & 0o777) == 0o700
    VectorIndex(PASSAGES[:2], encoder)  # other texts
    VectorIndex(PASSAGES, bt.TextEncoder.load(tiny_checkpoint, 16))  # other settings
    other = bt.TextEncoder.load(tiny_checkpoint, 32)
    other.net.bert.encoder.norm.beta.data()[0] += 1  # other weights
    VectorIndex(PASSAGES, other)
    assert counted == [3, 2, 3, 3]
    assert len(list(path.parent.iterdir())) == 4


@pytest.mark.parametrize("damage", [lambda content: content[:-5], lambda content: b"\1" + content[1:], lambda _: b""])
def test_damaged_vectors_are_computed_anew(encoder, cache, counted, damage):
    first = VectorIndex(PASSAGES, encoder).vectors
    (path,) = (cache / "vectors").iterdir()
    good = path.read_bytes()
    path.write_bytes(damage(good))
    np.testing.assert_array_equal(VectorIndex(PASSAGES, encoder).vectors, first)
    assert counted == [3, 3]
    assert path.read_bytes() == good


def test_a_cache_that_cannot_be_written_stops_no_one(encoder, cache):
    cache.write_text("a file, not a folder")
    assert VectorIndex(PASSAGES, encoder).vectors.shape == (3, 16)


def test_old_vectors_go(encoder, cache, monkeypatch):
    VectorIndex(PASSAGES, encoder)
    (path,) = (cache / "vectors").iterdir()
    os.utime(path, (1, 1))
    monkeypatch.setattr(search, "CACHE_SIZE", 100)
    VectorIndex(PASSAGES[:2], encoder)
    assert not path.exists()
    assert len(list((cache / "vectors").iterdir())) == 1


# Words


def test_shared_words_count_and_rare_ones_most():
    index = WordIndex(PASSAGES)
    hits = index.search("Food for the animal of the bank")
    assert [hit.passage.name for hit in hits] == ["zoo.feed", "bank.pay"]  # two words, then one
    assert hits[0].score > hits[1].score > 0
    assert index.search("Food for the animal of the bank", 1) == hits[:1]
    many = WordIndex([*PASSAGES, Passage("zoo.buy", "Buy food for money."), Passage("zoo.sell", "Sell food.")])
    assert many.search("account food")[0].passage.name == "bank.pay"


@pytest.mark.parametrize("question", ["nothing shared", "the", ""])
def test_without_a_shared_word_nothing_is_found(question):
    assert WordIndex(PASSAGES).search(question) == []


@pytest.mark.parametrize("texts", [[], ["a"], ["!", "of the"]])
def test_passages_without_words(texts):
    with pytest.raises(ValueError, match=f"no word to search for in {len(texts)} passages"):
        WordIndex([Passage("a", text) for text in texts])


# Both texts read together


@pytest.fixture(scope="module")
def judge(tiny_checkpoint):
    return bt.TextClassifier.from_pretrained(tiny_checkpoint, 32, labels=["0", "1"])


def test_passages_in_the_order_of_their_probability(judge):
    hits = rerank(judge, "the film", PASSAGES)
    texts = [passage.text for passage in PASSAGES]
    expected = judge.predict(["the film"] * 3, texts)[:, 1]
    assert [hit.passage for hit in hits] == [PASSAGES[i] for i in np.argsort(-expected)]
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(expected)[::-1], rtol=1e-5)
    opposite = rerank(judge, "the film", PASSAGES, label="0")
    assert [hit.passage for hit in opposite] == [hit.passage for hit in hits][::-1]
    assert rerank(judge, "the film", []) == []


def test_a_label_that_the_classifier_does_not_have(judge):
    with pytest.raises(ValueError, match="labels are 0, 1; 'yes' is none of them"):
        rerank(judge, "the film", PASSAGES, label="yes")


# The command


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "zoo.jsonl"
    path.write_text("\n".join(json.dumps(passage._asdict()) for passage in PASSAGES))
    return path


def invoke(*arguments):
    result = CliRunner().invoke(main, ["search", *map(str, arguments)])
    assert not result.exception or isinstance(result.exception, SystemExit), result.output
    return result


def test_the_command(corpus, tiny_checkpoint, encoder, cache):
    result = invoke("--corpus", corpus, "--pretrained", tiny_checkpoint, "--count", 2, "feed", "an animal")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("3 passages, whose vectors")
    lines = result.stdout.splitlines()
    first, second = VectorIndex(PASSAGES, bt.TextEncoder.load(tiny_checkpoint)).search("feed an animal", 2)
    assert lines[0].split() == [f"{first.score:.3f}", first.passage.name]
    assert lines[1].strip() == first.passage.text
    assert lines[2].split() == [f"{second.score:.3f}", second.passage.name]
    assert len(lines) == 4


def test_the_command_by_words(corpus):
    result = invoke("--corpus", corpus, "--bm25", "--json", "pay money")
    (hit,) = map(json.loads, result.output.splitlines())
    assert hit == {"score": WordIndex(PASSAGES).search("pay money")[0].score, **PASSAGES[2]._asdict()}
    assert "Error" not in result.output


def test_what_the_command_says_if_nothing_is_found(corpus):
    result = invoke("--corpus", corpus, "--bm25", "aeroplane")
    assert result.exit_code == 0
    assert "nothing shares a word with the question" in result.output


def test_a_long_text_is_shortened(tmp_path):
    (tmp_path / "a.txt").write_text("word " * 100)
    result = invoke("--corpus", tmp_path / "a.txt", "--bm25", "word")
    assert len(result.output.splitlines()[1]) < 120


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Missing argument"),
        (["--count", "0", "x"], 2, "--count"),
        ([" "], 1, "Error: the question is empty"),
        (["--corpus", "nowhere", "x"], 1, "Error: no file or folder 'nowhere'; use docstrings, or the path"),
    ],
)
def test_what_the_command_refuses(arguments, code, message):
    result = invoke(*arguments)
    assert result.exit_code == code
    assert message in result.output


def test_commands_that_want_labels_name_the_right_one(encoder, tmp_path):
    encoder.save(tmp_path / "encoder")
    result = CliRunner().invoke(main, ["predict", str(tmp_path / "encoder"), "a film"])
    assert result.exit_code == 1
    assert "holds a text encoder, which gives vectors: use search --pretrained" in result.output
