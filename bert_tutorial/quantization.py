"""Prediction in int8: the dense layers of a fine-tuned encoder, computed with integer products.

A number r is stored as the integer q = round(r / s), from -127 to 127, with a scale s = max|r| / 127. Then

    X W^T + b  =  s_X s_W (Q_X Q_W^T) + b,

where Q_X Q_W^T is oneDNN's product of int8 matrices, summed in int32. A CPU with VNNI does four times as many of
these multiplications a second as of float ones, and the weights take a quarter of the memory.

The scales decide the error, for one large number coarsens all that share its scale. So each output channel of W has
its own, and so has each row of X, that is each word piece, measured in every batch anew. A trained BERT gives a few
word pieces single values many times as large as all others; one scale for all of X, calibrated beforehand on a few
batches, would leave the other word pieces only a few steps. Scales by row and by channel can be taken out of the sum;
scales by the summed index could not.

Everything between the dense layers (the two products inside attention, softmax, GELU, LayerNorm) stays float.

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference"; for Transformers: Bhandare et al. 2019, "Efficient 8-Bit Quantization of
Transformer Neural Machine Language Translation Model"; a scale for each token: Yao et al. 2022, "ZeroQuant".
"""

from mxnet import nd
from mxnet.gluon import HybridBlock, nn

from .blocks import POSITION_WISE
from .encoder import BERTModel
from .machine import operators
from .machine.cpu import cpu_flags

VNNI = {"avx512_vnni", "avx_vnni"}
LARGEST = 127


class QuantizedDense(HybridBlock):
    """A dense layer computed in int8; float32 goes in and comes out. For prediction only: it has no gradient.

    Parameters
    ----------
    dense : mxnet.gluon.nn.Dense
        The layer to replace, initialised, without activation.

    Inputs:
        - **X**: (..., in_units)

    Outputs:
        - (..., units)

    Source: Jacob et al. 2018, section 2.
    """

    def __init__(self, dense, **kwargs):
        super().__init__(**kwargs)
        weight, bias = dense.weight.list_data()[0], dense.bias.list_data()[0]  # (units, in_units), (units,)
        scales = nd.maximum(weight.abs().max(axis=1), 1e-30) / LARGEST  # (units,)
        quantized = (weight / scales.expand_dims(axis=1)).round().astype("int8")
        with self.name_scope():
            self.weight = self.params.get_constant("weight", quantized)
            self.scales = self.params.get_constant("scales", scales)
            self.bias = self.params.get_constant("bias", bias)
            # oneDNN's operator wants to know what +-127 stands for; we multiply with the scales ourselves
            self.largest = self.params.get_constant("largest", nd.array([LARGEST], weight.context))
        self.units = dense.weight.shape[0]
        self.initialize(ctx=dense.weight.list_ctx())

    def hybrid_forward(self, F, X, weight, scales, bias, largest):
        Q, row_scales = F.bert_quantize_rows(X)
        ranges = {"min_data": -largest, "max_data": largest, "min_weight": -largest, "max_weight": largest}
        product, *_ = F.contrib.quantized_fully_connected(
            Q, weight, **ranges, no_bias=True, num_hidden=self.units, flatten=False
        )  # (..., units), int32
        return F.stop_gradient(F.bert_dequantize(product, row_scales, scales, bias))


POSITION_WISE.add(QuantizedDense)  # so the last block may still compute [CLS] alone


def quantize(net):
    """Replace the dense layers of a classifier's encoder by int8 ones, in place.

    Parameters
    ----------
    net : BERTClassifier
        Fine-tuned, with our BERTModel inside, on the CPU or on several CPU devices.

    Raises
    ------
    TypeError
        The network is not built from our blocks.
    ValueError
        The network is quantised already.
    NotImplementedError
        This CPU has no VNNI: without it oneDNN adds pairs of products in int16, where they overflow. Or our
        own operators could not be loaded.
    """
    if not isinstance(getattr(net, "bert", None), BERTModel):
        raise TypeError(f"quantize takes a BERTClassifier around our own BERTModel, not {type(net).__name__}")
    if not cpu_flags() & VNNI:
        raise NotImplementedError("int8 needs a CPU with VNNI, which this one is not known to have; predict in float32")
    loaded, reason = operators.status()
    if not loaded:
        raise NotImplementedError(f"int8 needs BERT's own operators: {reason}")
    layers = list(_dense_layers(net.bert.encoder))
    if not layers:
        raise ValueError("the network is quantised already")
    for block, name, dense in layers:
        delattr(block, name)  # Gluon refuses to assign a block of another type
        setattr(block, name, QuantizedDense(dense))
    net.hybridize(static_alloc=True)


def _dense_layers(block):
    """Yield (parent, name in the parent, dense layer) for all dense layers below a block."""
    for name, child in block._children.items():
        if isinstance(child, nn.Dense):
            yield block, name, child
        else:
            yield from _dense_layers(child)
