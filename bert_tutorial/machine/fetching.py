"""Where files come from: shipped with the course, or fetched once into the cache.

Fetching tries several sources in order; what it fetches is checked, and lands whole or not at all.
"""

import os
import sys
import tempfile
from pathlib import Path

import pooch

pooch.get_logger().setLevel("WARNING")  # it would name our temporary folders and advise on hashes
CONNECT_TIMEOUT = 10  # seconds to answer at all
READ_TIMEOUT = 30  # seconds without a byte


class FetchError(RuntimeError):
    """Nothing could be fetched; the message lists what was tried and what to do."""


def cache_dir():
    """The folder for everything fetched: `BERT_TUTORIAL_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("BERT_TUTORIAL_CACHE") or pooch.os_cache("bert_tutorial"))


def shipped_file(name):
    """Path of a file or folder in the top-level folder `data`."""
    return shipped_folder("data") / name


def shipped_folder(name):
    """Path of a top-level folder, `data` or `notebooks`, which an installed package carries inside it."""
    package = Path(__file__).parent.parent
    installed = package / name
    return installed if installed.exists() else package.parent / name


def download(url, path, known_hash=None):
    """Download one file with a progress bar, a time-out and, if given, a hash check ("sha1:..." or "sha256:...").

    Raises
    ------
    FetchError
        The server cannot be reached, falls silent, or does not have the file.
    ValueError
        The file has another hash.
    """
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT), chunk_size=2**16)
    try:
        pooch.retrieve(url, known_hash, fname=path.name, path=path.parent, downloader=downloader)
    except OSError as error:
        while error.__context__ is not None:  # requests wraps the reason several times
            error = error.__context__
        raise FetchError(f"{url}: {error}") from error


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
        No source worked, or the cache cannot be written. Nothing is left behind.
    """
    folder = cache_dir() / name
    if folder.is_dir():
        return folder
    failures = []
    for source, write_files in sources:
        try:
            cache_dir().mkdir(parents=True, exist_ok=True)
            scratch = tempfile.TemporaryDirectory(
                prefix=f".{folder.name}-", dir=cache_dir(), ignore_cleanup_errors=True
            )
        except OSError as error:
            raise FetchError(
                f"cannot write to the cache {cache_dir()}: {error}. Set BERT_TUTORIAL_CACHE to another folder."
            ) from error
        print(f"Fetching {name} from {source}", file=sys.stderr)
        with scratch:
            staging = Path(scratch.name, folder.name)
            try:
                staging.mkdir()
                write_files(staging)
                check(staging)
                for path in staging.rglob("*"):  # temporary files begin as 0600, but a class may share one cache
                    path.chmod(0o755 if path.is_dir() else 0o644)
                folder.parent.mkdir(parents=True, exist_ok=True)
                staging.rename(folder)
            except Exception as error:  # whatever one source raises, the next one is tried
                failures.append(f"  {source}: {_one_line(error)}")
        if folder.is_dir():  # landed now, or by another process meanwhile
            return folder
    raise FetchError(
        f"could not fetch {name}. Tried:\n" + "\n".join(failures) + "\n"
        f"If the network, a proxy or a full disk is the reason, mend that and try again. Or copy the folder "
        f"{name} from another machine's cache into {cache_dir()}."
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
