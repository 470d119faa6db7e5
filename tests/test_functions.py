"""The composed functions against NumPy, in float64 where a formula is compared."""

import itertools

import numpy as np
import pytest

import tracejit as tj

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4)) * 3
ERF = np.vectorize(__import__("math").erf)


def close(found, expected, rtol=1e-13):
    assert found.dtype == np.asarray(expected).dtype and found.shape == np.shape(expected)
    np.testing.assert_allclose(found.numpy(), expected, rtol=rtol, atol=1e-15)


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


# -- elementwise

SMALL = np.array([-3.0, -1.0, -0.5, 0.0, 0.25, 1.0, 4.0, 30.0])
UNARY = {
    "relu": (tj.nn.relu, lambda x: np.maximum(x, 0)),
    "relu6": (tj.nn.relu6, lambda x: np.clip(x, 0, 6)),
    "leaky_relu": (tj.nn.leaky_relu, lambda x: np.where(x > 0, x, 0.2 * x)),
    "leaky_relu_alpha": (lambda x: tj.nn.leaky_relu(x, alpha=0.5), lambda x: np.where(x > 0, x, 0.5 * x)),
    "elu": (tj.nn.elu, lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))),
    "softplus": (tj.nn.softplus, lambda x: np.logaddexp(0, x)),
    "log_sigmoid": (tj.math.log_sigmoid, lambda x: -np.logaddexp(0, -x)),
    "silu": (tj.nn.silu, lambda x: x / (1 + np.exp(-x))),
    "gelu": (tj.nn.gelu, lambda x: x * 0.5 * (1 + ERF(x / np.sqrt(2)))),
    "gelu_tanh": (
        lambda x: tj.nn.gelu(x, approximate=True),
        lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    ),
    "sigmoid": (tj.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "square": (tj.square, np.square),
    "reciprocal": (lambda x: tj.math.reciprocal(x + 0.1), lambda x: 1 / (x + 0.1)),
    "erf": (tj.erf, ERF),
    "clip": (lambda x: tj.clip_by_value(x, -1.0, 2.0), lambda x: np.clip(x, -1, 2)),
    "sign": (tj.sign, np.sign),
}


@pytest.mark.parametrize("name", UNARY)
def test_elementwise_functions(name):
    function, reference = UNARY[name]
    close(function(tj.constant(SMALL)), reference(SMALL), rtol=2e-15)
    assert function(tj.constant(SMALL.astype(np.float32))).dtype == tj.float32


def test_functions_do_not_overflow():
    big = tj.constant([-1000.0, 1000.0])
    assert tj.nn.softplus(big).numpy().tolist() == [0, 1000]
    assert tj.sigmoid(big).numpy().tolist() == [0, 1]
    assert tj.nn.softmax(big).numpy().tolist() == [0, 1]
    assert tj.nn.log_softmax(big).numpy().tolist() == [-2000, 0]
    assert float(tj.reduce_logsumexp(big)) == 1000
    assert tj.nn.sigmoid_cross_entropy_with_logits(tj.constant([0.0, 0.0]), big).numpy().tolist() == [0, 1000]


# -- reductions


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), [1], (-1, 0)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions(axis, keepdims):
    x = RNG.normal(size=(2, 3, 4))
    tensor, axes = tj.constant(x), tuple(axis) if isinstance(axis, list) else axis
    for function, reference in (
        (tj.reduce_sum, np.sum), (tj.reduce_mean, np.mean), (tj.reduce_max, np.max), (tj.reduce_min, np.min),
        (tj.reduce_prod, np.prod), (tj.reduce_variance, np.var), (tj.reduce_std, np.std),
        (tj.reduce_logsumexp, lambda x, a, keepdims: np.log(np.sum(np.exp(x), a, keepdims=keepdims))),
        (lambda x, a, keepdims: tj.norm(x, axis=a, keepdims=keepdims),
         lambda x, a, keepdims: np.sqrt(np.sum(x * x, a, keepdims=keepdims))),
    ):  # fmt: skip
        close(function(tensor, axis, keepdims=keepdims), reference(x, axes, keepdims=keepdims))
    for function, reference in ((tj.reduce_any, np.any), (tj.reduce_all, np.all)):
        found = function(tensor > 0.0, axis, keepdims=keepdims)
        np.testing.assert_array_equal(found, reference(x > 0, axes, keepdims=keepdims))


