"""From seconds to the tables that are printed."""

import math
from dataclasses import dataclass
from itertools import chain
from statistics import median

MISSING = "–"


@dataclass
class Measurement:
    """What the sides of one row did.

    Attributes
    ----------
    seconds : dict
        From side to its seconds a step, one for each pair of blocks.
    peak_memory : dict
        From side to bytes.
    answers : dict
        From side to its first answer.
    """

    seconds: dict
    peak_memory: dict
    answers: dict

    def milliseconds(self, side):
        """Median of a side's steps, to print."""
        return f"{1000 * median(self.seconds[side]):.0f}" if side in self.seconds else MISSING

    def per_second(self, side, count):
        """How many of something, of which a step has `count`, a side gets through in a second, to print."""
        return f"{count / median(self.seconds[side]):.0f}" if side in self.seconds else MISSING

    def megabytes(self, side):
        """Largest memory of a side, to print."""
        return f"{self.peak_memory[side] / 1e6:.0f}" if side in self.peak_memory else MISSING

    def share(self, side):
        """How long a side took, as a share of us: the median of the pairs."""
        return median(a / b for a, b in zip(self.seconds[side], self.seconds["ours"], strict=True))

    def ratio(self, side, ours="ours"):
        """`ratio` of a side and us, or a dash where it did not run."""
        return ratio(self.seconds[side], self.seconds[ours]) if side in self.seconds else MISSING


def ratio(others, ours):
    """How many times faster we are: the median of the pairs, and their range.

    Parameters
    ----------
    others, ours : list of float
        Seconds, the i-th of both measured one after the other.
    """
    ratios = [other / own for other, own in zip(others, ours, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def table(header, rows):
    """A table in GitHub's Markdown: the first column to the left, the others to the right."""
    rules = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (header, rules, *rows))


def logits_difference(answers):
    """Largest difference of any side's logits from the first side's; NaN if there is one.

    Parameters
    ----------
    answers : dict
        From side to its answer; those with "logits", a list of rows, are compared.
    """
    first, *others = (list(chain(*answer["logits"])) for answer in answers.values() if "logits" in answer)
    differences = [abs(a - b) for other in others for a, b in zip(first, other, strict=True)]
    return max(differences, default=0.0, key=lambda difference: (math.isnan(difference), difference))
