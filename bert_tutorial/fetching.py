"""Fetching files once, into the cache: several sources in order, checked, and landing whole or not at all."""

import os
import shutil
import tempfile
from pathlib import Path

import pooch

CONNECT_TIMEOUT = 10  # seconds to answer at all
READ_TIMEOUT = 30  # seconds without a byte


class FetchError(RuntimeError):
    """Nothing could be fetched; the message lists what was tried and what to do."""


def cache_dir():
    """The folder for everything fetched: `BERT_TUTORIAL_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("BERT_TUTORIAL_CACHE") or pooch.os_cache("bert_tutorial"))


def download(url, path, known_hash=None):
    """Download one file with a progress bar, a time-out and, if given, a hash check ("sha1:..." or "sha256:...")."""
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT), chunk_size=2**16)
    pooch.retrieve(url, known_hash, fname=path.name, path=path.parent, downloader=downloader)


def fetch(name, sources, check):
    """Return the cached folder `name`, filling it from the first source that works.

    Parameters
    ----------
    name : str
        Folder below `cache_dir`.
    sources : list of (str, callable)
        What to call the source in messages, and a function that writes its files into the folder it is given.
    check : callable
        Raises ValueError if the folder it is given is not as it should be.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FetchError
        No source worked, or there is no room on the disk. A folder that was there before is left as it was.
    """
    folder = cache_dir() / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FetchError(f"cannot write to the cache {cache_dir()}: {error}. Set BERT_TUTORIAL_CACHE.") from error
    failures = []
    for source, write_files in sources:
        scratch = tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)
        staging = Path(scratch, folder.name)  # made by mkdir, readable by others: a class may share one cache
        try:
            staging.mkdir()
            write_files(staging)
            check(staging)
            staging.rename(folder)
            return folder
        except Exception as error:  # whatever one source raises, the next one is tried
            failures.append(f"  {source}: {_one_line(error)}")
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    raise FetchError(
        f"could not fetch {name}. Tried:\n" + "\n".join(failures) + "\n"
        f"Check the network, proxy and disk space and try again, or copy the folder {name} from another machine's "
        f"cache into {cache_dir()}."
    )


def check_hash(path, known_hash):
    """Raise ValueError unless the file has this hash, "sha1:..." or "sha256:..."."""
    algorithm, expected = known_hash.split(":")
    found = pooch.file_hash(path, alg=algorithm)
    if found != expected:
        raise ValueError(f"{path.name} is damaged or another version: {algorithm} {found}, expected {expected}")


def _one_line(error):
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 300 else text[:300] + "..."
