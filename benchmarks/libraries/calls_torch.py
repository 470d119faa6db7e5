"""The calls in PyTorch, eager and compiled."""

from __future__ import annotations

import functools
from typing import Any

import torch

from benchmarks.libraries import Cases, Timed
from benchmarks.libraries.data import RATE, points, three
from benchmarks.libraries.threads import THREADS

torch.set_num_threads(THREADS)


def _scaled(w: Any, x: Any, b: Any) -> Any:
    return w * x + b


def _arrays(compiled: bool) -> Timed:
    w, x, b = three()
    names = {"f": torch.compile(_scaled) if compiled else _scaled, "tensor": torch.from_numpy, "w": w, "x": x, "b": b}
    return Timed("r = f(tensor(w), tensor(x), tensor(b)).numpy()", names)


def _tensors(compiled: bool) -> Timed:
    w, x, b = (torch.from_numpy(array) for array in three())
    return Timed("r = f(w, x, b)", {"f": torch.compile(_scaled) if compiled else _scaled, "w": w, "x": x, "b": b})


def _loss(w: Any, b: Any, x: Any, y: Any) -> Any:
    return torch.mean(torch.square(w * x + b - y))


def _regression(compiled: bool) -> Timed:
    w, b = (torch.zeros((), requires_grad=not compiled) for _ in range(2))

    def step(x: Any, y: Any) -> Any:
        if compiled:
            (dw, db), loss = torch.func.grad_and_value(_loss, argnums=(0, 1))(w, b, x, y)
        else:
            loss = _loss(w, b, x, y)
            dw, db = torch.autograd.grad(loss, (w, b))
        with torch.no_grad():
            w.sub_(RATE * dw)
            b.sub_(RATE * db)
        return loss

    x, y = (torch.from_numpy(array) for array in points())
    return Timed("r = step(x, y)", {"step": torch.compile(step) if compiled else step, "x": x, "y": y})


CASES: Cases = {
    name: {"torch": functools.partial(make, False), "torch.compile": functools.partial(make, True)}
    for name, make in {"wxb_arrays": _arrays, "wxb_tensors": _tensors, "regression": _regression}.items()
}
