"""Ctrl-C ends a training, whenever it comes."""

import os
import signal

from bert_tutorial.machine import interrupts

import pytest


class Deleted:
    """Python drops exceptions in __del__, and MXNet's arrays have one."""

    def __del__(self):
        interrupt()


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    sum(range(1000))  # Python handles the signal between two of its instructions


def test_ctrl_c_during_a_deletion_is_kept():
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a shell's foreground
    try:
        interrupts.keep_interrupts()
        Deleted()
        with pytest.raises(KeyboardInterrupt):
            interrupts.raise_kept_interrupt()
        interrupts.raise_kept_interrupt()
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    finally:
        signal.signal(signal.SIGINT, previous)
