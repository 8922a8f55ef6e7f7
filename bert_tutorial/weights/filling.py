"""Tensors put into a network's parameters, once it is certain that they fit."""

import mxnet as mx

from ..machine.memory import untouched_zeros
from .names import REDUNDANT


def check_number_of_layers(arguments, tensors, source):
    """Raise ValueError if there are more layers than tensors, before a block is made for each of them."""
    if arguments["num_layers"] > len(tensors):
        raise ValueError(
            f"{source}: config.json says num_hidden_layers = {arguments['num_layers']}, but there are only "
            f"{len(tensors)} tensors"
        )


def check_fit(parameters, tensors, source):
    """Raise ValueError naming the tensors that are unknown, missing or of another shape than our parameters."""
    unknown = sorted(set(tensors) - set(parameters) - REDUNDANT)
    missing = sorted(set(parameters) - set(tensors))
    if unknown or missing:
        raise ValueError(f"{source}: unknown tensors {unknown}; missing tensors {missing}")
    for name, parameter in parameters.items():
        found, expected = tensors[name].shape, parameter.shape
        if found != expected:
            raise ValueError(f"{source}: {name} has the shape {found}; config.json asks for {expected}")


def fill(parameters, tensors, devices):
    """Put tensors, which are taken out of their dict one by one, into parameters on all devices."""
    for name, parameter in parameters.items():
        parameter.grad_req = "null"
        # from_numpy would share the memory, and MXNet's threads give it back as late as Python's end: an abort then
        tensor = tensors.pop(name)
        parameter._load_init(mx.nd.empty(tensor.shape, mx.cpu()), devices)  # as load_parameters does
        for data in parameter._data:
            data[:] = tensor
        attach_gradient(parameter)


def attach_gradient(parameter):
    """Give a parameter with values, and grad_req "null", its gradient and grad_req "write"."""
    parameter._grad_req = "write"
    parameter._grad = [untouched_zeros(data.shape, data.context, data.dtype) for data in parameter._data]
    mx.autograd.mark_variables(parameter._data, parameter._grad, parameter.grad_req)
