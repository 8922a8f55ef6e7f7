"""`metrics.json`: what came of a run, and all that it takes to get it again."""

import json
import platform
from importlib.metadata import version

import mxnet as mx

from ..machine.files import write_text
from ..machine.memory import peak_memory

VERSIONED = ("gluonnlp", "d2l", "numpy", "tokenizers")


def write_metrics(folder, score, history, ctx, seed, settings, num_workers):
    """Write the file.

    Parameters
    ----------
    folder : path
    score : dict
        Of the finished network.
    history : list of dict
        From `train_loop` or `pretrain_loop`.
    ctx : mxnet.Context or list of mxnet.Context
    seed : int
    settings : dict
        Of the run.
    num_workers : int
    """
    metrics = {
        **score,
        "seconds": sum(row["seconds"] for row in history),
        "tokens_per_second": history[-1]["tokens_per_second"],
        "peak_memory_bytes": peak_memory(),
        "seed": seed,
        "device": str(ctx),
        "workers": num_workers,
        "versions": {"python": platform.python_version(), "mxnet": mx.__version__}
        | {name: version(name) for name in VERSIONED},
        "settings": settings,
        "history": history,
    }
    metrics = json.loads(json.dumps(metrics), parse_constant=lambda nan: None)  # JSON has no NaN
    write_text(folder / "metrics.json", json.dumps(metrics, indent=2))
