"""What pre-training is worth when labels are few: a table, and docs/figures/transfer.png.

python -m benchmarks.transfer [NAME_OR_FOLDER]
"""

import sys
from contextlib import redirect_stdout
from pathlib import Path

from bert_tutorial import load_corpus
from bert_tutorial.course.training_figures import plot_transfer
from bert_tutorial.course.transfer import LEARNERS, compare, library_task, summarize

FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "transfer.png"


def main(name_or_path="small"):
    """Run and print all."""
    _, held_out = load_corpus("docstrings").split()
    task = library_task(held_out)
    with redirect_stdout(sys.stderr):  # a line for each fine-tuning
        results = compare(task, name_or_path)
    summary = summarize(results)
    print(f"\n{len(task.classes)} libraries ({', '.join(task.classes)}), {len(task.test)} test docstrings, 5 seeds\n")
    print("| labels | " + " | ".join(LEARNERS) + " |")
    print("| --- " * (1 + len(LEARNERS)) + "|")
    for num_labels in sorted({num_labels for _, num_labels in summary}):
        cells = [summary[learner, num_labels] for learner in LEARNERS]
        shown = [f"{c.mean:.3f} ({c.low:.3f} to {c.high:.3f}" + (f"; lr {c.lr:g})" if c.lr else ")") for c in cells]
        print(f"| {num_labels} | {' | '.join(shown)} |")
    plot_transfer(summary, len(task.classes)).savefig(FIGURE, dpi=100)


if __name__ == "__main__":
    main(*sys.argv[1:])
