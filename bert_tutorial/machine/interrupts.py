"""Ctrl-C and SIGTERM: what they end, and when."""

import signal
import threading
from contextlib import contextmanager

_kept = False  # a signal has come and waits for `raise_kept_interrupt`


def keep_interrupts():
    """Make sure that Ctrl-C ends a training.

    Python drops an exception raised while an object is deleted, and MXNet's arrays are deleted all the time. A Ctrl-C
    that comes then is kept for `raise_kept_interrupt`.
    """

    def handle(signum, frame):
        global _kept
        while frame is not None:
            if frame.f_code.co_name == "__del__":
                _kept = True
                return
            frame = frame.f_back
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
        signal.signal(signal.SIGINT, handle)


def raise_kept_interrupt():
    """Raise the KeyboardInterrupt that could not be raised when it came."""
    global _kept
    if _kept:
        _kept = False
        raise KeyboardInterrupt


@contextmanager
def interrupts_held():
    """Hold Ctrl-C and SIGTERM back until `raise_kept_interrupt`, so that no step is cut in two.

    The second one is not held. Outside the main thread, which alone may handle signals, nothing is held.
    """
    global _kept

    def handle(signum, frame):
        global _kept
        if _kept:
            _kept = False
            raise KeyboardInterrupt
        _kept = True

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    unknown = (signal.SIG_IGN, None)  # None: not installed by Python, which could not put it back
    held = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) not in unknown]
    previous = {number: signal.signal(number, handle) for number in held}
    try:
        yield
    except BaseException:
        _kept = False  # this ends the run as well; the next one must not be stopped
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    raise_kept_interrupt()
