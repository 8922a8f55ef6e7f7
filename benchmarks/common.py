"""What a measuring process needs on each side; only the standard library and NumPy, for it runs in two environments.

Protocol: a process does one job. The first line of its input is that job, {"job": NAME, ...arguments}. Every answer
is one JSON line. Jobs that are timed then answer {"steps": N} with {"seconds", "peak_memory"}, until the input ends.
"""

import json
import os
import platform
import resource
import sys
import time

import numpy as np

NUM_CLASSES = 2
HEAD_SEED, BATCH_SEED = 1, 2
SENTENCE = "this movie is so great"


class Channel:
    """Requests from standard input, answers to standard output; whatever libraries print goes to standard error."""

    def __init__(self):
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def __iter__(self):
        return map(json.loads, iter(sys.stdin.readline, ""))

    def reply(self, **answer):
        """Write one answer."""
        print(json.dumps(answer), file=self._answers, flush=True)


def run_job(*jobs):
    """Do the job that the first request names, one of the functions `jobs`, with the request's arguments."""
    channel = Channel()
    request = next(iter(channel))
    {job.__name__: job for job in jobs}[request.pop("job")](channel, **request)


def timed_steps(channel, wait=lambda: None):
    """Yield once for every step that is asked for, and answer each request with the time its steps took.

    Parameters
    ----------
    channel : Channel
    wait : callable, optional
        Waits for work that is still under way when the last step returns.
    """
    for request in channel:
        start = time.perf_counter()
        for _ in range(request["steps"]):
            yield
        wait()
        channel.reply(seconds=time.perf_counter() - start, peak_memory=peak_memory())


def peak_memory():
    """Largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def make_batch(vocab_size, batch_size, length):
    """The batch that every side computes on.

    Returns
    -------
    words : np.ndarray
        int32 (batch_size, length); padding is 0.
    valid_length : np.ndarray
        int32 (batch_size,): every fourth sample ends at three quarters of the length.
    labels : np.ndarray
        int32 (batch_size,), 0 and 1 in turn.
    """
    # RandomState gives the same numbers in every version of NumPy. The vocabulary's first part is no words.
    words = np.random.RandomState(BATCH_SEED).randint(vocab_size // 30, vocab_size, (batch_size, length))
    valid_length = np.where(np.arange(batch_size) % 4 == 3, length * 3 // 4, length)
    words[np.arange(length) >= valid_length[:, None]] = 0
    return words.astype("int32"), valid_length.astype("int32"), (np.arange(batch_size) % 2).astype("int32")


def make_head(units):
    """Weight (NUM_CLASSES, units) of the classifier's last layer, the same on every side; its bias is 0."""
    return np.random.RandomState(HEAD_SEED).normal(0, 0.02, (NUM_CLASSES, units)).astype("float32")
