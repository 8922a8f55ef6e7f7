"""A network and its batches on one device or several."""

from mxnet import gluon

from ..machine.devices import list_devices
from ..precision import precision_of, refuse_precision
from .workers import ALONE


def place(net, ctx):
    """Move a network to the devices it will be trained on, if it is not there.

    Parameters
    ----------
    net : mxnet.gluon.Block
        Initialised.
    ctx : mxnet.Context or list of mxnet.Context

    Returns
    -------
    list of mxnet.Context

    Raises
    ------
    NotImplementedError
        The devices cannot compute in the network's precision.
    ValueError
        `ctx` is empty, or names a device twice.
    """
    devices = list_devices(ctx)
    refuse_precision(precision_of(net), devices)
    for parameter in net.collect_params().values():
        if parameter.list_ctx() != devices:
            parameter.reset_ctx(devices)
    return devices


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
