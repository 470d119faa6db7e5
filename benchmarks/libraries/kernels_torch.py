"""The kernels in PyTorch, eager and compiled."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.libraries import Cases, Timed, calling
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
from benchmarks.libraries.threads import THREADS

torch.set_num_threads(THREADS)


def _called(function: Callable[..., Any], compiled: bool, *given: Any) -> Timed:
    if compiled:
        # Else the same lines with other shapes would be taken for one function whose shapes change.
        torch._dynamo.reset()
        function = torch.compile(function, dynamic=False)
    return calling(function, *map(torch.from_numpy, given))


def _matmul(product: Product) -> Timed:
    return _called((lambda a, b: a.T @ b) if product.transposed else torch.mm, False, *factors(product))


def _elementwise(function: str, size: int, compiled: bool) -> Timed:
    f = F.gelu if function == "gelu" else getattr(torch, function)
    return _called((lambda x: f(x)) if compiled else f, compiled, repeated(arguments(function), size))


def _transpose_add(compiled: bool) -> Timed:
    return _called(lambda x: (x.T + 1).contiguous(), compiled, matrix())


def _norm_gelu(compiled: bool) -> Timed:
    def forward(x: Any, gamma: Any, beta: Any) -> Any:
        return F.gelu(F.layer_norm(x, (x.shape[-1],), gamma, beta, EPSILON), approximate="tanh")

    def f(x: Any, gamma: Any, beta: Any, cotangent: Any) -> Any:
        if compiled:
            y, backward = torch.func.vjp(forward, x, gamma, beta)
            return y, backward(cotangent)
        given = [each.detach().requires_grad_() for each in (x, gamma, beta)]
        y = forward(*given)
        return y, torch.autograd.grad(y, given, cotangent)

    return _called(f, compiled, *norm_data())


def _cross_entropy(compiled: bool) -> Timed:
    def f(logits: Any, labels: Any) -> Any:
        if compiled:
            gradient, loss = torch.func.grad_and_value(F.cross_entropy)(logits, labels)
            return loss, gradient
        logits = logits.detach().requires_grad_()
        loss = F.cross_entropy(logits, labels)
        return loss, torch.autograd.grad(loss, logits)

    return _called(f, compiled, *logits_data())


def _layer(x: Any, kernel: Any, bias: Any) -> Any:
    """Channels come last in memory and second in the shape, PyTorch's `channels_last`."""
    y = F.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), bias, padding=kernel.shape[0] // 2)
    return y.permute(0, 2, 3, 1)


def _residual(x: Any, kernel1: Any, bias1: Any, kernel2: Any, bias2: Any) -> Any:
    return torch.relu(x + _layer(torch.relu(_layer(x, kernel1, bias1)), kernel2, bias2))


def _pointwise(x: Any, kernel: Any, bias: Any) -> Any:
    return torch.relu(_layer(x, kernel, bias))


def _layers(layers: Callable[..., Any], data: Callable[[], list[Any]], gradients: bool, compiled: bool) -> Timed:
    """The layers, or they and their gradients for the cotangent, which is the last of the data."""

    def both(*given: Any) -> Any:
        *inputs, cotangent = given
        if compiled:
            y, backward = torch.func.vjp(layers, *inputs)
            return y, backward(cotangent)
        inputs = [each.detach().requires_grad_() for each in inputs]
        y = layers(*inputs)
        return y, torch.autograd.grad(y, inputs, cotangent)

    return _called(both, compiled, *data()) if gradients else _called(layers, compiled, *data()[:-1])


def _black_scholes(compiled: bool) -> Timed:
    def normal(x: Any) -> Any:
        return 0.5 * (1.0 + torch.erf(x * math.sqrt(0.5)))

    def total(*given: Any) -> Any:
        spot, years, rate, volatility, strike = given
        spread = volatility * torch.sqrt(years)
        d1 = (torch.log(spot / strike) + (rate + 0.5 * volatility * volatility) * years) / spread
        price = spot * normal(d1) - strike * torch.exp(-rate * years) * normal(d1 - spread)
        return price.sum(), price

    def f(spot: Any, strike: Any, years: Any, rate: Any, volatility: Any) -> Any:
        if compiled:
            greeks = torch.func.grad(total, argnums=(0, 1, 2, 3), has_aux=True)
            (delta, by_years, rho, vega), price = greeks(spot, years, rate, volatility, strike)
        else:
            given = [each.detach().requires_grad_() for each in (spot, years, rate, volatility)]
            sum, price = total(*given, strike)
            delta, by_years, rho, vega = torch.autograd.grad(sum, given)
        return price, delta, vega, -by_years, rho

    return _called(f, compiled, *(repeated(each, OPTIONS) for each in option_data()))


def _hessian(compiled: bool) -> Timed:
    def f(x: Any) -> Any:
        return torch.sum(100.0 * torch.square(x[1:] - torch.square(x[:-1])) + torch.square(1.0 - x[:-1]))

    return _called(torch.func.hessian(f), compiled, point())


def _both(make: Callable[..., Timed]) -> dict[str, Callable[[], Timed]]:
    return {"torch": functools.partial(make, compiled=False), "torch.compile": functools.partial(make, compiled=True)}


CASES: Cases = {
    # What the compiler makes of a product is a call of the same library.
    **{each.case: {"torch": functools.partial(_matmul, each)} for each in ALL_PRODUCTS},
    **{
        elementwise_case(name, size): _both(functools.partial(_elementwise, name, size)) for name in FUNCTIONS for size in SIZES
    },
    "transpose_add": _both(_transpose_add),
    "norm_gelu": _both(_norm_gelu),
    "cross_entropy": _both(_cross_entropy),
    "residual": _both(functools.partial(_layers, _residual, block_data, False)),
    "residual_gradients": _both(functools.partial(_layers, _residual, block_data, True)),
    "pointwise": _both(functools.partial(_layers, _pointwise, pointwise_data, False)),
    "pointwise_gradients": _both(functools.partial(_layers, _pointwise, pointwise_data, True)),
    "black_scholes": _both(_black_scholes),
    "hessian": _both(_hessian),
}
