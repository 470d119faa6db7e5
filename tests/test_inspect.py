"""What tj.inspect shows of a compiled function."""

from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj


def test_profile_times_each_kernel_and_changes_nothing() -> None:
    w = tj.Variable(np.ones((64, 32), np.float32))

    @tj.function
    def step(x: tj.Tensor) -> tj.Tensor:
        y = tj.nn.softmax(x @ w)
        w.assign_sub(0.1 * tj.matmul(x, y, transpose_a=True))
        return tj.reduce_sum(y)

    x = tj.ones([16, 64])
    found = tj.inspect.profile(step, x, runs=3)
    assert len(found.kernels) == len(step.compiled(x).plan.calls) >= 3
    assert abs(sum(kernel.share for kernel in found.kernels) - 1) < 1e-9
    assert 0 < found.seconds < 10
    assert abs(sum(kernel.seconds for kernel in found.kernels) - found.seconds) < 1e-9
    np.testing.assert_array_equal(w.numpy(), np.ones((64, 32), np.float32))
    first, *lines = str(found).splitlines()
    assert first.startswith("step: ") and len(lines) == len(found.kernels)
    assert any("matmul" in line and "test_inspect.py" in line for line in lines)
    assert found.kernels[0].bytes == 4 * (16 * 64 + 64 * 32 + 16 * 32)


def test_profile_of_a_step_that_fails() -> None:
    @tj.function
    def f(x: tj.Tensor, index: tj.Tensor) -> tj.Tensor:
        return tj.gather(x, index)

    with pytest.raises(tj.errors.IndexOutOfRangeError):
        tj.inspect.profile(f, tj.ones([3]), tj.constant([5]))


def test_profile_of_a_kernel_that_is_divided() -> None:
    f = tj.function(lambda x: (tj.exp(x) * 2.0, tj.reduce_sum(x)))
    x = tj.constant(np.linspace(-1, 1, 1 << 20, dtype=np.float32))
    found = tj.inspect.profile(f, x, runs=3)
    assert f.compiled(x).executable.parallel and len(found.kernels) >= 2
    assert all(kernel.seconds > 0 for kernel in found.kernels)
    np.testing.assert_allclose(f(x)[0].numpy(), np.exp(x.numpy()) * 2, rtol=1e-6)
