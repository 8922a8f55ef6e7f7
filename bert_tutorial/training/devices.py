"""A network and its batches on one device or several."""

from mxnet import gluon, nd

from ..machine.devices import list_devices
from ..text.pretraining_examples import Batch, split_batch
from .workers import ALONE


def move(net, devices):
    """Move a network to devices, if it is not there.

    Parameters
    ----------
    net : mxnet.gluon.Block
        Initialised.
    devices : list of mxnet.Context
    """
    for parameter in net.collect_params().values():
        if parameter.list_ctx() != devices:
            parameter.reset_ctx(devices)


def devices_of(net, ctx):
    """The devices that `ctx` stands for, if a network is on them.

    Parameters
    ----------
    net : mxnet.gluon.Block
        Initialised; it may be on other devices as well.
    ctx : mxnet.Context or list of mxnet.Context

    Returns
    -------
    list of mxnet.Context

    Raises
    ------
    ValueError
        It is not; else as for `list_devices`.
    """
    devices = list_devices(ctx)
    for parameter in net.collect_params().values():
        if not set(devices) <= set(parameter.list_ctx()):
            raise ValueError(
                f"the network is on {parameter.list_ctx()}, not on {devices}: "
                "move it with net.collect_params().reset_ctx(ctx)"
            )
    return devices


def shares(batch, devices, workers=ALONE):
    """Split a worker's samples of a batch over its devices, as evenly as it goes; some may have none.

    Parameters
    ----------
    batch : sequence of mxnet.nd.NDArray
        Samples are along the first axis.
    devices : list of mxnet.Context
    workers : Workers, optional

    Returns
    -------
    iterable of tuple of mxnet.nd.NDArray
        One for each device that has work, on that device.
    """
    mine = workers.share(len(batch[0]))
    devices = devices[: mine.stop - mine.start]
    if not devices:
        return ()
    batch = [array[mine] for array in batch]
    return zip(*(gluon.utils.split_and_load(array, devices, even_split=False) for array in batch), strict=True)


def example_shares(batch, devices, workers=ALONE):
    """As `shares`, for a batch of pre-training examples.

    Parameters
    ----------
    batch : Batch

    Returns
    -------
    list of (Batch, Batch)
        One for each device that has work: its share as NumPy's arrays, and as MXNet's on that device.
    """
    mine = split_batch(batch, workers.size)[workers.rank : workers.rank + 1]
    parts = split_batch(*mine, len(devices)) if mine else []
    return [
        (part, Batch(*(nd.array(array, device, array.dtype) for array in part)))
        for part, device in zip(parts, devices[: len(parts)], strict=True)
    ]
