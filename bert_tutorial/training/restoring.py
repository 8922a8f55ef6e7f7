"""What a training puts back when it ends: the network's settings."""

from contextlib import contextmanager

from mxnet import cpu

from ..machine.interrupts import interrupts_held
from .gluon_trainer import mark_gradient, note_trainer, noted_trainer, waits_for_input


@contextmanager
def only_values_change(net):
    """Put back, however the work on a network ends, what training sets on its parameters besides their values.

    That is where they are, `grad_req`, `wd_mult` and the trainer that Gluon notes on them. Gradients are zero then.

    Parameters
    ----------
    net : mxnet.gluon.Block
        Initialised.
    """
    before = [(p, p.list_ctx(), p.grad_req, p.wd_mult, noted_trainer(p)) for p in net.collect_params().values()]
    try:
        yield
    finally:
        with interrupts_held():
            for settings in before:
                _put_back(*settings)


def _put_back(parameter, devices, grad_req, wd_mult, trainer):
    parameter.grad_req, parameter.wd_mult = grad_req, wd_mult
    note_trainer(parameter, trainer)
    if waits_for_input(parameter):
        parameter.reset_ctx(devices)
        return
    value, *_ = parameter.list_data()
    if parameter.list_ctx() != devices:
        value = value.copyto(cpu())
        parameter.reset_ctx(devices)  # takes the mean of the devices' copies, which rounding can change
    parameter.set_data(value)  # tells a trainer whose server keeps the parameters
    if grad_req != "null":
        parameter.zero_grad()
        mark_gradient(parameter, fresh=False)
