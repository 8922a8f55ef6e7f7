"""The measuring processes, seen from the orchestrator: start, ask in turn, time."""

import json
import os
import signal
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from .report import Measurement

ROOT = Path(__file__).parents[1]
PAUSE = 0.3  # seconds between blocks: OpenMP's threads spin a moment before they sleep
LONG_TURN = 15  # seconds: when one step of all sides together takes longer, few pairs have to do
FEW_PAIRS = 3


class RowError(Exception):
    """A row could not be measured."""


@dataclass
class Side:
    """One of those compared: its Python, its module, and environment variables that differ from ours (None: unset)."""

    python: str
    module: str
    environment: dict = field(default_factory=dict)


class Worker:
    """A process of one side that does one job; see `common.py` for the protocol.

    Parameters
    ----------
    side : Side
    job : dict
        "job" and its arguments.
    log : Path
        File for what the process prints to standard error.
    """

    def __init__(self, side, job, log):
        self.name, self.log = f"{side.module}, {job['job']}", log
        environment = {k: v for k, v in {**os.environ, **side.environment}.items() if v is not None}
        self.started = time.perf_counter()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [side.python, "-m", side.module], cwd=ROOT, env=environment, stderr=errors, **pipes
            )
        self.send(job)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.process.communicate(timeout=60)  # ends the input, so the process ends its job
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self.process.kill()

    def send(self, request):
        """Write one request."""
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise self._error() from None

    def receive(self):
        """Read one answer; RowError if the process ended instead."""
        line = self.process.stdout.readline()
        if not line:
            raise self._error()
        return json.loads(line)

    def ask(self, **request):
        """Write one request, read its answer."""
        self.send(request)
        return self.receive()

    def _error(self):
        if self.process.wait() == -signal.SIGKILL:
            return RowError(f"{self.name}: killed by the system, which most likely ran out of memory")
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return RowError(f"{self.name}: {lines[-1] if lines else 'ended without a word'}")


def ask_once(side, log, **job):
    """The answer of a job that has one."""
    with Worker(side, job, log) as worker:
        return worker.receive()


def measure(jobs, log_folder, pairs, check=None, block_seconds=2):
    """Time sides in turn, block by block, all alive at once.

    Parameters
    ----------
    jobs : dict
        From the name of a side to (Side, job).
    log_folder : Path
    pairs : int
        Blocks of each side.
    check : callable, optional
        Gets the sides' first answers; raises RowError if they do not agree.
    block_seconds : float, default 2
        Steps are timed in blocks of about this length.

    Returns
    -------
    Measurement
    """
    with ExitStack() as stack:
        workers, answers = {}, {}
        for name, (side, job) in jobs.items():
            workers[name] = stack.enter_context(Worker(side, job, log_folder / f"{name}.log"))
            answers[name] = workers[name].receive()
        if check:
            check(answers)
        seconds, peak_memory = _in_turn(workers, pairs, block_seconds)
        return Measurement(seconds, peak_memory, answers)


def measure_apart(jobs, log_folder, pairs):
    """As `measure`, but every block is a process of its own: for sides too large to be alive at once."""
    parts = [(name, measure({name: job}, log_folder, 1)) for _ in range(pairs) for name, job in jobs.items()]
    return Measurement(
        {name: [part.seconds[name][0] for side, part in parts if side == name] for name in jobs},
        {name: max(part.peak_memory[name] for side, part in parts if side == name) for name in jobs},
        {name: part.answers[name] for name, part in parts},
    )


def _in_turn(workers, pairs, block_seconds):
    expected = {name: _warm_up(worker, block_seconds) for name, worker in workers.items()}
    steps = {name: max(1, round(block_seconds / seconds)) for name, seconds in expected.items()}
    if sum(expected.values()) > LONG_TURN:
        pairs = min(pairs, FEW_PAIRS)
    seconds, peak_memory = {name: [] for name in workers}, {}
    for _ in range(pairs):
        for name, worker in workers.items():
            time.sleep(PAUSE)
            answer = worker.ask(steps=steps[name])
            seconds[name].append(answer["seconds"] / steps[name])
            peak_memory[name] = answer["peak_memory"]
    return seconds, peak_memory


def _warm_up(worker, block_seconds):
    """Seconds of one step. The first one plans and allocates, so where it is short it does not count."""
    seconds = worker.ask(steps=1)["seconds"]
    return seconds if seconds > block_seconds else worker.ask(steps=1)["seconds"]
