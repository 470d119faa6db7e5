"""Neural network functions under TensorFlow's names (tj.nn)."""

from __future__ import annotations

import math
from typing import Any

from tracejit import ops
from tracejit.functions import arguments, convolution
from tracejit.functions.creation import hot_mask
from tracejit.functions.math import cast, floats, keep, numbers, reduce_mean, square, tensor
from tracejit.ir.errors import DtypeError, InvalidArgumentError, fail, shown
from tracejit.ir.types import float32, float64, int32, int64

__all__ = [
    "avg_pool", "avg_pool2d", "bias_add", "conv2d", "conv2d_transpose", "depthwise_conv2d", "elu", "gelu", "l2_loss",
    "leaky_relu", "log_sigmoid", "log_softmax", "max_pool", "max_pool2d", "moments", "relu", "relu6", "sigmoid",
    "sigmoid_cross_entropy_with_logits", "silu", "softmax", "softmax_cross_entropy_with_logits", "softplus",
    "sparse_softmax_cross_entropy_with_logits", "swish", "tanh",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


sigmoid = ops.sigmoid
tanh = ops.tanh
conv2d, conv2d_transpose = convolution.conv2d, convolution.conv2d_transpose
depthwise_conv2d = convolution.depthwise_conv2d
max_pool, max_pool2d = convolution.max_pool, convolution.max_pool2d
avg_pool, avg_pool2d = convolution.avg_pool, convolution.avg_pool2d


def relu(features: Any, name: str | None = None) -> Any:
    """max(0, x); its derivative at 0 is 0."""
    return ops.relu(numbers("relu", features))


def relu6(features: Any, name: str | None = None) -> Any:
    """min(max(0, x), 6); its derivative at 0 and at 6 is 0."""
    return ops.minimum(6, ops.relu(numbers("relu6", features)))


def leaky_relu(features: Any, alpha: float = 0.2, name: str | None = None) -> Any:
    """x where it is positive, else alpha * x. Integers become float32."""
    x = tensor("leaky_relu", features)
    x = ops.cast(x, dtype=float32) if x.type.dtype.is_integer else floats("leaky_relu", x)
    return ops.leaky_relu(x, alpha=arguments.number("leaky_relu", "alpha", 0.2 if alpha is None else alpha, float64, (x,)))


def elu(features: Any, name: str | None = None) -> Any:
    """x where it is not negative, else exp(x) - 1."""
    x = floats("elu", features)
    return ops.select(ops.less(x, ops.zeros_like(x)), ops.expm1(x), x)


def softplus(features: Any, name: str | None = None) -> Any:
    """log(1 + exp(x)), without overflow."""
    return ops.softplus(floats("softplus", features))


def log_sigmoid(x: Any, name: str | None = None) -> Any:
    """log(sigmoid(x)), without overflow: -softplus(-x)."""
    return ops.neg(softplus(ops.neg(floats("log_sigmoid", x))))


def silu(features: Any, beta: float = 1.0) -> Any:
    """x * sigmoid(beta * x)."""
    x = floats("silu", features)
    beta = arguments.converted("silu", "beta", beta, x.type.dtype, (x,))
    return ops.silu(*ops.align("silu", (x, beta)))


swish = silu


def gelu(features: Any, approximate: bool = False, name: str | None = None) -> Any:
    """x * Phi(x), Phi the normal distribution's; by tanh where `approximate`. (Hendrycks, Gimpel: Gaussian error linear
    units, 2016.)"""
    x = floats("gelu", features)
    if arguments.flag("gelu", "approximate", approximate, (x,)):
        inner = ops.mul(ops.add(x, ops.mul(ops.mul(square(x), x), 0.044715)), math.sqrt(2 / math.pi))
        return ops.mul(ops.mul(x, 0.5), ops.add(ops.tanh(inner), 1.0))
    return ops.mul(ops.mul(x, 0.5), ops.add(ops.erf(ops.mul(x, 1 / math.sqrt(2))), 1.0))


def _shifted(name: str, logits: Any, axis: Any) -> tuple[Any, Any, tuple[int, ...]]:
    """The logits less their maximum, the exponentials' sum with the axis kept, and the axes."""
    x = floats(name, logits)
    axes = (arguments.axis(name, x, -1 if axis is None else axis, len(x.type.shape)),)
    top = ops.stop_gradient(ops.reduce_max(x, axes=axes))
    shifted = ops.sub(x, keep(top, x, axes, True))
    return shifted, keep(ops.reduce_sum(ops.exp(shifted), axes=axes), x, axes, True), axes


def softmax(logits: Any, axis: Any = -1, name: str | None = None) -> Any:
    """exp(x) / sum(exp(x)) along `axis`, shifted by the maximum."""
    shifted, total, _ = _shifted("softmax", logits, axis)
    return ops.div(ops.exp(shifted), total)


def log_softmax(logits: Any, axis: Any = -1, name: str | None = None) -> Any:
    """log(softmax(x)), by x - max - log(sum(exp(x - max)))."""
    shifted, total, _ = _shifted("log_softmax", logits, axis)
    return ops.sub(shifted, ops.log(total))


def softmax_cross_entropy_with_logits(labels: Any, logits: Any, axis: Any = -1, name: str | None = None) -> Any:
    """labels, logits: f32[..., n] -> f32[...]: minus the sum of labels * log_softmax(logits) along `axis`. The labels may have
    sizes of 1 that are repeated. InvalidArgumentError where they do not fit the logits."""
    function = "softmax_cross_entropy_with_logits"
    x = floats(function, logits)
    given = cast(arguments.converted(function, "labels", labels, None, (x,)), x.type.dtype)
    if not given.type.shape:
        fail(InvalidArgumentError, function, (given, x), "the labels need at least one axis")
    if ops.common_shape(function, (given, x)) != x.type.shape:
        fail(InvalidArgumentError, function, (given, x), "the labels have more elements than the logits")
    shifted, total, axes = _shifted(function, x, axis)
    return ops.neg(ops.reduce_sum(ops.mul(given, ops.sub(shifted, ops.log(total))), axes=axes))


def sparse_softmax_cross_entropy_with_logits(labels: Any, logits: Any, name: str | None = None) -> Any:
    """labels: i32[...]; logits: f32[..., n] -> f32[...]: minus log_softmax(logits) at the label.

    IndexOutOfRangeError where a label is outside of 0..n-1, InvalidArgumentError where the shapes do not fit.
    """
    function = "sparse_softmax_cross_entropy_with_logits"
    index, x = tensor(function, labels), tensor(function, logits)
    shape = x.type.shape
    if not shape or index.type.shape != shape[:-1]:
        fail(
            InvalidArgumentError,
            function,
            (index, x),
            "the labels must have the shape of the logits without the last axis",
        )
    if not index.type.dtype.is_integer:
        fail(DtypeError, function, (index, x), f"labels must be int32 or int64, not {index.type.dtype.name}")
    inside = ops.check_range(index, low=0, high=shape[-1], what="label", function=function)
    if index.type.dtype is int64:
        # What is below the number of classes fits, and takes as many lanes as a float32.
        inside = ops.cast(inside, dtype=int32)
    shifted, total, axes = _shifted(function, x, -1)
    hot = hot_mask(inside, shape[-1], len(shape) - 1)
    at_label = ops.reduce_sum(ops.select(hot, shifted, ops.zeros_like(shifted)), axes=axes)
    return ops.sub(ops.log(ops.reshape(total, shape=shape[:-1])), at_label)


def sigmoid_cross_entropy_with_logits(labels: Any = None, logits: Any = None, name: str | None = None) -> Any:
    """max(x, 0) - x * z + log1p(exp(-abs(x))) for logits x and labels z of one shape and dtype, which neither overflows
    nor loses digits. InvalidArgumentError where the shapes differ."""
    function = "sigmoid_cross_entropy_with_logits"
    z, x = ops.lift(function, (labels, logits))
    for operand in (x, z):
        floats(function, operand)
    if z.type.dtype is not x.type.dtype:
        fail(DtypeError, function, (z, x), "labels and logits differ in dtype; convert one with cast")
    if z.type.shape != x.type.shape:
        fail(InvalidArgumentError, function, (z, x), "labels and logits differ in shape")
    # The derivative at x = 0 is the limit 0.5 - z, which max and abs would not give.
    positive = ops.greater_equal(x, ops.zeros_like(x))
    clipped = ops.select(positive, x, ops.zeros_like(x))
    minus_abs = ops.select(positive, ops.neg(x), x)
    return ops.add(ops.sub(clipped, ops.mul(x, z)), ops.log1p(ops.exp(minus_abs)))


def l2_loss(t: Any, name: str | None = None) -> Any:
    """Half of the sum of squares."""
    x = floats("l2_loss", t)
    return ops.mul(ops.reduce_sum(square(x), axes=tuple(range(len(x.type.shape)))), 0.5)


def bias_add(value: Any, bias: Any, data_format: str | None = None, name: str | None = None) -> Any:
    """value + bias, bias along the last axis, or along axis 1 where `data_format` begins with "NC". InvalidArgumentError where
    the bias has not that size."""
    x, b = ops.lift("bias_add", (value, bias))
    if data_format is not None and not isinstance(data_format, str):
        arguments.refuse("bias_add", "data_format", "a str or None", data_format, (x, b))
    format = data_format or "N...C"
    if not (format.startswith("NC") or (format.startswith("N") and format.endswith("C"))):
        message = f"data_format={shown(format)} is not supported, only 'N...C' and 'NC...'"
        fail(InvalidArgumentError, "bias_add", (x, b), message)
    shape = x.type.shape
    axis = 1 if format.startswith("NC") else len(shape) - 1
    if len(shape) < 2 or b.type.shape != (shape[axis],):
        message = f"the bias needs the size of axis {axis}" if len(shape) > 1 else "the value needs at least 2 axes"
        fail(InvalidArgumentError, "bias_add", (x, b), message)
    if x.type.dtype is not b.type.dtype:
        fail(DtypeError, "bias_add", (x, b), "the value and the bias differ in dtype; convert one with cast")
    return ops.add(x, b if axis == len(shape) - 1 else ops.reshape(b, shape=(shape[1], *(1,) * (len(shape) - 2))))


def moments(x: Any, axes: Any, shift: Any = None, keepdims: bool = False, name: str | None = None) -> tuple[Any, Any]:
    """The mean and the variance over `axes`."""
    x = numbers("moments", x)
    over = arguments.axes("moments", x, axes, "axes")
    keepdims = arguments.flag("moments", "keepdims", keepdims, (x,))
    mean = reduce_mean(x, over, keepdims=True)
    variance = reduce_mean(square(ops.sub(x, mean)), over, keepdims)
    return (mean if keepdims else reduce_mean(x, over)), variance