def test_reductions_of_nothing():
    empty = tj.zeros((0, 2))
    assert tj.reduce_sum(empty, 0).numpy().tolist() == [0, 0] and tj.reduce_prod(empty, 0).numpy().tolist() == [1, 1]
    assert (
        tj.reduce_max(empty, 0).numpy().tolist() == [-np.inf] * 2 and tj.reduce_min(empty, 0).numpy().tolist() == [np.inf] * 2
    )
    assert np.isnan(tj.reduce_mean(empty)) and not bool(tj.reduce_any(tj.zeros(0, tj.bool)))
    assert int(tj.reduce_max(tj.zeros(0, tj.int32))) == -(2**31)


def test_axis_may_be_an_array_or_a_tensor():
    x = np.arange(6).reshape(2, 3)
    for axis in (np.array([0]), np.int64(0), tj.constant(0), tj.constant([0]), (0,)):
        assert tj.reduce_sum(x, axis).numpy().tolist() == [3, 5, 7]
    with pytest.raises(TypeError):
        tj.reduce_sum(x, 0.5)


def test_variance_takes_floats():
    for function in (tj.reduce_variance, tj.reduce_std):
        with pytest.raises(tj.errors.DtypeError, match=r"reduce_\w+\(i32\[2\]\)"):
            function(tj.constant([1, 2]))


def test_logsumexp_of_infinities():
    assert float(tj.reduce_logsumexp([-np.inf, -np.inf])) == -np.inf
    assert float(tj.reduce_logsumexp([np.inf, 0.0])) == np.inf
    assert float(tj.reduce_logsumexp([-np.inf, 0.0])) == 0


def test_moments():
    mean, variance = tj.nn.moments(tj.constant(X), [0])
    close(mean, X.mean(0))
    close(variance, X.var(0))
    mean, variance = tj.nn.moments(tj.constant(X), [1], keepdims=True)
    close(mean, X.mean(1, keepdims=True))
    close(variance, X.var(1, keepdims=True))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_argmax_takes_the_first(axis):
    x = np.array([[1, 5, 5], [7, 0, 7]])
    np.testing.assert_array_equal(tj.argmax(x, axis), np.argmax(x, axis))
    np.testing.assert_array_equal(tj.argmin(x, axis), np.argmin(x, axis))
    np.testing.assert_array_equal(tj.argmax(x), np.argmax(x, 0))
    assert tj.argmin(x).dtype == tj.int64


# -- rearranging


def test_reshape_squeeze_expand_transpose():
    x = np.arange(6).reshape(1, 2, 3, 1)
    tensor = tj.constant(x)
    for shape in ([6], [3, 2], [-1], [2, -1], (1, 6, 1), tj.constant([3, 2]), np.array([6, 1])):
        np.testing.assert_array_equal(tj.reshape(tensor, shape), x.reshape(np.asarray(shape)))
    assert tj.reshape(tj.zeros((0, 3)), [3, 0]).shape == (3, 0) and tj.reshape([5], []).shape == ()
    for axis in (None, 0, -1, [0, 3]):
        assert tj.squeeze(tensor, axis).shape == np.squeeze(x, tuple(axis) if isinstance(axis, list) else axis).shape
    for axis in (0, 1, -1, -2):
        assert tj.expand_dims(tensor, axis).shape == np.expand_dims(x, axis).shape
    np.testing.assert_array_equal(tj.transpose(tensor), x.T)
    np.testing.assert_array_equal(tj.transpose(tensor, [2, 0, 3, 1]), x.transpose(2, 0, 3, 1))
    np.testing.assert_array_equal(tj.linalg.matrix_transpose(tensor), np.swapaxes(x, -1, -2))
    np.testing.assert_array_equal(tj.broadcast_to([1, 2, 3], [2, 3]), [[1, 2, 3]] * 2)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_concat_stack_unstack_split_reverse(axis):
    x, y = np.arange(12).reshape(2, 3, 2), np.arange(12, 24).reshape(2, 3, 2)
    np.testing.assert_array_equal(tj.concat([x, tj.constant(y), x], axis), np.concatenate([x, y, x], axis))
    np.testing.assert_array_equal(tj.stack([x, tj.constant(y)], axis), np.stack([x, y], axis))
    for found, expected in zip(tj.unstack(x, axis=axis), np.moveaxis(x, axis, 0), strict=True):
        np.testing.assert_array_equal(found, expected)
    size = x.shape[axis]
    for found, expected in zip(tj.split(x, size, axis), np.split(x, size, axis), strict=True):
        np.testing.assert_array_equal(found, expected)
    for sizes in ([1, size - 1], [-1, 1], [size, 0]):
        parts = tj.split(x, sizes, axis)
        np.testing.assert_array_equal(tj.concat(parts, axis), x)
        assert [part.shape[axis] for part in parts] == [size - 1 if each == -1 else each for each in sizes]
    np.testing.assert_array_equal(tj.reverse(x, [axis]), np.flip(x, axis))


