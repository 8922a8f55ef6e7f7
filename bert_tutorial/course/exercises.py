"""Exercises: a check says what is still wrong with an answer."""

from contextlib import contextmanager


@contextmanager
def checking(exercise):
    """Print whether the statements inside hold, and if not, what is wrong.

    Parameters
    ----------
    exercise : str
        Its name.

    Examples
    --------
    >>> with checking("Exercise 1"):
    ...     assert 1 + 1 == 3, "one and one is not three"
    Exercise 1: not yet. one and one is not three
    """
    try:
        yield
    except AssertionError as error:
        print(f"{exercise}: not yet. {error}")
    except Exception as error:  # the answer cannot be used as it is; the reader sees why, the notebook runs on
        print(f"{exercise}: not yet. {type(error).__name__}: {error}")
    else:
        print(f"{exercise}: right.")
