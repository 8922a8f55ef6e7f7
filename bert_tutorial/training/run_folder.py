"""The folder of a run: it has one owner, and what is in it goes only if its owner says so."""

import json
import logging
import os
import socket
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ..machine.files import remove_leftovers
from .checkpoint import checkpoint_exists, previous_path, remove_checkpoint
from .metrics import write_metrics

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINTS = (CHECKPOINT, previous_path(CHECKPOINT).name)
OLDER_CHECKPOINTS = ("checkpoint.params", "checkpoint.previous.params")
RESULTS = ("model.safetensors", "model.params", "config.json", "vocab.txt", "tokenizer_config.json", "metrics.json")
LOCK = ".lock"
LOCK_TIMEOUT = 0.2  # seconds, for a run that is just ending
UNIMPORTANT = ("output", "resume", "overwrite", "cached", "no_cache", "ctx", "workers")  # to the numbers


class RunFinishedError(FileExistsError):
    """Nothing is left to do in the folder of a run that is to be resumed."""


def settings_of(arguments):
    """What a recipe was told, as far as it matters to the numbers: dict of str to str; "a + b" of several values."""
    return {name: _as_text(value) for name, value in arguments.items() if name not in UNIMPORTANT}


def _as_text(value):
    return " + ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


class RunFolder:
    """Where a run of a recipe keeps its files, as a context: this process owns it until the end.

    Parameters
    ----------
    path : str or path or None
        None, or a worker other than 0: nothing is written.
    settings : dict
        From `settings_of`.
    resume, overwrite : bool
        As for `claim`.
    workers : Workers

    Attributes
    ----------
    checkpoint : path or None
        The file that holds the unfinished run.
    """

    def __init__(self, path, settings, resume, overwrite, workers):
        self.path = None if path is None or workers.rank else Path(path)
        self.checkpoint = None if path is None else Path(path, CHECKPOINT)
        self.settings, self.num_workers = settings, workers.size
        self.resume, self.overwrite = resume, overwrite
        self._ownership = ExitStack()

    def __enter__(self):
        if self.path:
            self._ownership.enter_context(claim(self.path, self.resume, self.overwrite, self.settings))
            if self.resume and not checkpoint_exists(self.checkpoint):
                logging.getLogger(__name__).warning("no unfinished run in %s: starting anew", self.path)
        return self

    def __exit__(self, *error):
        self._ownership.close()

    def begin(self):
        """Let an older run go as the new one begins."""
        if self.path and self.overwrite:
            discard_unfinished(self.path)

    def save(self, write):
        """Call `write` with the folder, where there is one."""
        if self.path:
            write(self.path)

    def finish(self, score, history, ctx, seed):
        """Write `metrics.json`; the unfinished run goes."""
        if self.path:
            write_metrics(self.path, score, history, ctx, seed, self.settings, self.num_workers)
            remove_checkpoint(self.checkpoint)


@contextmanager
def claim(folder, resume=False, overwrite=False, settings=None):
    """Make a run's folder, if it does not exist, and own it; other processes cannot until this one lets go, or dies.

    Parameters
    ----------
    folder : str or path
    resume : bool, default False
        An unfinished run in it will be continued.
    overwrite : bool, default False
        What is in it will be replaced. It stays until then: see `discard_unfinished`.
    settings : dict, optional
        Of the run, from `settings_of`.

    Raises
    ------
    OSError
        The folder cannot be made or written to.
    BlockingIOError
        Another process owns it.
    FileExistsError
        It holds what this run would replace, and neither `resume` nor `overwrite` says what is meant.
    RunFinishedError
        The run with these settings, which is to be resumed, has finished.
    ValueError
        Both `resume` and `overwrite`.
    """
    folder = Path(folder)
    if resume and overwrite:
        raise ValueError("resume continues the run in the folder, overwrite replaces it: give one of them")
    if resume and settings is not None and _has_finished(folder, settings):
        raise RunFinishedError(f"the run in {folder} has finished: nothing is left to do")
    make_folder(folder)
    with _locked(folder):
        for name in CHECKPOINTS + RESULTS:
            remove_leftovers(folder / name)
        if not overwrite:
            _refuse_to_replace(folder, resume)
        yield


def make_folder(folder):
    """Make a folder if it does not exist, and find out whether it can be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"cannot write to {folder}")


def discard_unfinished(folder):
    """Delete an unfinished run, for a new one begins."""
    for name in CHECKPOINTS + OLDER_CHECKPOINTS:
        (folder / name).unlink(missing_ok=True)


def _has_finished(folder, settings):
    """Whether a run with these settings has ended there."""
    if checkpoint_exists(folder / CHECKPOINT):
        return False
    try:
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["settings"] == settings
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextmanager
def _locked(folder):
    lock = FileLock(folder / LOCK, LOCK_TIMEOUT, fallback_to_soft=False)  # a soft lock outlives a killed process
    try:
        lock.acquire()
    except Timeout:
        owner = "another process"
        with suppress(OSError):  # it may have ended now
            owner = Path(lock.lock_file).read_text() or owner
        raise BlockingIOError(f"{folder} belongs to {owner}: wait until it ends, or choose another --output") from None
    except PermissionError as error:  # another user's
        raise PermissionError(f"cannot lock {lock.lock_file}: {error.strerror}") from error
    except (OSError, NotImplementedError) as error:
        logging.getLogger(__name__).warning("%s cannot be locked (%s): start no second run there", folder, error)
    try:
        if lock.is_locked:
            since = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
            with suppress(OSError):  # a full disk is named by whoever writes what matters
                Path(lock.lock_file).write_text(f"process {os.getpid()} on {socket.gethostname()}, since {since}")
        yield
    finally:
        if lock.is_locked:
            Path(lock.lock_file).unlink(missing_ok=True)  # before others can have it
            lock.release()


def _refuse_to_replace(folder, resume):
    unfinished, older, results = (
        [name for name in names if (folder / name).exists()] for names in (CHECKPOINTS, OLDER_CHECKPOINTS, RESULTS)
    )
    replace = "--overwrite to start anew in its place, or choose another --output"
    if unfinished:
        if resume:
            return
        raise FileExistsError(f"{folder} holds an unfinished run: use --resume to continue it, {replace}")
    if older:
        raise FileExistsError(f"{folder} holds a run of an older version, which cannot be continued: use {replace}")
    if results:
        kind = "a finished run" if {"metrics.json", "model.safetensors", "model.params"} & {*results} else "other files"
        resuming = " and no unfinished run" if resume else ""
        raise FileExistsError(f"{folder} holds {kind} ({', '.join(results)}){resuming}: use {replace}")