def test_what_concat_stack_and_split_refuse():
    for function in (lambda: tj.concat([], 0), lambda: tj.add_n([])):
        with pytest.raises(ValueError, match="is empty"):
            function()
    for sizes in ([1, 1], [5], [-1, 4], 0):
        with pytest.raises(tj.errors.InvalidArgumentError):
            tj.split(tj.zeros(3), sizes)


def test_pad_and_tile():
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(tj.pad(x, [[1, 2], [0, 3]]), np.pad(x, [[1, 2], [0, 3]]))
    np.testing.assert_array_equal(
        tj.pad(x, tj.constant([[1, 0], [0, 1]]), constant_values=7), np.pad(x, [[1, 0], [0, 1]], constant_values=7)
    )
    assert tj.pad(tj.constant([1]), [[0, 1]], "constant", 5).numpy().tolist() == [1, 5]
    with pytest.raises(ValueError, match="mode='REFLECT'"):
        tj.pad(x, [[1, 1], [1, 1]], mode="REFLECT")
    with pytest.raises(tj.errors.InvalidArgumentError):
        tj.pad(x, [[1, 1]])
    with pytest.raises(tj.errors.DtypeError, match=r"constant_values: 1\.5 is a float"):
        tj.pad(tj.constant([1]), [[1, 1]], constant_values=1.5)
    for counts in ([2, 3], [1, 1], [0, 2]):
        np.testing.assert_array_equal(tj.tile(x, counts), np.tile(x, counts))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (0,)])
def test_gather(axis, shape):
    x = np.arange(24).reshape(2, 3, 4)
    indices = RNG.integers(0, x.shape[axis], shape)
    for dtype in (tj.int32, tj.int64):
        found = tj.gather(x, tj.cast(indices, dtype), axis=axis)
        np.testing.assert_array_equal(found, np.take(x, indices, axis))
    np.testing.assert_array_equal(tj.gather(x, [1, 0]), x[[1, 0]])


@pytest.mark.parametrize(("batch", "axis"), [(1, 1), (1, 2), (1, None), (2, 2), (2, None), (1, -1), (1, 3)])
@pytest.mark.parametrize("rest", [(), (3,), (2, 2)])
def test_gather_with_batch_dims(batch, axis, rest):
    x = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    along = (batch if axis is None else axis) % x.ndim
    indices = RNG.integers(0, x.shape[along], x.shape[:batch] + rest)
    rows = [np.take(x[place], indices[place], along - batch) for place in itertools.product(*map(range, x.shape[:batch]))]
    expected = np.stack(rows).reshape(x.shape[:batch] + rows[0].shape)
    np.testing.assert_array_equal(tj.gather(x, indices, axis=axis, batch_dims=batch), expected)


def test_what_gather_refuses():
    x = tj.zeros((2, 3))
    for bad in (3, -1):
        with pytest.raises(tj.errors.IndexOutOfRangeError, match=rf"index {bad} is not in \[0, 3\)"):
            tj.gather(x, [0, bad], axis=1)
        with pytest.raises(tj.errors.IndexOutOfRangeError, match=rf"index {bad} is not in \[0, 3\)"):
            tj.gather(x, [[0], [bad]], axis=1, batch_dims=1)
    with pytest.raises(tj.errors.InvalidArgumentError):
        tj.gather(x, [[0]], axis=1, batch_dims=1)
    with pytest.raises(tj.errors.DtypeError):
        tj.gather(x, [0.0])


def test_one_hot():
    found = tj.one_hot([[0, 2], [-1, 3]], 3)
    assert found.dtype == tj.float32
    assert found.numpy().tolist() == [[[1, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 0, 0]]]
    assert tj.one_hot(1, 2, on_value=5, off_value=-1, dtype=tj.int32).numpy().tolist() == [-1, 5]
    assert tj.one_hot(tj.constant([1], tj.int64), 2, dtype=tj.float64).numpy().tolist() == [[0, 1]]
    assert tj.one_hot([1], 2, True, False, dtype=tj.bool).numpy().tolist() == [[False, True]]
    assert tj.one_hot([0], 0).shape == (1, 0)


def test_where():
    x, y = np.arange(3.0), np.arange(6.0).reshape(2, 3)
    found = tj.where([[True], [False]], x, y)
    np.testing.assert_array_equal(found, np.where([[True], [False]], x, y))
    assert tj.where(tj.constant([1.0, -1.0]) > 0.0, 1.0, 0.0).numpy().tolist() == [1, 0]
    assert tj.where(True, tj.constant([1, 2]), 0).dtype == tj.int32


