"""The kernels in NumPy: what the numbers have to be, and what the same work costs there."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.libraries import REFERENCE, Cases, Timed, calling
from benchmarks.libraries.data import EPSILON
from benchmarks.libraries.kernel_data import (
    ALL_PRODUCTS,
    FUNCTIONS,
    OPTIONS,
    SIZES,
    Product,
    arguments,
    block_data,
    elementwise_case,
    factors,
    logits_data,
    matrix,
    norm_data,
    option_data,
    point,
    pointwise_data,
    repeated,
)


def _matmul(product: Product) -> Timed:
    a, b = factors(product)
    return calling(np.matmul, a.T if product.transposed else a, b)._replace(dtype=product.dtype)


def _elementwise(function: str, size: int) -> Timed:
    return calling(getattr(np, function), repeated(arguments(function), size))


def _erf(x: np.ndarray) -> np.ndarray:
    return np.array([math.erf(each) for each in x.tolist()])


def _known(*results: Any, dtype: str = "float32") -> Timed:
    """Numbers that are computed before."""
    return calling(lambda: results)._replace(dtype=dtype)


def _by_erf(function: str, size: int) -> Timed:
    x = arguments(function).astype(np.float64)
    found = _erf(x) if function == "erf" else x / 2 * (1 + _erf(x * math.sqrt(0.5)))
    return _known(repeated(found.astype(np.float32), size))


def _made(function: str, size: int) -> dict[str, Callable[[], Timed]]:
    if function in ("erf", "gelu"):
        return {REFERENCE: functools.partial(_by_erf, function, size)}
    return {"numpy": functools.partial(_elementwise, function, size)}


def norm_gelu(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, cotangent: np.ndarray) -> Any:
    """Layer norm, gelu by tanh, and the gradient with respect to x, gamma and beta."""
    n = np.float32(x.shape[1])
    normal = x - x.mean(axis=1, keepdims=True)
    variance = np.einsum("ij,ij->i", normal, normal)[:, None] / n
    scale = 1 / np.sqrt(variance + np.float32(EPSILON))
    normal *= scale
    z = normal * gamma
    z += beta
    # y = z (1 + t) / 2 with t = tanh(c (z + 0.044715 z^3)), and its derivative.
    c, cubic = np.float32(math.sqrt(2 / math.pi)), np.float32(0.044715)
    square = z * z
    t = square * (c * cubic)
    t += c
    t *= z
    np.tanh(t, out=t)
    y = t + 1
    y *= z
    y *= np.float32(0.5)
    # dy/dz = (1 + t) / 2 + z (1 - t^2) c (1 + 3 * 0.044715 z^2) / 2
    square *= 3 * cubic * c
    square += c
    square *= z
    slope = t * t
    np.subtract(1, slope, out=slope)
    slope *= square
    slope += t
    slope += 1
    slope *= np.float32(0.5)
    slope *= cotangent
    dbeta = slope.sum(axis=0)
    dgamma = np.einsum("ij,ij->j", slope, normal)
    slope *= gamma
    mean = slope.mean(axis=1, keepdims=True)
    along = np.einsum("ij,ij->i", slope, normal)[:, None] / n
    normal *= along
    slope -= mean
    slope -= normal
    slope *= scale
    return y, [slope, dgamma, dbeta]


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> Any:
    """The mean loss and its gradient with respect to the logits."""
    rows = np.arange(len(labels))
    gradient = logits - logits.max(axis=1, keepdims=True)
    at_label = gradient[rows, labels]
    np.exp(gradient, out=gradient)
    total = gradient.sum(axis=1, keepdims=True)
    loss = np.mean(np.log(total[:, 0]) - at_label)
    total *= np.float32(len(labels))
    gradient /= total
    gradient[rows, labels] -= np.float32(1 / len(labels))
    return loss, gradient


def _convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return np.tensordot(_windows(x, kernel), kernel, axes=((4, 5, 3), (0, 1, 2)))


def _windows(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """[n,h,w,c,kh,kw], of `x` with zeros around it."""
    side = kernel.shape[0] // 2
    padded = np.pad(x, ((0, 0), (side, side), (side, side), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], axis=(1, 2))


def _backward(x: np.ndarray, kernel: np.ndarray, ct: np.ndarray) -> list[np.ndarray]:
    """The cotangents of x, the kernel and the bias."""
    dkernel = np.tensordot(_windows(x, kernel), ct, axes=((0, 1, 2), (0, 1, 2))).transpose(1, 2, 0, 3)
    return [_convolved(ct, kernel[::-1, ::-1].swapaxes(2, 3)), dkernel, ct.sum(axis=(0, 1, 2))]


def _residual(gradients: bool) -> Timed:
    x, kernel1, bias1, kernel2, bias2, cotangent = block_data()
    inner = np.maximum(_convolved(x, kernel1) + bias1, 0)
    y = np.maximum(x + (_convolved(inner, kernel2) + bias2), 0)
    if not gradients:
        return _known(y)
    outer = cotangent * (y > 0)
    by_inner, *second = _backward(inner, kernel2, outer)
    by_x, *first = _backward(x, kernel1, by_inner * (inner > 0))
    return _known(y, by_x + outer, *first, *second)


def _pointwise(gradients: bool) -> Timed:
    x, kernel, bias, cotangent = pointwise_data()
    y = np.maximum(_convolved(x, kernel) + bias, 0)
    return _known(y, *_backward(x, kernel, cotangent * (y > 0))) if gradients else _known(y)


def _black_scholes() -> Timed:
    spot, strike, years, rate, volatility = option_data()
    root, kept = np.sqrt(years), strike * np.exp(-rate * years)
    d1 = (np.log(spot / strike) + (rate + volatility**2 / 2) * years) / (volatility * root)
    d2 = d1 - volatility * root
    n1, n2 = ((1 + _erf(d * math.sqrt(0.5))) / 2 for d in (d1, d2))
    vega = spot * root * np.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    theta = -vega * volatility / (2 * years) - rate * kept * n2
    found = (spot * n1 - kept * n2, n1, vega, theta, years * kept * n2)
    return _known(*(repeated(each, OPTIONS) for each in found), dtype="float64")


def _hessian() -> Timed:
    x = point()
    diagonal, beside = np.zeros_like(x), -400 * x[:-1]
    diagonal[:-1] = 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    diagonal[1:] += 200
    return _known(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1), dtype="float64")


CASES: Cases = {
    **{each.case: {"numpy": functools.partial(_matmul, each)} for each in ALL_PRODUCTS},
    **{elementwise_case(name, size): _made(name, size) for name in FUNCTIONS for size in SIZES},
    "transpose_add": {"numpy": lambda: calling(lambda x: np.add(x.T, 1, order="C"), matrix())},
    "norm_gelu": {"numpy": lambda: calling(norm_gelu, *norm_data())},
    "cross_entropy": {"numpy": lambda: calling(cross_entropy, *logits_data())},
    "residual": {REFERENCE: functools.partial(_residual, False)},
    "residual_gradients": {REFERENCE: functools.partial(_residual, True)},
    "pointwise": {REFERENCE: functools.partial(_pointwise, False)},
    "pointwise_gradients": {REFERENCE: functools.partial(_pointwise, True)},
    "black_scholes": {REFERENCE: _black_scholes},
    "hessian": {REFERENCE: _hessian},
}
