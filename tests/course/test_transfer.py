"""The task with few labels, and the comparison of a pre-trained with a random start."""

from collections import Counter
from dataclasses import replace

from bert_tutorial.course.training_figures import plot_transfer
from bert_tutorial.course.transfer import (
    BAG_OF_WORDS,
    LEARNERS,
    PRETRAINED,
    RANDOM,
    Result,
    Task,
    compare,
    draw_labels,
    library_task,
    summarize,
)
from bert_tutorial.text.corpora import Corpus, Document

import pytest

LIBRARIES = ("numpy", "pandas", "tornado")


def make_corpus(modules=4, docstrings=6):
    documents = [
        Document(
            library,
            tuple(
                (f"{library.title()} says number {i} of module {module} here.", f"More words of {library} follow, np.")
                for i in range(docstrings)
            ),
        )
        for library in LIBRARIES
        for module in range(modules)
    ]
    return Corpus("made up", tuple(documents), "none")


def test_the_task_has_no_names_and_no_module_on_both_sides():
    task = library_task(make_corpus(), num_libraries=3)
    assert sorted(task.classes) == sorted(LIBRARIES)
    for text, _ in task.train + task.test:
        assert not {"numpy", "pandas", "tornado", "np"} & set(text.lower().replace(".", " ").split())
    modules = [{(label, text.split("module ")[1][0]) for text, label in side} for side in (task.train, task.test)]
    assert not modules[0] & modules[1]
    assert {label for _, label in task.train} == {0, 1, 2}
    assert Counter(label for _, label in task.test) == {0: 12, 1: 12, 2: 12}


def test_every_library_has_as_many_test_texts():
    """Else always naming the largest would score well."""
    corpus = make_corpus()
    more = Document("numpy", tuple((f"One more text, number {i}, about nothing at all really.",) for i in range(50)))
    counts = Counter(label for _, label in library_task(replace(corpus, documents=(*corpus.documents, more)), 3).test)
    assert len(set(counts.values())) == 1


def test_the_largest_libraries_are_taken_and_too_few_refused():
    corpus = make_corpus()
    extra = Corpus(
        "more", (*corpus.documents, Document("tiny", (("One sentence of the tiny one is quite enough.",),))), ""
    )
    assert "tiny" not in library_task(extra, num_libraries=3).classes
    for number in (4, 5):
        with pytest.raises(ValueError, match="libraries"):
            library_task(extra, num_libraries=number)


def test_a_library_with_all_its_docstrings_in_one_module_is_passed_over():
    """On some versions of Python chance leaves one such module to be held out."""
    corpus = make_corpus()
    one = [Document("large", tuple((f"Sentence number {i} is about nothing at all.",) for i in range(99)))]
    small = [Document("large", (("A second module has this docstring only, no more.",),))]
    for more in (one, one + small):
        task = library_task(replace(corpus, documents=(*corpus.documents, *more)), num_libraries=3)
        assert sorted(task.classes) == sorted(LIBRARIES)


def test_labels_are_drawn_evenly_and_alike():
    task = Task(("a", "b"), [(f"{label} {i}", label) for label in (0, 1) for i in range(20)], [])
    drawn = draw_labels(task, 10, seed=3)
    assert sorted(label for _, label in drawn) == [0] * 5 + [1] * 5
    assert len(set(drawn)) == 10
    assert drawn == draw_labels(task, 10, seed=3) != draw_labels(task, 10, seed=4)
    with pytest.raises(ValueError, match="a has 20 texts"):
        draw_labels(task, 42, seed=1)


def test_summary_takes_the_best_learning_rate_for_each():
    accuracies = {
        (PRETRAINED, 1e-3): (0.5, 0.5),
        (RANDOM, 1e-3): (0.2, 0.4),
        (RANDOM, 1e-4): (0.9, 0.6),
        (BAG_OF_WORDS, None): (0.7, 0.6),
    }
    results = [
        Result(*cell[:1], 16, seed, cell[1], a) for cell, row in accuracies.items() for seed, a in enumerate(row)
    ]
    summary = summarize(results)
    assert summary[RANDOM, 16] == (pytest.approx(0.75), 0.6, 0.9, 1e-4)
    assert summary[PRETRAINED, 16] == (0.5, 0.5, 0.5, 1e-3)
    assert summary[BAG_OF_WORDS, 16] == (pytest.approx(0.65), 0.6, 0.7, None)
    (legend,) = plot_transfer(summary, num_classes=2).legends
    assert {text.get_text() for text in legend.get_texts()} == {"guessing", *LEARNERS}


@pytest.mark.slow
def test_all_learn_an_easy_task(tiny_checkpoint):
    texts = [(f"{word} " * 12, label) for label, word in enumerate(("great", "awful")) for _ in range(30)]
    task = Task(("great", "awful"), texts, texts[::5])
    results = compare(task, tiny_checkpoint, label_counts=(8,), seeds=2, lrs=(3e-3,), num_steps=40)
    assert [(result.learner, result.seed) for result in results] == [(own, seed) for seed in (1, 2) for own in LEARNERS]
    assert all(result.accuracy == 1 for result in results)
    assert results[:3] == compare(task, tiny_checkpoint, label_counts=(8,), seeds=1, lrs=(3e-3,), num_steps=40)
