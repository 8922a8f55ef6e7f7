"""A process that `training.launching` started: how it ends with the others, and which of them it is on its machine."""

import os
import pickle
import signal
import sys
import threading


def follow_launcher():
    """In a process of `launching`: end when the launcher does, stop when it says so."""
    if "BERT_TUTORIAL_LAUNCHED" in os.environ:
        threading.Thread(target=_listen_to_launcher, daemon=True).start()


def _listen_to_launcher():
    while os.read(sys.stdin.fileno(), 100):  # it says "stop" and nothing else
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(1)


def refuse_pickles():
    """In a server of `launching`: MXNet unpickles the optimizer it is sent, and a pickle can run any program.

    Our workers send none (`update_on_kvstore=False`).
    """
    if os.environ.get("DMLC_ROLE") == "server":
        pickle.loads = _end_at_a_pickle


def _end_at_a_pickle(*_):
    print("Error: this server was sent a pickle, which could run any program: refused", file=sys.stderr, flush=True)
    os._exit(1)  # an exception would be printed, and the server would go on


def local_rank():
    """Number of this process among the workers of a run on this machine, and how many there are."""
    rank, count = os.environ.get("BERT_TUTORIAL_LOCAL_RANK", "0/1").split("/")
    return int(rank), int(count)