def test_add_n_and_squared_difference():
    assert tj.add_n([tj.constant([1.0]), [2.0], tj.Variable([3.0])]).numpy().tolist() == [6]
    assert tj.math.squared_difference([1.0, 5.0], 2.0).numpy().tolist() == [1, 9]


# -- matmul


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((2, 3), (3, 4)),
        ((5, 2, 3), (5, 3, 4)),
        ((2, 3), (5, 3, 4)),
        ((5, 1, 2, 3), (6, 3, 1)),
        ((0, 3), (3, 2)),
        ((2, 0), (0, 3)),
    ],
)
def test_matmul(first, second):
    a, b = RNG.normal(size=first), RNG.normal(size=second)
    close(tj.constant(a) @ tj.constant(b), a @ b)
    close(tj.matmul(np.swapaxes(a, -1, -2), b, transpose_a=True), a @ b)
    close(tj.matmul(a, np.swapaxes(b, -1, -2), transpose_b=True), a @ b)
    close(tj.matmul(np.swapaxes(a, -1, -2), np.swapaxes(b, -1, -2), True, True), a @ b)


def test_matmul_of_integers_and_what_it_refuses():
    assert tj.matmul([[1, 2]], [[3], [4]]).numpy().tolist() == [[11]]
    with pytest.raises(tj.errors.DtypeError):
        tj.matmul(tj.zeros((1, 1)), tj.zeros((1, 1), tj.float64))
    with pytest.raises(tj.errors.InvalidArgumentError, match="batch axes"):
        tj.matmul(tj.zeros((2, 1, 1)), tj.zeros((3, 1, 1)))


# -- softmax and losses


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax(axis):
    close(tj.nn.softmax(tj.constant(X), axis), softmax(X, axis))
    close(tj.nn.log_softmax(tj.constant(X), axis), np.log(softmax(X, axis)))


def test_cross_entropies():
    labels = softmax(RNG.normal(size=X.shape), 1)
    close(
        tj.nn.softmax_cross_entropy_with_logits(labels=labels, logits=tj.constant(X)),
        -(labels * np.log(softmax(X, 1))).sum(1),
    )
    close(tj.nn.softmax_cross_entropy_with_logits(labels, X, axis=0), -(labels * np.log(softmax(X, 0))).sum(0))
    index = np.array([3, 0, 2])
    expected = -np.log(softmax(X, 1))[np.arange(3), index]
    for dtype in (tj.int32, tj.int64):
        close(
            tj.nn.sparse_softmax_cross_entropy_with_logits(labels=tj.cast(index, dtype), logits=tj.constant(X)),
            expected,
        )
    close(tj.nn.sparse_softmax_cross_entropy_with_logits(index.reshape(1, 3), X[None]), expected[None])
    z = RNG.uniform(size=X.shape)
    p = 1 / (1 + np.exp(-X))
    close(
        tj.nn.sigmoid_cross_entropy_with_logits(labels=z, logits=X),
        -z * np.log(p) - (1 - z) * np.log(1 - p),
        rtol=1e-11,
    )


def test_gradients_of_the_cross_entropies():
    x, labels, index = tj.constant(X), softmax(RNG.normal(size=X.shape), 1), np.array([3, 0, 2])
    with tj.GradientTape(persistent=True) as tape:
        tape.watch(x)
        dense = tj.nn.softmax_cross_entropy_with_logits(labels, x)
        sparse = tj.nn.sparse_softmax_cross_entropy_with_logits(index, x)
        binary = tj.nn.sigmoid_cross_entropy_with_logits(labels, x)
        l2 = tj.nn.l2_loss(x)
    close(tape.gradient(dense, x), softmax(X, 1) - labels, rtol=1e-12)
    close(tape.gradient(sparse, x), softmax(X, 1) - np.eye(4)[index], rtol=1e-12)
    close(tape.gradient(binary, x), 1 / (1 + np.exp(-X)) - labels, rtol=1e-12)
    close(tape.gradient(l2, x), X)


def test_gradient_of_binary_cross_entropy_at_zero_is_the_limit():
    x = tj.constant([0.0])
    with tj.GradientTape() as tape:
        tape.watch(x)
        loss = tj.nn.sigmoid_cross_entropy_with_logits(tj.constant([1.0]), x)
    assert tape.gradient(loss, x).numpy().tolist() == [-0.5]


