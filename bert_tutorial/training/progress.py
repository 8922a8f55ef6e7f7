"""How a round goes: sums that stay on the device, read now and then."""

import math
import time

READ_INTERVAL = 0.5  # seconds between two readings of the running sums; each reading waits for the device


class TrainingDivergedError(FloatingPointError):
    """The loss is no longer a number."""


class RunningSums:
    """Sums over a round that stay on the device and are read now and then: each reading waits for it.

    Parameters
    ----------
    seconds : float, default 0
        Spent before, in a run that is continued.
    **totals
        Sums so far.
    """

    def __init__(self, seconds=0.0, **totals):
        self.seconds = seconds
        self.totals = totals
        self.pending = []
        self.start()

    @property
    def tokens_per_second(self):
        """Speed so far."""
        return self.totals["tokens"] / self.seconds

    def start(self):
        """Start the clock."""
        self.last_read = time.perf_counter()

    def add(self, step, names, values, tokens):
        """Add a step's sums: their names and an array of them; `steps` are counted, too."""
        self.pending.append((step, names, values, tokens))
        if time.perf_counter() - self.last_read > READ_INTERVAL:
            self.read()

    def read(self):
        """Bring the totals up to date."""
        for step, names, values, tokens in self.pending:
            found = dict(zip(names, values.asnumpy().tolist(), strict=True))
            if not math.isfinite(found["loss"]):
                raise TrainingDivergedError(f"the loss became {found['loss']} at {step}")
            for name, value in {**found, "tokens": tokens, "steps": 1}.items():
                self.totals[name] = self.totals.get(name, 0) + value
        self.pending.clear()
        now = time.perf_counter()
        self.seconds += now - self.last_read
        self.last_read = now
