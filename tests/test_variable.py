"""Variables, eager: what they hold, how they are assigned, and what they refuse."""

import copy
import pickle

import numpy as np
import pytest

import tracejit as tj


def test_repr_str_format_and_names():
    assert repr(tj.Variable(3.0, name="w")) == "<tj.Variable 'w:0' shape=() dtype=float32, numpy=3.0>"
    vector = tj.Variable([1, 2], name="v")
    assert repr(vector) == "<tj.Variable 'v:0' shape=(2,) dtype=int32, numpy=array([1, 2], dtype=int32)>"
    assert f"{tj.Variable(2.5):.3f}" == "2.500" and f"{tj.Variable(2.5)}" == "2.5"
    assert tj.Variable(1.0, name="same").name == tj.Variable(1.0, name="same").name == "same:0"


def test_dtypes_of_initial_values():
    for value, dtype in (
        (3, tj.int32), (2**40, tj.int64), (3.0, tj.float32), (True, tj.bool), (np.int64(3), tj.int64),
        (np.array([1, 2]), tj.int64), (np.float64(3), tj.float64), ([1, 2], tj.int32),
    ):  # fmt: skip
        assert tj.Variable(value).dtype == dtype
    assert tj.Variable(3, dtype=tj.float64).dtype == tj.float64
    assert tj.Variable(lambda: 4.0).numpy() == 4.0


def test_attributes():
    v = tj.Variable([[1.0, 2.0]], trainable=False, name="v")
    assert (v.shape, v.ndim, v.trainable, len(v)) == ((1, 2), 2, False, 1)
    assert v.shape.as_list() == [1, 2] and v.shape.rank == 2 and v.shape.num_elements() == 2
    with pytest.raises(AttributeError):
        v.trainable = True


def test_initial_value_is_needed_and_its_shape_checked():
    with pytest.raises(ValueError, match="initial_value"):
        tj.Variable()
    with pytest.raises(ValueError, match="shape"):
        tj.Variable([1.0, 2.0], shape=(3,))


def test_arrays_are_copied_in_and_out():
    array = np.array([1.0, 2.0], np.float32)
    v = tj.Variable(array)
    array[0] = 50
    out = v.numpy()
    out[1] = 60
    np.asarray(v)
    assert v.numpy().tolist() == [1, 2]
    v.assign(array)
    array[0] = 70
    assert v.numpy().tolist() == [50, 2]


def test_assignments_chain():
    v = tj.Variable([1.0, 2.0])
    assert v.assign([3.0, 4.0]).assign_add([1.0, 1.0]).assign_sub([0.0, 5.0]).numpy().tolist() == [4, 0]
    assert v.numpy().tolist() == [4, 0]
    v.assign(v * 2.0)
    v.assign_add(v)
    assert v.numpy().tolist() == [16, 0]


def test_numbers_and_arrays_take_the_dtype():
    v = tj.Variable(1.0)
    v.assign(np.float64(2.5))
    assert (v.numpy(), v.numpy().dtype) == (2.5, np.float32)
    assert v.assign(3).dtype == tj.float32
    n = tj.Variable(1)
    n.assign(np.int64(7))
    n.assign_add(np.array(2))
    assert (int(n), n.dtype) == (9, tj.int32)


@pytest.mark.parametrize("method", ["assign", "assign_add", "assign_sub"])
def test_nothing_is_broadcast(method):
    v = tj.Variable([1.0, 2.0], name="v")
    for value in (1.0, [1.0], tj.constant(1.0), np.ones((2, 2))):
        with pytest.raises(
            tj.errors.InvalidArgumentError, match=method + r"\(f32\[.*\]\): .*'v:0' has the shape \(2,\)"
        ) as caught:
            getattr(v, method)(value)
        assert isinstance(caught.value, ValueError) and "test_variable.py:" in str(caught.value)
    assert v.numpy().tolist() == [1, 2]


@pytest.mark.parametrize("method", ["assign", "assign_add", "assign_sub"])
def test_another_dtype_is_refused(method):
    v = tj.Variable(1.0, name="v")
    with pytest.raises(tj.errors.DtypeError, match=method + r"\(f64\[\]\): the variable 'v:0' is float32") as caught:
        getattr(v, method)(tj.constant(1.0, tj.float64))
    assert isinstance(caught.value, TypeError) and "test_variable.py:" in str(caught.value)
    with pytest.raises(TypeError):
        getattr(tj.Variable(1), method)(1.5)
    with pytest.raises(TypeError):
        getattr(tj.Variable(1), method)(np.float64(1.5))
    assert float(v) == 1


def test_in_place_operators_say_what_to_call():
    v = tj.Variable(1.0)
    with pytest.raises(RuntimeError, match="assign_add"):
        v += 1.0
    with pytest.raises(RuntimeError, match="assign_sub"):
        v -= 1.0
    with pytest.raises(RuntimeError, match=r"variable\.assign"):
        v *= 2.0
    with pytest.raises(RuntimeError, match=r"variable\.assign"):
        v /= 2.0
    with pytest.raises(TypeError):
        v[0] = 1.0
    assert float(v) == 1


def test_hash_and_ref():
    v, w = tj.Variable(1.0), tj.Variable(1.0)
    with pytest.raises(TypeError, match="unhashable"):
        hash(v)
    assert v.ref() == v.ref() and v.ref() != w.ref() and len({v.ref(), v.ref(), w.ref()}) == 2
    assert v.ref().deref() is v


