"""Convolution and pooling: TensorFlow's functions against loops in NumPy, eager, compiled and differentiated."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from machines import change_machine, fits_host, use_target

import tracejit as tj
from tracejit import ops, passes
from tracejit.errors import DtypeError, InvalidArgumentError
from tracejit.ir import Graph, interpret, make
from tracejit.ir.types import array_type, float32, float64
from tracejit.llvm.plan.contraction import Axis, choose_tile, split_depth
from tracejit.llvm.target import AVX2, AVX512, NEON, SSE, Target
from tracejit.runtime.compiled_function import CompiledFunction, run_graph

# Sums of up to 600 products of numbers below 1 in another order: some 100 ULP of the largest result.
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}


def assert_near(found: Any, expected: Any, where: object = "") -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), where
    scale = float(np.max(np.abs(expected), initial=1.0))
    bound = TOLERANCE[expected.dtype.name] * scale if expected.dtype.kind == "f" else 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound, err_msg=str(where))


def same_sides(size: int, extent: int, stride: int) -> tuple[int, int]:
    """What TensorFlow adds on both sides: the odd one behind."""
    missing = max((-(-size // stride) - 1) * stride + extent - size, 0)
    return missing // 2, missing - missing // 2


def by_loops(x: np.ndarray, w: np.ndarray, strides: Any, sides: Any, dilations: Any, groups: int = 1) -> np.ndarray:
    """The convolution, a place and a tap at a time."""
    kh, kw, channels, features = w.shape
    padded = np.pad(x.astype(np.float64), ((0, 0), *sides, (0, 0)))
    reach = [(size - 1) * dilation + 1 for size, dilation in zip((kh, kw), dilations, strict=True)]
    oh, ow = ((padded.shape[1 + a] - reach[a]) // strides[a] + 1 for a in (0, 1))
    result = np.zeros((x.shape[0], oh, ow, features))
    each = features // groups
    for p, q, i, j, group in itertools.product(range(oh), range(ow), range(kh), range(kw), range(groups)):
        at = padded[:, p * strides[0] + i * dilations[0], q * strides[1] + j * dilations[1]]
        part = slice(group * each, (group + 1) * each)
        result[:, p, q, part] += at[:, group * channels : (group + 1) * channels] @ w[i, j, :, part].astype(np.float64)
    return result.astype(x.dtype)


def both(function: Any, *arrays: np.ndarray) -> list[np.ndarray]:
    """What `function` gives, eager and compiled, which have to agree."""
    tensors = [tj.constant(array) for array in arrays]
    eager, compiled = function(*tensors), tj.function(function)(*tensors)
    eager, compiled = (list(each) if isinstance(each, (list, tuple)) else [each] for each in (eager, compiled))
    for one, other in zip(eager, compiled, strict=True):
        assert_near(other.numpy(), one.numpy())
    return [each.numpy() for each in compiled]


def with_gradients(function: Any) -> Any:
    """A function that gives what `function` does and the gradients of the sum of its squares."""

    def run(*tensors: Any) -> list[Any]:
        with tj.GradientTape() as tape:
            tape.watch(tensors)
            y = function(*tensors)
            total = tj.reduce_sum(y * y)
        return [y, *tape.gradient(total, list(tensors))]

    return run


# -- conv2d

SIZES = [
    ((1, 1, 1, 1), (1, 1), 1), ((2, 5, 6, 3), (3, 3), 4), ((1, 7, 7, 1), (3, 3), 16), ((2, 4, 15, 16), (3, 3), 17),
    ((3, 8, 8, 5), (1, 1), 33), ((1, 9, 4, 2), (2, 3), 15), ((2, 6, 6, 17), (2, 2), 1), ((0, 5, 5, 2), (3, 3), 3),
    ((2, 5, 5, 64), (3, 3), 40),
]  # fmt: skip


@pytest.mark.thin(5)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("padding", ["SAME", "VALID", [[0, 0], [1, 2], [0, 3], [0, 0]]], ids=str)
@pytest.mark.parametrize(("shape", "window", "features"), SIZES, ids=str)
def test_conv2d(shape: Any, window: Any, features: int, padding: Any, dtype: str, rng: np.random.Generator) -> None:
    for strides, dilations in (((1, 1), (1, 1)), ((2, 1), (1, 1)), ((3, 2), (1, 1)), ((1, 1), (2, 3)), ((2, 1), (1, 2))):
        reach = [(size - 1) * dilation + 1 for size, dilation in zip(window, dilations, strict=True)]
        if padding == "VALID" and (reach[0] > shape[1] or reach[1] > shape[2]):
            continue
        x = rng.uniform(-1, 1, shape).astype(dtype)
        w = rng.uniform(-1, 1, (*window, shape[3], features)).astype(dtype)
        if padding == "SAME":
            sides = [same_sides(*each) for each in zip(shape[1:3], reach, strides, strict=True)]
        else:
            sides = [(0, 0), (0, 0)] if padding == "VALID" else padding[1:3]
        if any(size + sum(side) < extent for size, side, extent in zip(shape[1:3], sides, reach, strict=True)):
            continue
        found = both(with_gradients(lambda x, w: tj.nn.conv2d(x, w, strides, padding, dilations=dilations)), x, w)  # noqa: B023
        assert_near(found[0], by_loops(x, w, strides, sides, dilations), (strides, dilations))


def test_strides_and_dilations_in_all_forms(rng: np.random.Generator) -> None:
    x, w = (tj.constant(rng.uniform(-1, 1, shape)) for shape in ((1, 7, 8, 2), (2, 3, 2, 3)))
    expected = tj.nn.conv2d(x, w, [1, 2, 2, 1], "valid").numpy()
    for strides in (2, [2], (2, 2)):
        assert_near(tj.nn.conv2d(x, w, strides, "VALID", dilations=1).numpy(), expected)
    expected = tj.nn.conv2d(x, w, 1, "SAME", dilations=[1, 2, 1, 1]).numpy()
    assert_near(tj.nn.conv2d(x, w, 1, "SAME", dilations=(2, 1)).numpy(), expected)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_groups_of_channels(padding: str, rng: np.random.Generator) -> None:
    x, w = rng.uniform(-1, 1, (2, 6, 5, 6)), rng.uniform(-1, 1, (3, 2, 2, 12))
    sides = [same_sides(6, 3, 2), same_sides(5, 2, 1)] if padding == "SAME" else [(0, 0), (0, 0)]
    found = both(with_gradients(lambda x, w: tj.nn.conv2d(x, w, (2, 1), padding)), x, w)
    assert_near(found[0], by_loops(x, w, (2, 1), sides, (1, 1), groups=3))


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("channels", [1, 3, 16, 33])
def test_depthwise_conv2d(channels: int, multiplier: int, rng: np.random.Generator) -> None:
    x = rng.uniform(-1, 1, (2, 7, 6, channels)).astype(np.float32)
    w = rng.uniform(-1, 1, (3, 3, channels, multiplier)).astype(np.float32)
    for strides, dilations in (([1, 1, 1, 1], None), ([1, 2, 2, 1], None), ([1, 1, 1, 1], [2, 1])):
        function = with_gradients(lambda x, w: tj.nn.depthwise_conv2d(x, w, strides, "SAME", dilations=dilations))  # noqa: B023
        found = both(function, x, w)
        reach = [2 * each + 1 for each in dilations or (1, 1)]
        sides = [same_sides(size, *rest) for size, *rest in zip((7, 6), reach, strides[1:3], strict=True)]
        groups = w.reshape(3, 3, 1, channels * multiplier)
        assert_near(found[0], by_loops(x, groups, strides[1:3], sides, dilations or (1, 1), groups=channels))


@pytest.mark.parametrize("window", [(1, 1), (2, 2), (3, 3), (4, 1)], ids=str)
@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_conv2d_transpose_is_the_gradient(window: Any, strides: int, padding: str, rng: np.random.Generator) -> None:
    x, w = rng.uniform(-1, 1, (2, 7, 6, 3)), rng.uniform(-1, 1, (*window, 3, 4))
    ct = rng.uniform(-1, 1, tj.nn.conv2d(x, w, strides, padding).shape)

    def gradient(x: Any, w: Any, ct: Any) -> Any:
        with tj.GradientTape() as tape:
            tape.watch(x)
            y = tj.nn.conv2d(x, w, strides, padding)
        return tape.gradient(y, x, output_gradients=ct)

    def transposed(w: Any, ct: Any) -> Any:
        return tj.nn.conv2d_transpose(ct, w, [2, 7, 6, 3], strides, padding)

    # The gradient by its definition: each place's filters, times its cotangent, where it read them.
    expected = np.zeros((2, 7 + 8, 6 + 8, 3))
    sides = [
        same_sides(size, extent, strides)[0] if padding == "SAME" else 0 for size, extent in zip((7, 6), window, strict=True)
    ]
    for p, q, i, j in itertools.product(*map(range, ct.shape[1:3]), *map(range, window)):
        expected[:, 4 + p * strides + i - sides[0], 4 + q * strides + j - sides[1]] += ct[:, p, q] @ w[i, j].T
    expected = expected[:, 4:11, 4:10]
    assert_near(both(gradient, x, w, ct)[0], expected)
    assert_near(both(with_gradients(transposed), w, ct)[0], expected)


def test_nchw_is_nhwc_transposed(rng: np.random.Generator) -> None:
    x, w, depthwise = (rng.uniform(-1, 1, shape) for shape in ((2, 6, 5, 4), (3, 3, 4, 5), (3, 2, 4, 2)))
    turned = x.transpose(0, 3, 1, 2)
    for name, arguments, kwargs, turned_kwargs in (
        ("conv2d", [w, 2, "SAME"], {}, {}),
        ("conv2d", [w], {"strides": [1, 2, 1, 1], "padding": [[0, 0], [1, 0], [2, 1], [0, 0]]},
         {"strides": [1, 1, 2, 1], "padding": [[0, 0], [0, 0], [1, 0], [2, 1]]}),
        ("depthwise_conv2d", [depthwise, [1, 1, 1, 1], "VALID"], {}, {}),
        ("max_pool2d", [2, 2, "SAME"], {}, {}),
        ("max_pool", [[1, 2, 1, 1], 1, "SAME"], {}, {"ksize": [1, 1, 2, 1]}),
        ("avg_pool2d", [(2, 3), 2, "SAME"], {}, {}),
    ):  # fmt: skip
        function = getattr(tj.nn, name)
        expected = both(with_gradients(lambda x: function(x, *arguments, **kwargs)), x)  # noqa: B023
        if "ksize" in turned_kwargs:
            arguments = arguments[1:]
            turned_kwargs = {**turned_kwargs, "strides": arguments[0], "padding": arguments[1]}
            arguments = []
        found = both(with_gradients(lambda x: function(x, *arguments, **turned_kwargs, data_format="NCHW")), turned)  # noqa: B023
        for one, other in zip(found, expected, strict=True):
            assert_near(one, other.transpose(0, 3, 1, 2), name)
    back = tj.nn.conv2d_transpose(turned, w.transpose(0, 1, 3, 2), [2, 5, 12, 10], 2, data_format="NCHW").numpy()
    assert_near(back, tj.nn.conv2d_transpose(x, w.transpose(0, 1, 3, 2), [2, 12, 10, 5], 2).numpy().transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("window", "strides"), [((2, 2), 2), ((3, 2), (3, 2)), ((6, 4), 1), ((1, 1), (2, 3)), ((1, 4), (1, 3))]
)
def test_windows_next_to_each_other(window: Any, strides: Any, rng: np.random.Generator) -> None:
    """They are products of matrices, and sums; so are windows that hold all of an axis, and those of one element."""
    x, w = rng.uniform(-1, 1, (2, 6, 4, 3)), rng.uniform(-1, 1, (*window, 3, 5))
    steps = (strides, strides) if isinstance(strides, int) else strides
    function = with_gradients(lambda x, w: tj.nn.conv2d(x, w, strides, "VALID"))
    found = both(function, x, w)
    assert_near(found[0], by_loops(x, w, steps, [(0, 0)] * 2, (1, 1)))
    assert all(node.op is not ops.convolution for node in tj.function(function).graph(tj.constant(x), tj.constant(w)).nodes)
    if window != (1, 1):
        (found_mean, _) = both(with_gradients(lambda x: tj.nn.avg_pool2d(x, window, strides, "VALID")), x)
        assert_near(found_mean, pooled(x, window, steps, [(0, 0)] * 2, np.mean))
    # The gradient of the sum of squares, against one more loop.
    ct = 2 * found[0]
    expected = np.zeros_like(x)
    for p, q, i, j in itertools.product(*map(range, ct.shape[1:3]), *map(range, window)):
        expected[:, p * steps[0] + i, q * steps[1] + j] += ct[:, p, q] @ w[i, j].T
    assert_near(found[1], expected)


def test_bias_of_channels_first(rng: np.random.Generator) -> None:
    x, bias = rng.uniform(-1, 1, (2, 3, 4, 5)), rng.uniform(-1, 1, 3)
    (found,) = both(lambda x, bias: tj.nn.bias_add(x, bias, data_format="NCHW"), x, bias)
    assert_near(found, x + bias[:, None, None])
    assert_near(both(tj.nn.bias_add, x.transpose(0, 2, 3, 1), bias)[0], (x + bias[:, None, None]).transpose(0, 2, 3, 1))
    with pytest.raises(InvalidArgumentError, match="the bias needs the size of axis 1"):
        tj.nn.bias_add(x, np.zeros(5), data_format="NCHW")


def test_integers() -> None:
    x, w = np.arange(32, dtype=np.int32).reshape(1, 4, 4, 2), np.arange(-8, 8, dtype=np.int32).reshape(2, 2, 2, 2)
    assert_near(both(lambda x, w: tj.nn.conv2d(x, w, 1, "VALID"), x, w)[0], by_loops(x, w, (1, 1), [(0, 0)] * 2, (1, 1)))


def test_a_network_of_all_trains_as_its_eager_self(rng: np.random.Generator) -> None:
    shapes = [(3, 3, 1, 4), (3, 3, 4, 2), (2, 2, 8, 5), (4 * 4 * 5, 3)]
    x, labels = rng.uniform(-1, 1, (4, 9, 9, 1)), np.array([0, 2, 1, 1])
    initial = [rng.uniform(-0.5, 0.5, shape) for shape in shapes]

    def losses(wrap: Any) -> list[float]:
        first, deep, strided, dense = variables = [tj.Variable(array) for array in initial]

        def step(x: Any, labels: Any) -> Any:
            with tj.GradientTape() as tape:
                h = tj.nn.relu(tj.nn.conv2d(x, first, 1, "SAME"))
                h = tj.nn.max_pool2d(tj.nn.depthwise_conv2d(h, deep, [1, 1, 1, 1], "SAME"), 3, 2, "SAME")
                h = tj.nn.avg_pool2d(tj.nn.conv2d(h, strided, 1, "VALID"), 2, 1, "SAME")
                logits = tj.reshape(h, [4, -1]) @ dense
                loss = tj.reduce_mean(tj.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
            for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
                variable.assign_sub(0.1 * gradient)
            return loss

        wrapped = wrap(step)
        return [float(wrapped(tj.constant(x), tj.constant(labels))) for _ in range(5)]

    eager, compiled = losses(lambda step: step), losses(tj.function)
    np.testing.assert_allclose(compiled, eager, rtol=1e-10)
    assert eager[-1] < eager[0]


# -- pooling


def pooled(x: np.ndarray, window: Any, strides: Any, sides: Any, reduce: Any) -> np.ndarray:
    """`reduce` of the elements of each window that lie in x."""
    n, height, width, channels = x.shape
    oh, ow = ((size + sum(side) - extent) // stride + 1
              for size, side, extent, stride in zip((height, width), sides, window, strides, strict=True))  # fmt: skip
    result = np.zeros((n, oh, ow, channels), x.dtype)
    for p, q in itertools.product(range(oh), range(ow)):
        top, left = p * strides[0] - sides[0][0], q * strides[1] - sides[1][0]
        part = x[:, max(top, 0) : max(top + window[0], 0), max(left, 0) : max(left + window[1], 0)]
        result[:, p, q] = reduce(part, axis=(1, 2))
    return result


@pytest.mark.thin(7)
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("channels", [1, 3, 16, 17])
@pytest.mark.parametrize("window", [(1, 1), (2, 2), (3, 2), (4, 4)], ids=str)
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 1)], ids=str)
def test_pooling(window: Any, strides: Any, channels: int, padding: str, rng: np.random.Generator) -> None:
    x = rng.uniform(-1, 1, (2, 7, 6, channels)).astype(np.float32)
    sides = [(0, 0), (0, 0)]
    if padding == "SAME":
        sides = [same_sides(*each) for each in zip((7, 6), window, strides, strict=True)]
    for function, reduce in ((tj.nn.max_pool2d, np.max), (tj.nn.avg_pool2d, np.mean)):
        found = both(with_gradients(lambda x: function(x, window, strides, padding)), x)  # noqa: B023
        assert_near(found[0], pooled(x, window, strides, sides, reduce))


def test_explicit_padding_of_max_pool_never_wins() -> None:
    for dtype in (np.float32, np.int32):
        x = -np.arange(1, 10, dtype=dtype).reshape(1, 3, 3, 1)
        (found,) = both(lambda x: tj.nn.max_pool2d(x, 2, 2, [[0, 0], [1, 0], [0, 1], [0, 0]]), x)
        assert_near(found, np.array([-1, -3, -4, -6], dtype).reshape(1, 2, 2, 1))


@pytest.mark.parametrize(("window", "strides"), [((2, 2), (2, 2)), ((3, 3), (1, 1)), ((2, 3), (1, 2)), ((2, 2), (3, 3))])
def test_the_first_maximum_in_row_major_order_has_the_gradient(window: Any, strides: Any, rng: np.random.Generator) -> None:
    x = rng.integers(0, 3, (2, 6, 7, 5)).astype(np.float64)  # nearly every window has several
    sides = [(0, 0), (0, 0)]
    ct = rng.uniform(-1, 1, pooled(x, window, strides, sides, np.max).shape)

    def gradient(x: Any, ct: Any) -> Any:
        with tj.GradientTape() as tape:
            tape.watch(x)
            y = tj.nn.max_pool2d(x, window, strides, "VALID")
        return tape.gradient(y, x, output_gradients=ct)

    expected = np.zeros_like(x)
    for n, p, q, c in np.ndindex(ct.shape):
        top, left = p * strides[0], q * strides[1]
        part = x[n, top : top + window[0], left : left + window[1], c]
        i, j = np.unravel_index(np.argmax(part), part.shape)
        expected[n, top + i, left + j, c] += ct[n, p, q, c]
    assert_near(both(gradient, x, ct)[0], expected)


# -- what is refused

IMAGE, FILTERS = np.zeros((1, 4, 4, 3), np.float32), np.zeros((2, 2, 3, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tj.nn.conv2d(IMAGE[0], FILTERS, 1, "SAME"), InvalidArgumentError, "the input needs 4 axes"),
        (lambda: tj.nn.conv2d(IMAGE, FILTERS[0], 1, "SAME"), InvalidArgumentError, "the filter needs 4 axes"),
        (lambda: tj.nn.conv2d(tj.constant(IMAGE), tj.constant(FILTERS, tj.float64), 1, "SAME"), DtypeError, "must have one dtype"),
        (lambda: tj.nn.conv2d(IMAGE, FILTERS[:, :, :2], 1, "SAME"), InvalidArgumentError, "3 channels are no groups for filters of 2"),
        (lambda: tj.nn.conv2d(IMAGE, FILTERS, 1, "FULL"), ValueError, "padding='FULL' must be 'SAME'"),
        (lambda: tj.nn.conv2d(IMAGE, FILTERS, 1, [[0, 0], [1, 1]]), ValueError, "for each of the 4 axes"),
        (lambda: tj.nn.conv2d(IMAGE, FILTERS, 1, [[1, 0], [0, 0], [0, 0], [0, 0]]), ValueError, "batch and channels cannot"),
        (lambda: tj.nn.conv2d(IMAGE, FILTERS, 0, "SAME"), ValueError, "strides=0 must be 1, 2 or 4 positive numbers"),
        (lambda: tj.nn.conv2d(IMAGE, FILTERS, [2, 1, 1, 1], "SAME"), ValueError, "only 1 is supported for batch"),
        (lambda: tj.nn.conv2d(IMAGE, FILTERS, 1, "SAME", dilations=[1, 2, 3]), ValueError, "dilations="),
        (lambda: tj.nn.conv2d(IMAGE, FILTERS, 1, "SAME", data_format="CHWN"), ValueError, "only 'NHWC' and 'NCHW'"),
        (lambda: tj.nn.conv2d(IMAGE, FILTERS, 1, "VALID", dilations=4), InvalidArgumentError, "a window of .* does not fit into"),
        (lambda: tj.nn.depthwise_conv2d(IMAGE, FILTERS[:, :, :2], [1] * 4, "SAME"), InvalidArgumentError, "for 2 channels"),
        (lambda: tj.nn.conv2d_transpose(IMAGE, FILTERS, [1, 4, 4, 3], 1), InvalidArgumentError, "has not the shape"),
        (lambda: tj.nn.max_pool2d(IMAGE[0], 2, 2, "SAME"), InvalidArgumentError, "the input needs 4 axes"),
        (lambda: tj.nn.max_pool2d(IMAGE, 5, 1, "VALID"), InvalidArgumentError, "a window of"),
        (lambda: tj.nn.avg_pool(IMAGE, 2, 2, [[0, 0]] * 4), ValueError, "padding must be 'SAME' or 'VALID'"),
        (lambda: tj.nn.avg_pool2d(IMAGE.astype(np.int32), 2, 2, "SAME"), DtypeError, "not int32"),
    ],
)  # fmt: skip
def test_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# -- the kernel

TARGETS = [Target(SSE), Target(AVX2), Target(NEON)]


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("dtype", [float32, float64], ids=lambda dtype: dtype.name)
def test_for_other_targets(target: Target, dtype: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fits_host(target):
        pytest.skip("this machine has not what the target has")
    use_target(monkeypatch, target)
    for shape, window in (((2, 6, 19, 1, 3), (3, 3, 1, 3, 18)), ((1, 5, 9, 20, 1), (2, 3, 20, 1, 1))):
        arrays = [rng.uniform(-1, 1, each).astype(dtype.numpy) for each in (shape, window)]
        x, w = (make(ops.parameter, type=array_type(each), name=name) for each, name in zip(arrays, "xw", strict=True))
        graph = passes.run(Graph("g", [x, w], [ops.convolution(x, w, strides=(1, 2), dilations=(2, 1))]))
        assert_near(run_graph(CompiledFunction(graph), arrays)[0].value, interpret(graph, arrays)[0][0])


def test_the_tile_fits_into_the_registers() -> None:
    machines = (AVX2, AVX512)
    for machine, lanes, features, width, height in itertools.product(machines, (4, 8, 16), (1, 16, 40, 200), (7, 14), (1, 5)):
        lane = Axis(features, 0, 1, (1,))
        others = [Axis(height, 4 * width, 0, (width * features,)), Axis(width, 4, 0, (features,))]
        tile = choose_tile([*others, lane], [Axis(9, 4, 4 * features, (0,)), Axis(4, 1, features, (0,))], lanes, machine)
        rows = np.prod([count for _, count in tile.rows], dtype=int)
        assert rows * tile.vectors + tile.vectors + 1 < machine.registers
        assert tile.lane is lane or features == 1
        assert tile.vectors <= -(-tile.lane.size // tile.lanes)
        assert all(count <= axis.size for axis, count in tile.rows)


def test_the_sum_is_cut_where_its_filters_leave_the_cache() -> None:
    near, far = Axis(30, 1, 10, (0,)), Axis(50, 30, 300, (0,))
    assert split_depth([far, near], 2000) == ([], [far, near])
    assert split_depth([far, near], 500) == ([Axis(5, 300, 3000, (0,))], [Axis(10, 30, 300, (0,)), near])
    assert split_depth([far, near], 59) == ([far], [near])
    assert split_depth([far, near], 16) == ([far, Axis(2, 15, 150, (0,))], [Axis(15, 1, 10, (0,))])
    assert split_depth([Axis(101, 1, 1, (0,))], 64) == ([], [Axis(101, 1, 1, (0,))])  # a prime is not cut


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "swapped", "parts"),
    [
        ((6, 5, 9, 1, 8), (2, 3, 1, 8, 40), False, 1),
        ((1, 64, 64, 1, 8), (1, 1, 1, 8, 16), False, 1),  # one axis of positions, which is cut
        ((8, 20, 21, 1, 40), (19, 20, 1, 8, 33), True, 1),  # filters' gradients: more than one step of the sum
        ((8, 20, 21, 1, 70), (19, 20, 1, 8, 1), True, 1),
        ((9, 28, 28, 1, 1), (26, 26, 1, 9, 16), True, 13),
        ((1, 3, 3, 1, 5), (3, 3, 1, 5, 1000), False, 1),  # nothing but columns
        ((3, 12, 9, 1, 50), (3, 3, 1, 50, 1), False, 1),
        ((2, 9, 9, 33, 1), (3, 3, 33, 1, 1), False, 1),
    ],
    ids=str,
)
def test_threads_share_it(
    x_shape: Any, w_shape: Any, swapped: bool, parts: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bits, however many threads."""
    arrays = [rng.uniform(-1, 1, x_shape), rng.uniform(-1, 1, w_shape)]
    x, w = (make(ops.parameter, type=array_type(each), name=name) for each, name in zip(arrays, "xw", strict=True))
    turned = ops.transpose(x, permutation=(4, 1, 2, 3, 0)) if swapped else x
    graph = Graph("g", [x, w], [ops.convolution(turned, w, strides=(1, 1), dilations=(1, 1))])
    expected, _ = interpret(graph, arrays)
    assert_near(run_graph(CompiledFunction(graph), arrays)[0].value, expected[0])
    change_machine(monkeypatch, parallel_seconds=0.0)
    step, found = CompiledFunction(graph), []
    assert step.module.parallel
    assert [call.blocking.parts for call in step.plan.calls if call.product is not None] == [parts]
    for threads in (1, 2, 3):
        tj.config.threading.set_intra_op_parallelism_threads(threads)
        found.append(run_graph(step, arrays)[0].value)
        assert_near(found[-1], expected[0])
        np.testing.assert_array_equal(found[-1], found[0])
    tj.config.threading.set_intra_op_parallelism_threads(0)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "window"),
    [
        ((2, 7, 9, 5), (3, 3, 5, 40), (3, 3)),
        ((3, 4, 4, 33), (2, 3, 33, 1), (2, 3)),  # lanes along the sum
        ((1, 40, 1, 70), (3, 1, 70, 17), (3, 1)),  # rows along one axis only
        ((2, 6, 6, 16), (3, 3, 16, 16), (3, 3)),
    ],
    ids=str,
)
@pytest.mark.parametrize("l2", [1 << 20, 1 << 13])
def test_what_follows_works_on_its_tiles(
    x_shape: Any, w_shape: Any, window: Any, l2: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bits, however many threads, also where sums lie in memory until they are complete."""
    change_machine(monkeypatch, parallel_seconds=0.0, l2=l2)
    x, w = (rng.uniform(-1, 1, shape).astype(np.float32) for shape in (x_shape, w_shape))
    bias, other = rng.uniform(-1, 1, w_shape[3]).astype(np.float32), rng.uniform(-1, 1, (*x_shape[:3], w_shape[3]))

    def layer(x: Any, w: Any, bias: Any, other: Any) -> Any:
        y = tj.nn.conv2d(x, w, 1, "SAME") + bias
        return tj.nn.relu(y + tj.cast(other, tj.float32)), y > 0.0

    arrays = [tj.constant(each) for each in (x, w, bias, other.astype(np.float32))]
    expected = by_loops(x, w, (1, 1), [same_sides(*each, 1) for each in zip(x_shape[1:3], window, strict=True)], (1, 1)) + bias
    traced = tj.function(layer)
    (call,) = [call for call in traced.compiled(*arrays).plan.calls if call.product is not None]
    assert call.product is not call.node and call.parallel
    assert (call.blocking.sums is not None) == (l2 < 1 << 20 and not call.blocking.summed)
    found = []
    for threads in (1, 2, 3):
        tj.config.threading.set_intra_op_parallelism_threads(threads)
        found.append([each.numpy() for each in traced(*arrays)])
        assert_near(found[-1][0], np.maximum(expected + other.astype(np.float32), 0))
        np.testing.assert_array_equal(found[-1][0], found[0][0])
        np.testing.assert_array_equal(found[-1][1], found[0][1])
    tj.config.threading.set_intra_op_parallelism_threads(0)


def test_filters_are_copied_where_their_features_are_not_neighbours() -> None:
    x, w = (
        make(ops.parameter, type=array_type(np.zeros(shape, np.float32)), name="p")
        for shape in ((1, 5, 5, 1, 4), (3, 3, 1, 8, 4))
    )
    turned = ops.transpose(w, permutation=(0, 1, 2, 4, 3))
    steps = CompiledFunction(Graph("g", [x, w], [ops.convolution(x, turned, strides=(1, 1), dilations=(1, 1))])).plan.calls
    assert [step.node.op.name if step.node else "copy" for step in steps] == ["copy", "convolution"]


def test_a_padded_operand_s_gradient_is_a_convolution_of_its_size() -> None:
    @tj.function
    def gradient(x: Any, w: Any) -> Any:
        with tj.GradientTape() as tape:
            tape.watch(x)
            y = tj.nn.conv2d(x, w, 1, "SAME")
        return tape.gradient(y, x)

    graph = gradient.graph(tj.zeros([1, 8, 8, 2]), tj.zeros([3, 3, 2, 4]))
    assert [node.shape for node in graph.nodes if node.op is ops.convolution] == [(1, 8, 8, 1, 2)]


def test_a_piece_of_a_concatenation_is_not_written_where_its_tiles_do_not_fit(rng: np.random.Generator) -> None:
    """What a convolution's fusion writes lies as its tiles were planned for."""
    x, w, v = (rng.uniform(-1, 1, shape).astype(np.float32) for shape in ((2, 9, 40, 3), (3, 3, 3, 40), (3, 40)))

    def joined(x: Any, w: Any, v: Any) -> Any:
        y = tj.nn.relu(tj.nn.conv2d(x, w, 1, "SAME") + 1.0)
        z = tj.nn.relu(tj.reshape(tj.reshape(x, (-1, 3)) @ v, (2, 9, 40, 40)) + 1.0)
        return [
            tj.concat([y, z, x[..., :1]], axis=axis) if axis == 3 else tj.concat([y, z, y + z], axis=axis) for axis in range(4)
        ]

    both(joined, x, w, v)
