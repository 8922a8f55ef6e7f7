"""Mixed precision: dense layers computed in 16 bits, all else in float32.

Most of a step's time goes into the products of the dense layers on every position. A GPU computes them faster in
float16, a CPU with AVX512-BF16 in bfloat16. Their inputs and weights are rounded to 16 bits as each product begins, and
the product comes back as float32. Attention, LayerNorm, GELU, the heads' last layers, the loss, the parameters, their
gradients and the optimiser stay float32; so a saved network is the same file whatever it was trained in.

These are the layers that MXNet's own AMP (automatic mixed precision) computes in 16 bits, by its operator `amp_cast`,
and its `LossScaler` is used. `amp.init` is not: it replaces the functions of MXNet's modules, for good and for every
network in the process; and with it BERT's own operators, which take float32 only, could not run.

float16 knows no positive number below 6e-8: small gradients would become 0. So the loss, and with it all gradients, is
multiplied with a large number, the loss scale; the optimiser divides by it. When a gradient overflows, the step is
skipped and the scale halved; after 2,000 steps without that it is doubled. bfloat16 has the exponents of float32 and
needs none of this.

Source: Micikevicius et al. 2018, "Mixed Precision Training"; bfloat16: Kalamkar et al. 2019, "A Study of BFLOAT16 for
Deep Learning Training".
"""

import numpy as np
from mxnet.contrib.amp.amp import bfloat16
from mxnet.contrib.amp.loss_scaler import LossScaler
from mxnet.gluon import HybridBlock

from .blocks import PositionWiseDense
from .encoder import BERTEncoder
from .machine.cpu import cpu_flags
from .quantization import QuantizedDense

DTYPES = {"float32": None, "float16": np.dtype("float16"), "bfloat16": bfloat16}  # of a product
BFLOAT16 = {"avx512_bf16", "amx_bf16"}


def set_precision(net, precision):
    """Choose the number type that a network's dense layers are computed in, for training and for prediction.

    Parameters
    ----------
    net : mxnet.gluon.Block
        Initialised, with our BERTModel inside. It may be hybridized, before or after.
    precision : {"float32", "float16", "bfloat16"}
        float16 for GPUs, bfloat16 for CPUs that have it; float32 takes either back.

    Raises
    ------
    NotImplementedError
        The network's devices cannot compute in this type, or the network is not of our blocks, or is quantised.
    ValueError
        An unknown type.
    """
    if precision not in DTYPES:
        raise ValueError(f"precision must be one of {', '.join(DTYPES)}, not {precision!r}")
    blocks = _blocks(net)
    if precision != "float32":
        if any(isinstance(block, QuantizedDense) for block in blocks):
            raise NotImplementedError(f"the network is quantised to int8: load it anew to compute in {precision}")
        if not any(isinstance(block, BERTEncoder) for block in blocks):
            raise NotImplementedError(
                f"{precision} needs our own BERTModel inside the network: load it with backend='bert_tutorial', "
                "or compute in float32"
            )
        refuse_precision(precision, {device for p in net.collect_params().values() for device in p.list_ctx()})
    for block in blocks:
        if isinstance(block, PositionWiseDense):
            block.product_dtype = DTYPES[precision]
        if isinstance(block, HybridBlock):
            block._clear_cached_op()  # the graph that hybridize() keeps


def precision_of(net):
    """The precision that a network was set to; "float32" if it never was."""
    found = {block.product_dtype for block in _blocks(net) if isinstance(block, PositionWiseDense)}
    return next((name for name, dtype in DTYPES.items() if dtype is not None and dtype in found), "float32")


def refuse_precision(precision, devices):
    """Raise NotImplementedError if one of these devices, mxnet.Context, cannot compute in this precision."""
    kinds = {device.device_type for device in devices}
    if precision == "float16" and kinds != {"gpu"}:
        raise NotImplementedError(
            "MXNet computes float16 on GPUs only: train in float32 here, or in bfloat16 on a CPU with AVX512-BF16"
        )
    if precision == "bfloat16" and kinds != {"cpu"}:
        raise NotImplementedError("MXNet computes bfloat16 on CPUs only: on a GPU take float16, or float32")
    if precision == "bfloat16" and not cpu_flags() & BFLOAT16:
        raise NotImplementedError(
            "bfloat16 needs a CPU with AVX512-BF16, which this one is not known to have: compute in float32"
        )


def new_loss_scaler(precision):
    """MXNet's LossScaler for float16, else None; all of its state is in its attributes."""
    return LossScaler() if precision == "float16" else None


def _blocks(net):
    found = []
    net.apply(found.append)
    return found