def test_arithmetic_and_indexing():
    v = tj.Variable([[1.0, 2.0], [3.0, 4.0]])
    assert (2.0 * v - 1 + v / 2.0).numpy().tolist() == [[1.5, 4], [6.5, 9]]
    assert v[0].numpy().tolist() == [1, 2] and v[:, -1].numpy().tolist() == [2, 4]
    assert (v @ v).numpy().tolist() == [[7, 10], [15, 22]]
    assert [row.numpy().tolist() for row in v] == [[1, 2], [3, 4]]
    assert (v == v).numpy().all() and not (v != v).numpy().any()
    assert bool(tj.Variable(1.0)) and float(tj.Variable(1.5)) == 1.5 and int(tj.Variable(3)) == 3
    assert isinstance(v + v, tj.Tensor) and not isinstance(v, tj.Tensor)


def test_a_variable_times_an_array_of_numpy():
    v = tj.Variable([1.0, 2.0])
    for found in (np.ones(2, np.float32) * v, v * np.ones(2)):
        assert isinstance(found, tj.Tensor) and found.dtype == tj.float32 and found.numpy().tolist() == [1, 2]


def test_deepcopy_and_pickle():
    v = tj.Variable([1.0, 2.0], trainable=False, name="v", dtype=tj.float64)
    for other in (copy.deepcopy(v), pickle.loads(pickle.dumps(v)), copy.deepcopy({"v": v})["v"]):
        assert other is not v and (other.name, other.trainable, other.dtype) == ("v:0", False, tj.float64)
        other.assign([5.0, 6.0])
        assert v.numpy().tolist() == [1, 2] and other.numpy().tolist() == [5, 6]
    shared = copy.deepcopy([v, v])
    assert shared[0] is shared[1]


def test_value_and_read_value_keep_what_was_read():
    v = tj.Variable(1.0)
    value, copied = v.value(), v.read_value()
    v.assign(2.0)
    assert (float(value), float(copied), float(v)) == (1.0, 1.0, 2.0)


def test_a_variable_made_from_a_variable_is_its_own():
    v = tj.Variable([1.0])
    w = tj.Variable(v)
    v.assign([2.0])
    assert w.numpy().tolist() == [1]


def test_the_initial_value_cuts_the_chain():
    v = tj.Variable(3.0)
    with tj.GradientTape() as tape:
        w = tj.Variable(v * v)
        z = w * w
    found = tape.gradient(z, [v, w])
    assert found[0] is None and float(found[1]) == 18


def test_convert_to_tensor():
    v = tj.Variable([1.0])
    assert tj.convert_to_tensor(v).numpy().tolist() == [1]
    assert tj.stack([v, v]).numpy().tolist() == tj.constant([v, v]).numpy().tolist() == [[1], [1]]
    assert tj.is_tensor(v) and not tj.is_tensor(np.ones(1))
    with pytest.raises(tj.errors.DtypeError, match=r"f32\[1\].*float64"):
        tj.convert_to_tensor(v, tj.float64)


def test_a_step_of_gradient_descent():
    w, b = tj.Variable(0.0), tj.Variable(0.0)
    x, y = tj.constant([1.0, 2.0, 3.0, 4.0]), tj.constant([5.0, 8.0, 11.0, 14.0])
    for _ in range(2000):
        with tj.GradientTape() as tape:
            loss = tj.reduce_mean(tj.square(y - (w * x + b)))
        dw, db = tape.gradient(loss, [w, b])
        w.assign_sub(0.05 * dw)
        b.assign_sub(0.05 * db)
    assert (float(w), float(b)) == (pytest.approx(3.0, abs=1e-4), pytest.approx(2.0, abs=1e-4))


@pytest.mark.parametrize("given", [np.ones((64, 64), np.float32), np.arange(4096, dtype=np.float64)], ids=["matrix", "vector"])
def test_a_variable_lies_where_a_register_begins_and_stays_there(given: np.ndarray) -> None:
    """It is written in place from the first call on, through Python and natively, and copied where someone else sees it."""
    v = tj.Variable(given)

    @tj.function
    def step() -> None:
        v.assign_add(tj.ones_like(v))

    places = set()
    for _ in range(6):
        step()
        places.add(v._tensor.value.__array_interface__["data"][0])
    assert len(places) == 1 and places.pop() % 64 == 0
    seen = v._tensor.value[1:]
    before = seen.copy()
    step()
    np.testing.assert_array_equal(seen, before)
    memory = v._tensor.value.base
    step()
    assert v._tensor.value.base is not memory
    np.testing.assert_array_equal(v.numpy(), given + 8)


@pytest.mark.parametrize("compiled", [False, True])
def test_an_update_that_is_not_read_gives_none(compiled):
    v = tj.Variable(1.0)

    def f():
        read = [v.assign(2.0) is v, v.assign_add(1.0) is v, v.assign_sub(1.0) is v]
        unread = [update(1.0, read_value=False) for update in (v.assign, v.assign_add, v.assign_sub)]
        assert read == [True] * 3 and unread == [None] * 3

    (tj.function(f) if compiled else f)()
    assert float(v) == 1