def test_what_the_losses_refuse():
    logits = tj.zeros((2, 3))
    sparse = tj.nn.sparse_softmax_cross_entropy_with_logits
    for bad in (3, -1):
        with pytest.raises(tj.errors.IndexOutOfRangeError, match=rf"label {bad} is not in \[0, 3\)"):
            sparse([0, bad], logits)
    with pytest.raises(tj.errors.InvalidArgumentError):
        sparse([0], logits)
    with pytest.raises(tj.errors.DtypeError):
        sparse(tj.constant([0.0, 1.0]), logits)
    with pytest.raises(tj.errors.InvalidArgumentError):
        tj.nn.sigmoid_cross_entropy_with_logits(tj.zeros(2), tj.zeros(3))
    with pytest.raises(tj.errors.DtypeError):
        tj.nn.softmax(tj.constant([1, 2]))


def test_l2_loss_and_bias_add():
    assert float(tj.nn.l2_loss(tj.constant([3.0, 4.0]))) == 12.5
    assert tj.nn.bias_add(tj.zeros((2, 2)), [1.0, 2.0]).numpy().tolist() == [[1, 2], [1, 2]]
    assert float(tj.norm([3.0, 4.0])) == 5
    with pytest.raises(ValueError, match="ord=1"):
        tj.norm([1.0], ord=1)


def test_atan2_names_y_first():
    y, x = tj.constant([1.0, 2.0]), tj.constant([3.0, -4.0])
    for angle in (tj.atan2(y=y, x=x), tj.atan2(y, x=x), tj.math.atan2(x=x, y=y), tj.function(lambda: tj.atan2(y=y, x=x))()):
        np.testing.assert_allclose(angle, np.arctan2([1.0, 2.0], [3.0, -4.0]), rtol=1e-6)


def test_a_mask_keeps_what_it_is_true_for():
    x = tj.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    for mask in (tj.constant([True, False, True]), np.array([True, False, True]), tj.Variable([True, False, True])):
        with tj.GradientTape() as tape:
            tape.watch(x)
            y = x[mask]
        assert y.numpy().tolist() == [[1, 2], [5, 6]]
        assert tape.gradient(y, x).numpy().tolist() == [[1, 1], [0, 0], [1, 1]]
    assert x[x > 2.0].numpy().tolist() == [3, 4, 5, 6]
    assert x[np.zeros(3, bool)].shape == (0, 2)
    with pytest.raises(tj.errors.InvalidArgumentError, match=r"a mask of the shape \[2\] does not fit \[3, 2\]"):
        x[tj.constant([True, False])]
    with pytest.raises(TypeError, match="must be int32 or int64"):
        x[:, tj.constant([True, False])]
    assert tj.function(lambda x: x[np.array([True, False, True])])(x).numpy().tolist() == [[1, 2], [5, 6]]
    with pytest.raises(tj.errors.TracingError, match="getitem needs the mask to be known while tracing"):
        tj.function(lambda x: x[x > 2.0])(x)


def test_where_without_values_gives_places():
    places = tj.where(tj.constant([[0, 2], [3, 0]]))
    assert places.dtype is tj.int64 and places.numpy().tolist() == [[0, 1], [1, 0]]
    assert tj.where([False, False]).shape == (0, 1)
    assert tj.function(lambda: tj.where(tj.constant([True, False, True])))().numpy().tolist() == [[0], [2]]
    with pytest.raises(tj.errors.TracingError, match="where needs the condition, without x and y, to be known while tracing"):
        tj.function(lambda x: tj.where(x > 1.0))(tj.constant([1.0, 2.0]))
    with pytest.raises(ValueError, match="x and y must both be given"):
        tj.where([True], [1.0])
    with pytest.raises(ValueError, match="a scalar has no places"):
        tj.where(True)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.uint32])
def test_arrays_of_other_integers_are_indices(dtype):
    index = np.array([2, 0], dtype)
    assert tj.gather([1.0, 2.0, 3.0], index).numpy().tolist() == [3, 1]
    assert tj.one_hot(index, 3).numpy().tolist() == [[0, 0, 1], [1, 0, 0]]


def test_a_float_that_float32_does_not_hold():
    for value in (1e40, [1.0, -1e40], 3.4028235677973366e38):
        with pytest.raises(tj.errors.InvalidArgumentError, match="does not fit into float32: say dtype"):
            tj.constant(value)
    assert tj.constant(float("inf")).numpy() == np.inf
    assert tj.constant(1e40, tj.float32).numpy() == np.inf
    assert tj.constant(1e40, tj.float64).numpy() == 1e40
    assert (tj.constant(1.0) * 1e40).numpy() == np.inf
