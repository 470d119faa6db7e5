"""GradientTape, custom_gradient and stop_gradient, eager: the semantics of TensorFlow, and where they are better."""

import threading

import numpy as np
import pytest

import tracejit as tj
from tracejit import ops

X = np.array([1.0, -2.0, 3.0], np.float32)


def gradient(function, *values, dtype=tj.float64):
    """The gradient of function(*values), as arrays; None where there is none."""
    sources = [tj.constant(value, dtype) for value in values]
    with tj.GradientTape() as tape:
        tape.watch(sources)
        target = function(*sources)
    found = [None if each is None else each.numpy() for each in tape.gradient(target, sources)]
    return found[0] if len(found) == 1 else found


# -- one gradient, or many


def test_square():
    x = tj.Variable(3.0)
    with tj.GradientTape() as tape:
        y = x**2
    found = tape.gradient(y, x)
    assert (float(found), found.dtype, found.shape) == (6.0, tj.float32, ())


def test_second_gradient_of_a_tape_that_is_not_persistent():
    x = tj.Variable(3.0)
    with tj.GradientTape() as tape:
        y = x * x
    tape.gradient(y, x)
    with pytest.raises(RuntimeError, match="A non-persistent GradientTape can only be used to compute one set of gradients"):
        tape.gradient(y, x)


def test_gradient_inside_of_the_context_consumes_the_tape():
    x = tj.Variable(3.0)
    with tj.GradientTape() as tape:
        y = x * x
        assert float(tape.gradient(y, x)) == 6
        z = x * x
    with pytest.raises(RuntimeError, match="non-persistent"):
        tape.gradient(z, x)


def test_persistent_tape_gives_many():
    x = tj.Variable(3.0)
    with tj.GradientTape(persistent=True) as tape:
        y = x * x
        z = y * y
    assert [float(tape.gradient(target, x)) for target in (z, y, z)] == [108.0, 6.0, 108.0]
    assert float(tape.gradient(z, y)) == 18


def test_persistent_gradient_inside_of_the_context_is_recorded():
    x = tj.Variable(3.0)
    with tj.GradientTape(persistent=True) as tape:
        y = x * x * x
        first = tape.gradient(y, x)
    assert (float(first), float(tape.gradient(first, x))) == (27.0, 18.0)


def test_gradient_of_a_tape_that_was_never_entered():
    with pytest.raises(RuntimeError, match="never entered"):
        tj.GradientTape().gradient(tj.constant(1.0), tj.constant(1.0))


# -- what is not connected


def test_unconnected_is_none_or_zeros():
    x, other = tj.Variable([1.0, 2.0]), tj.Variable([[1.0, 2.0, 3.0]])
    with tj.GradientTape(persistent=True) as tape:
        y = x * x
    assert tape.gradient(y, other) is None
    for zero in ("zero", tj.UnconnectedGradients.ZERO):
        found = tape.gradient(y, [other, x], unconnected_gradients=zero)
        assert found[0].numpy().tolist() == [[0, 0, 0]] and found[0].dtype == tj.float32
        assert found[1].numpy().tolist() == [2, 4]
    assert tape.gradient(y, other, unconnected_gradients="none") is None


def test_unconnected_integer_source_gives_integer_zeros():
    x = tj.constant([1, 2])
    with tj.GradientTape() as tape:
        tape.watch(x)
        y = tj.cast(x, tj.float32) * 2.0
    found = tape.gradient(y, x, unconnected_gradients="zero")
    assert found.dtype == tj.int32 and found.numpy().tolist() == [0, 0]


def test_unknown_value_for_unconnected():
    with tj.GradientTape() as tape:
        y = tj.constant(1.0)
    with pytest.raises(ValueError, match="Unknown value for unconnected_gradients: 'bogus'"):
        tape.gradient(y, y, unconnected_gradients="bogus")


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tj.cast(x, tj.int32),
        lambda x: tj.argmax(x),
        tj.round,
        tj.floor,
        lambda x: x > 0.0,
        lambda x: tj.cast(tj.cast(x, tj.int32), tj.float32),
        tj.stop_gradient,
    ],
)
def test_ops_without_gradient_give_none(function):
    assert gradient(function, X) is None


def test_integer_source_and_integer_target_give_none():
    x = tj.constant([1, 2, 3])
    with tj.GradientTape() as tape:
        tape.watch(x)
        y = x * x
    assert tape.gradient(y, x) is None


def test_sign_gives_connected_zeros():
    assert gradient(tj.sign, X).tolist() == [0, 0, 0]


# -- targets, sources, seeds


def test_target_that_is_no_tensor():
    x = tj.Variable(1.0)
    for target in (None, 3.0, "loss"):
        with tj.GradientTape() as tape:
            x * x
        with pytest.raises(TypeError, match="the target must be a tensor"):
            tape.gradient(target, x)


def test_source_that_is_no_tensor():
    x = tj.Variable(1.0)
    for source in (None, 3.0, [x, 2.0]):
        with tj.GradientTape() as tape:
            y = x * x
        with pytest.raises(TypeError, match="a source must be a tensor or a variable"):
            tape.gradient(y, source)


def test_target_that_is_the_source():
    x, v = tj.constant([1.0, 2.0]), tj.Variable(3.0)
    with tj.GradientTape(persistent=True) as tape:
        tape.watch(x)
        v * v
    assert tape.gradient(x, x).numpy().tolist() == [1, 1]
    assert float(tape.gradient(v, v)) == 1
    assert [float(each) for each in tape.gradient([v, v], [v, v])] == [2, 2]


def test_target_that_is_not_scalar_is_summed():
    assert gradient(lambda x: x * x, X).tolist() == [2, -4, 6]


def test_list_of_targets_is_summed():
    x = tj.Variable(3.0)
    with tj.GradientTape() as tape:
        targets = {"a": x * x, "b": [x * 2.0, tj.stack([x, x])]}
    assert float(tape.gradient(targets, x)) == 6 + 2 + 2


def test_structure_of_sources_is_mirrored():
    a, b, c = (tj.Variable(value) for value in (1.0, 2.0, 3.0))
    with tj.GradientTape() as tape:
        y = a * b
    found = tape.gradient(y, {"z": (a, [b]), "a": c})
    assert type(found) is dict and list(found) == ["z", "a"] and type(found["z"]) is tuple and type(found["z"][1]) is list
    assert (float(found["z"][0]), float(found["z"][1][0]), found["a"]) == (2.0, 1.0, None)


def test_output_gradients_seed():
    x = tj.constant(X)
    with tj.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
        z = 2.0 * x
    assert tape.gradient(y, x, output_gradients=tj.constant([1.0, 10.0, 100.0])).numpy().tolist() == [2, -40, 600]
    assert tape.gradient([y, z], x, output_gradients=[np.ones(3), None]).numpy().tolist() == [2, -4, 6]


def test_output_gradients_are_checked():
    x = tj.constant(X)
    with tj.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
    with pytest.raises(tj.errors.InvalidArgumentError, match=r"output_gradients\[0\] is f32\[\], its target f32\[3\]"):
        tape.gradient(y, x, output_gradients=tj.constant(1.0))
    with pytest.raises(tj.errors.InvalidArgumentError, match=r"output_gradients has 1 tensors, the target 2"):
        tape.gradient([y, y], x, output_gradients=[tj.constant(X)])
    with pytest.raises(tj.errors.DtypeError, match=r"output_gradients\[0\] is f64\[3\], its target f32\[3\]"):
        tape.gradient(y, x, output_gradients=tj.constant(X, tj.float64))


# -- watching


def test_a_constant_must_be_watched():
    x = tj.constant(3.0)
    with tj.GradientTape() as tape:
        y = x * x
    assert tape.gradient(y, x) is None


def test_watch_takes_structures():
    a, b = tj.constant(2.0), tj.Variable(3.0, trainable=False)
    with tj.GradientTape() as tape:
        tape.watch({"a": a, "b": [b]})
        y = a * b
    assert [float(each) for each in tape.gradient(y, [a, b])] == [3, 2]


@pytest.mark.parametrize("thing", [3.0, np.ones(2), "x", None, [tj.constant(1.0), 2]])
def test_watch_refuses_what_is_no_tensor(thing):
    with tj.GradientTape() as tape, pytest.raises(ValueError, match="it takes tensors and variables"):
        tape.watch(thing)


def test_watch_on_a_tape_that_was_never_entered():
    with pytest.raises(RuntimeError, match="watch: the tape has not been entered"):
        tj.GradientTape().watch(tj.constant(1.0))
    with pytest.raises(ValueError, match="it takes tensors and variables"):
        tj.GradientTape().watch(np.ones(2))


def test_intermediate_results_are_sources():
    x = tj.Variable(3.0)
    with tj.GradientTape() as tape:
        y = x * x
        z = y * y
    assert float(tape.gradient(z, y)) == 18


def test_variable_that_is_not_trainable():
    v = tj.Variable(3.0, trainable=False)
    with tj.GradientTape() as tape:
        y = v * v
    assert tape.watched_variables() == ()
    assert tape.gradient(y, v) is None
    with tj.GradientTape() as tape:
        tape.watch(v)
        y = v * v
    assert len(tape.watched_variables()) == 1
    assert float(tape.gradient(y, v)) == 6


def test_integer_variable_is_listed_and_gives_none():
    v = tj.Variable(3)
    with tj.GradientTape() as tape:
        y = tj.cast(v, tj.float32) * 2.0
    assert [each is v for each in tape.watched_variables()] == [True]
    assert tape.gradient(y, v) is None


def test_watch_accessed_variables_false():
    v = tj.Variable(3.0)
    with tj.GradientTape(watch_accessed_variables=False) as tape:
        y = v * v
    assert tape.watched_variables() == ()
    assert tape.gradient(y, v) is None
    with tj.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(v)
        y = v * v
    assert float(tape.gradient(y, v)) == 6


def test_watched_variables_are_in_order_of_creation_and_survive_the_gradient():
    first, second = tj.Variable(1.0), tj.Variable(2.0)
    with tj.GradientTape() as tape:
        y = second * first
    tape.gradient(y, first)
    assert [each is wanted for each, wanted in zip(tape.watched_variables(), (first, second), strict=True)] == [
        True,
        True,
    ]


def test_read_value_is_another_tensor():
    v = tj.Variable(3.0)
    with tj.GradientTape(persistent=True) as tape:
        y = v * v
        value = v.read_value()
    assert tape.gradient(y, value) is None
    assert float(tape.gradient(value, v)) == 1


# -- the context


def test_entering_again_appends():
    v = tj.Variable(3.0)
    tape = tj.GradientTape()
    with tape:
        y = v * v
    with tape:
        z = y * v
    assert float(tape.gradient(z, v)) == 27


def test_what_is_computed_outside_of_the_context_is_not_recorded():
    v = tj.Variable(3.0)
    with tj.GradientTape() as tape:
        y = v * v
    assert tape.gradient(y * v, v) is None


def test_entering_an_active_tape():
    with tj.GradientTape() as tape, pytest.raises(ValueError, match="still recording"), tape:
        pass


def test_watch_while_not_recording_has_no_effect():
    x = tj.constant(3.0)
    tape = tj.GradientTape()
    with tape:
        pass
    tape.watch(x)
    with tape:
        y = x * x
    assert tape.gradient(y, x) is None


def test_stop_recording():
    v = tj.Variable(3.0)
    with tj.GradientTape() as tape:
        y = v * v
        with tape.stop_recording():
            z = y * v
        w = y * z
    assert float(tape.gradient(w, v)) == 6 * 27


def test_stop_recording_when_the_tape_does_not_record():
    tape = tj.GradientTape()
    with pytest.raises(RuntimeError, match="stop_recording: the tape is not recording"), tape.stop_recording():
        pass
    with tape:
        pass
    with pytest.raises(ValueError, match="not recording"), tape.stop_recording():
        pass


def test_reset():
    v, w = tj.Variable(3.0), tj.Variable(4.0)
    with tj.GradientTape() as tape:
        y = w * w
        tape.reset()
        z = v * v
    assert [each is v for each in tape.watched_variables()] == [True]
    assert [None if each is None else float(each) for each in tape.gradient([y, z], [w, v])] == [None, 6.0]
    with pytest.raises(ValueError, match="reset: the tape is not recording"):
        tape.reset()


def test_tapes_are_of_one_thread():
    v, results = tj.Variable(3.0), []
    with tj.GradientTape() as tape:
        thread = threading.Thread(target=lambda: results.append(v * v))
        thread.start()
        thread.join()
    assert float(results[0]) == 9
    assert tape.gradient(results[0], v) is None


def test_an_exception_ends_the_recording():
    v = tj.Variable(3.0)
    with pytest.raises(KeyError), tj.GradientTape() as tape:
        y = v * v
        raise KeyError
    assert tape.gradient(y * v, v) is None


# -- variables that change


def test_each_read_takes_the_value_at_its_time_and_all_add_up():
    v = tj.Variable(3.0)
    with tj.GradientTape() as tape:
        y = v * v
        v.assign_add(1.0)
        z = y * v
    assert float(tape.gradient(z, v)) == 6 * 4 + 9


def test_an_assignment_cuts_the_chain():
    v, w = tj.Variable(3.0), tj.Variable(0.0)
    with tj.GradientTape() as tape:
        w.assign(v * v)
        z = w * w
    found = tape.gradient(z, [v, w])
    assert found[0] is None and float(found[1]) == 18


def test_the_result_of_assign_add_is_the_variable():
    v = tj.Variable(3.0)
    with tj.GradientTape() as tape:
        z = v.assign_add(1.0) * 5.0
    assert float(tape.gradient(z, v)) == 5


def test_an_earlier_read_keeps_its_value():
    v = tj.Variable([1.0, 2.0])
    before = v.value()
    v.assign([5.0, 6.0])
    assert before.numpy().tolist() == [1, 2]


# -- higher order


def test_nested_tapes():
    x = tj.Variable(2.0)
    with tj.GradientTape() as outer:
        with tj.GradientTape() as inner:
            y = x**3
        first = inner.gradient(y, x)
    assert (float(first), float(outer.gradient(first, x))) == (12.0, 12.0)


def test_five_orders():
    x = tj.Variable(0.5, dtype=tj.float64)
    tapes = [tj.GradientTape() for _ in range(5)]
    for tape in tapes:
        tape.__enter__()
    value = tj.sin(x)
    for tape in reversed(tapes):
        tape.__exit__(None, None, None)
        value = tape.gradient(value, x)
    assert float(value) == pytest.approx(np.cos(0.5), rel=1e-14)


def test_an_inner_tape_watches_what_the_outer_was_told_to():
    x = tj.constant(3.0)
    with tj.GradientTape() as outer:
        outer.watch(x)
        with tj.GradientTape() as inner:
            y = x * x
        first = inner.gradient(y, x)
    assert (float(first), float(outer.gradient(first, x))) == (6.0, 2.0)
    with tj.GradientTape() as outer:
        outer.watch(x)
        with tj.GradientTape(watch_accessed_variables=False) as inner:
            y = x * x
    assert inner.gradient(y, x) is None


def test_a_watch_of_the_inner_tape_is_not_the_outer_ones():
    x = tj.constant(3.0)
    with tj.GradientTape() as outer, tj.GradientTape() as inner:
        inner.watch(x)
        y = x * x
    assert outer.gradient(y, x) is None
    assert float(inner.gradient(y, x)) == 6


def test_hessian_vector_product():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4, 4))
    x, v = tj.constant(rng.normal(size=(4, 1))), tj.constant(rng.normal(size=(4, 1)))
    with tj.GradientTape() as outer:
        outer.watch(x)
        with tj.GradientTape() as inner:
            y = tj.reduce_sum(tj.matmul(x, tj.constant(a) @ x, transpose_a=True))
        first = inner.gradient(y, x)
    np.testing.assert_allclose(outer.gradient(first, x, output_gradients=v), (a + a.T) @ v.numpy(), rtol=1e-12)


def test_gradient_of_gather_is_dense_and_sums_duplicates():
    found = gradient(lambda x: tj.gather(x, [0, 2, 0]) * tj.constant([1.0, 10.0, 100.0], tj.float64), X)
    assert found.tolist() == [101, 0, 10]


# -- kinks


@pytest.mark.parametrize(
    ("function", "at", "expected"),
    [
        (tj.abs, 0.0, 0.0),
        (tj.nn.relu, 0.0, 0.0),
        (lambda x: tj.maximum(x, 0.0), 0.0, 1.0),
        (lambda x: tj.maximum(0.0, x), 0.0, 0.0),
        (lambda x: tj.minimum(x, 0.0), 0.0, 1.0),
        (lambda x: tj.minimum(0.0, x), 0.0, 0.0),
        (lambda x: tj.clip_by_value(x, -1.0, 1.0), 1.0, 1.0),
        (lambda x: tj.clip_by_value(x, -1.0, 1.0), -1.0, 1.0),
        (lambda x: tj.clip_by_value(x, -1.0, 1.0), 1.5, 0.0),
        (tj.sqrt, 0.0, np.inf),
        (lambda x: tj.sqrt(x) * 0.0, 0.0, 0.0),
        (lambda x: x**0.5, 0.0, np.inf),
        (lambda x: tj.where(x > 0.0, tj.sqrt(x), 0.0), 0.0, 0.0),
        (lambda x: tj.where(x > 0.0, tj.math.log(x), x), 0.0, 1.0),
        (lambda x: tj.where(x > 0.0, 1.0 / x, 0.0), 0.0, 0.0),
        (lambda x: tj.where(x > 0.0, tj.sqrt(x) / x, 0.0), 0.0, 0.0),
        (lambda x: tj.where(x < 100.0, x, tj.exp(x)), 0.0, 1.0),
        (lambda x: tj.where(x < 100.0, x, tj.exp(x * x)), 90.0, 1.0),
        (lambda x: x**2, 0.0, 0.0),
        (lambda x: x**3, 0.0, 0.0),
        (lambda x: x**1, 0.0, 1.0),
        (lambda x: x**2.0, -3.0, -6.0),
    ],
)
def test_kinks(function, at, expected):
    assert gradient(function, at).tolist() == expected


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * tj.math.log(x),
        lambda x: tj.sin(1.0 / x),
        lambda x: tj.cos(1.0 / x),
        lambda x: tj.tanh(x * tj.math.log(x)),
        lambda x: tj.math.log(x) ** 2,
        lambda x: tj.exp(1.0 / x),
    ],
)
def test_double_where_through_an_infinite_factor(function):
    assert gradient(lambda x: tj.where(x > 0.0, function(x), 0.0), [0.0, 1.0])[0] == 0


def test_norm_at_zero_is_nan():
    assert np.isnan(gradient(tj.norm, [0.0, 0.0])).all()


@pytest.mark.parametrize("reduce", [tj.reduce_max, tj.reduce_min])
def test_extremes_that_tie_share_evenly(reduce):
    assert gradient(reduce, [2.0, 2.0]).tolist() == [0.5, 0.5]
    assert gradient(lambda x: reduce(x, 1), [[1.0, 1.0, 1.0, 1.0], [3.0, 3.0, 3.0, 3.0]]).tolist() == [[0.25] * 4] * 2


def test_product_with_zeros():
    assert gradient(tj.reduce_prod, [2.0, 0.0, 3.0]).tolist() == [0, 6, 0]
    assert gradient(tj.reduce_prod, [2.0, 0.0, 0.0]).tolist() == [0, 0, 0]
    assert gradient(tj.reduce_prod, [2.0, 4.0, 3.0]).tolist() == [12, 6, 8]


def test_ties_of_maximum_between_tensors():
    found = gradient(tj.maximum, [1.0, 2.0, 3.0], [1.0, 5.0, 0.0])
    assert [each.tolist() for each in found] == [[1, 0, 1], [0, 1, 0]]


# -- broadcasting


def test_gradient_of_a_broadcast_operand_has_its_shape():
    x, y, z = gradient(lambda x, y, z: x * y + z, np.ones((3, 1)), np.full(4, 2.0), 5.0)
    assert x.tolist() == [[8]] * 3 and y.tolist() == [3] * 4 and z.tolist() == 12


# -- explanations


def test_why_none_names_the_op_and_its_line():
    x = tj.Variable([1.0, 2.0])
    with tj.GradientTape(persistent=True) as tape:
        y = x * 2.0
        z = tj.cast(tj.round(y), tj.float64)  # the path ends here
        w = z * 3.0
    assert tape.gradient(w, x) is None
    said = tape.why_none(w, x)
    assert "round" in said and "has no gradient" in said and "# the path ends here" in said and "test_tape.py:" in said
    assert "does not" not in tape.why_none(y, x) and "is not None" in tape.why_none(y, x)


def test_why_none_for_sources_that_were_not_seen():
    x, v, n = tj.constant(1.0), tj.Variable(1.0), tj.Variable(3)
    with tj.GradientTape(persistent=True) as tape:
        y = x * 2.0
        z = tj.cast(n, tj.float32)
    assert tape.why_none(y, x) == "the source is a tensor that was not watched while the tape recorded"
    assert tape.why_none(y, v) == "the source is a variable that was not read while the tape recorded"
    assert tape.why_none(z, n) == "the source is i32[], and only floating dtypes have gradients"


def test_why_none_where_the_target_is_something_else():
    x = tj.Variable(1.0)
    with tj.GradientTape(persistent=True) as tape:
        x * 2.0
        y = tj.constant(3.0)
    assert tape.why_none(y, x) == "the target was not computed from the source while the tape recorded"


def test_why_none_for_a_cast_and_an_integer_result():
    x = tj.Variable([1.0, 2.0])
    with tj.GradientTape(persistent=True) as tape:
        y = tj.cast(x, tj.int32)
        z = tj.cast(y, tj.float32)
    said = tape.why_none(z, x)
    assert said.startswith("the path ends at cast, which gives i32[2], at ") and "test_tape.py:" in said
    with tj.GradientTape() as tape:
        y = x * 1.0
    tape.gradient(y, x)
    with pytest.raises(RuntimeError, match="consumed"):
        tape.why_none(y, x)


# -- custom_gradient and stop_gradient


def test_stop_gradient():
    x = tj.Variable(3.0)
    with tj.GradientTape() as tape:
        y = tj.stop_gradient(x * x) * x
    assert float(tape.gradient(y, x)) == 9


def test_custom_gradient():
    @tj.custom_gradient
    def double(x):
        return x * 2.0, lambda ct: ct * 7.0

    x = tj.Variable([1.0, 2.0])
    with tj.GradientTape() as tape:
        y = double(x * x)
    assert y.numpy().tolist() == [2, 8]
    assert tape.gradient(y, x).numpy().tolist() == [14, 28]
    assert double.__name__ == "double"


def test_custom_gradient_none_for_an_argument():
    @tj.custom_gradient
    def product(x, y):
        return x * y, lambda ct: (ct * y, None)

    x, y = tj.Variable(3.0), tj.Variable(4.0)
    with tj.GradientTape() as tape:
        z = product(x, y)
    found = tape.gradient(z, [x, y])
    assert float(found[0]) == 4 and found[1] is None


def test_custom_gradient_with_the_wrong_number_of_gradients():
    @tj.custom_gradient
    def product(x, y):
        return x * y, lambda ct: ct

    x, y = tj.Variable(3.0), tj.Variable(4.0)
    with tj.GradientTape() as tape:
        z = product(x, y)
    with pytest.raises(ValueError, match=r"product: .* expected to return 2 gradients, but returned 1"):
        tape.gradient(z, [x, y])


def test_custom_gradient_of_the_wrong_shape_or_dtype():
    @tj.custom_gradient
    def shrunk(x):
        return x * 2.0, lambda ct: tj.reduce_sum(ct)

    x = tj.Variable([3.0, 4.0])
    with tj.GradientTape() as tape:
        y = shrunk(x)
    with pytest.raises(tj.errors.InvalidArgumentError, match=r"shrunk.*argument 0 is f32\[\], expected f32\[2\]"):
        tape.gradient(y, x)

    @tj.custom_gradient
    def widened(x):
        return x * 2.0, lambda ct: tj.cast(ct, tj.float64)

    with tj.GradientTape() as tape:
        y = widened(x)
    with pytest.raises(ValueError, match=r"argument 0 is f64\[2\], expected f32\[2\]"):
        tape.gradient(y, x)


def test_custom_gradient_that_returns_no_function():
    with pytest.raises(TypeError, match=r"must return \(result, grad\)"):
        tj.custom_gradient(lambda x: (x, x))(tj.constant(1.0))


def test_custom_gradient_constant_has_no_second_derivative():
    @tj.custom_gradient
    def five(x):
        return x * 5.0, lambda ct: tj.constant(5.0)

    x = tj.Variable(2.0)
    with tj.GradientTape() as outer:
        with tj.GradientTape() as inner:
            y = five(x)
        first = inner.gradient(y, x)
    assert float(first) == 5 and outer.gradient(first, x) is None


def test_custom_gradient_is_itself_differentiated():
    @tj.custom_gradient
    def cube(x):
        return x * x * x, lambda ct: ct * 3.0 * x * x

    x = tj.Variable(2.0)
    with tj.GradientTape() as outer:
        with tj.GradientTape() as inner:
            y = cube(x)
        first = inner.gradient(y, x)
    assert (float(first), float(outer.gradient(first, x))) == (12.0, 12.0)


def test_custom_gradient_by_its_own_result():
    @tj.custom_gradient
    def exponential(x):
        y = tj.exp(x)
        return y, lambda ct: ct * y

    x = tj.Variable(0.5, dtype=tj.float64)
    with tj.GradientTape() as one:
        with tj.GradientTape() as two:
            with tj.GradientTape() as three:
                y = exponential(x)
            first = three.gradient(y, x)
        second = two.gradient(first, x)
    third = one.gradient(second, x)
    assert [float(each) for each in (y, first, second, third)] == [pytest.approx(np.exp(0.5), rel=1e-15)] * 4


def test_custom_gradient_with_several_results_sends_zeros_for_the_unused():
    seen = []

    @tj.custom_gradient
    def both(x):
        def grad(first, second):
            seen.append((first.numpy().tolist(), second.numpy().tolist()))
            return first + second

        return (x * 1.0, x * 2.0), grad

    x = tj.Variable([1.0, 2.0])
    with tj.GradientTape() as tape:
        y, _ = both(x)
    assert tape.gradient(y, x).numpy().tolist() == [1, 1]
    assert seen == [([1, 1], [0, 0])]


def test_custom_gradient_that_reads_a_variable():
    w = tj.Variable(3.0)

    @tj.custom_gradient
    def undeclared(x):
        return x * w, lambda ct: ct * w

    with pytest.raises(TypeError, match="must take `variables=None`"):
        undeclared(tj.constant(2.0))

    @tj.custom_gradient
    def declared(x):
        def grad(ct, variables=None):
            assert [each is w for each in variables] == [True]
            return ct * 10.0, [ct * 20.0]

        return x * w, grad

    x = tj.Variable(2.0)
    with tj.GradientTape() as tape:
        y = declared(x)
    assert [float(each) for each in tape.gradient(y, [x, w])] == [10, 20]


def test_custom_gradient_identity_of_its_argument():
    @tj.custom_gradient
    def reversed_gradient(x):
        return x, lambda ct: -ct

    x = tj.Variable(2.0)
    with tj.GradientTape() as tape:
        y = reversed_gradient(x) * 3.0
    assert float(tape.gradient(y, x)) == -3


def test_custom_gradient_takes_keywords_and_is_silent_without_a_tape():
    @tj.custom_gradient
    def scaled(x, by=1.0):
        return x * by, lambda ct: ct * 100.0

    assert float(scaled(tj.constant(2.0), by=3.0)) == 6


def test_the_tape_does_not_see_into_a_custom_gradient():
    inner = tj.constant(4.0)

    @tj.custom_gradient
    def hidden(x):
        return x * inner, lambda ct: ct

    x = tj.Variable(2.0)
    with tj.GradientTape() as tape:
        tape.watch(inner)
        y = hidden(x)
    assert [None if each is None else float(each) for each in tape.gradient(y, [x, inner])] == [1.0, None]


# -- gradients of everything, against finite differences in float64

RNG = np.random.default_rng(3)
A, B = RNG.uniform(0.3, 1.5, (3, 4)), RNG.uniform(0.3, 1.5, (3, 4))
FUNCTIONS = {
    "divide": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
    "mod": lambda a, b: (a + 2.0) % (b + 10.0),
    "matmul": lambda a, b: a @ tj.transpose(b),
    "matmul_ta": lambda a, b: tj.matmul(a, b, transpose_a=True),
    "softmax": lambda a, b: tj.nn.softmax(a) * b,
    "log_softmax": lambda a, b: tj.nn.log_softmax(a, axis=0) * b,
    "logsumexp": lambda a, b: tj.reduce_logsumexp(a * b, 1),
    "cross_entropy": lambda a, b: tj.nn.softmax_cross_entropy_with_logits(tj.nn.softmax(a), b),
    "sigmoid_cross_entropy": lambda a, b: tj.nn.sigmoid_cross_entropy_with_logits(a, b - 1.0),
    "gelu": lambda a, b: tj.nn.gelu(a) + tj.nn.gelu(b, approximate=True),
    "silu": lambda a, b: tj.nn.silu(a * b),
    "softplus": lambda a, b: tj.nn.softplus(a - b),
    "variance": lambda a, b: tj.reduce_variance(a, 0) * tj.reduce_std(b),
    "norm": lambda a, b: tj.norm(a, axis=1) * tj.reduce_sum(b),
    "prod": lambda a, b: tj.reduce_prod(a, 1) * tj.reduce_prod(b, (0, 1)),
    "concat": lambda a, b: tj.square(tj.concat([a, b, a], 1)),
    "stack": lambda a, b: tj.square(tj.stack([a, b], 1)),
    "split": lambda a, b: tj.split(a, 2, 1)[1] * tj.split(b, [1, 3], 1)[1][:, :2],
    "pad": lambda a, b: tj.square(tj.pad(a, [[1, 0], [0, 2]], constant_values=2)) * tj.reduce_sum(b),
    "tile": lambda a, b: tj.square(tj.tile(a, [2, 3])) * tj.tile(b, [2, 3]),
    "reverse": lambda a, b: tj.reverse(a, [0, 1]) * b,
    "index": lambda a, b: a[1:, ::-2] * b[None, 0, 1:3],
    "gather": lambda a, b: tj.gather(a, [1, 3, 1], axis=1) * tj.gather(b, [[0], [2], [1]], axis=1, batch_dims=1),
    "where": lambda a, b: tj.where(a > 0.9, a * a, b * b * b),
    "tan": lambda a, b: tj.tan(a * 0.7) * tj.tanh(b),
    "erf": lambda a, b: tj.erf(a) * tj.exp(b) * tj.math.log(a) * tj.math.log1p(b) * tj.math.expm1(a),
    "rsqrt": lambda a, b: tj.math.rsqrt(a) * tj.cos(b) * tj.sin(a) * tj.sqrt(b),
    "leaky": lambda a, b: tj.nn.leaky_relu(a - 0.9) * tj.nn.elu(b - 0.9),
    "cast": lambda a, b: tj.cast(tj.cast(a, tj.float64) * b, tj.float64),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradient_and_second_gradient_agree_with_differences(name):
    function, weights = FUNCTIONS[name], {}

    def value(a, b):
        found = function(tj.constant(a), tj.constant(b))
        key = tuple(found.shape)
        if key not in weights:
            weights[key] = tj.constant(np.random.default_rng(9).uniform(0.5, 1.5, key))
        return found, weights[key]

    def first(a, b):
        a, b = tj.constant(a), tj.constant(b)
        with tj.GradientTape() as tape:
            tape.watch([a, b])
            found, weight = function(a, b), value(a, b)[1]
            target = tj.reduce_sum(found * weight)
        return float(target), [each.numpy() for each in tape.gradient(target, [a, b])]

    da, db = (np.random.default_rng(seed).normal(size=A.shape) for seed in (1, 2))
    step = 1e-6
    (up, gradients_up), (down, gradients_down) = (first(A + s * step * da, B + s * step * db) for s in (1, -1))
    gradients = first(A, B)[1]
    slope = sum((each * way).sum() for each, way in zip(gradients, (da, db), strict=True))
    assert slope == pytest.approx((up - down) / (2 * step), rel=2e-7, abs=1e-7)
    a, b = tj.constant(A), tj.constant(B)
    with tj.GradientTape() as outer:
        outer.watch([a, b])
        with tj.GradientTape() as inner:
            target = tj.reduce_sum(function(a, b) * value(a, b)[1])
        inside = inner.gradient(target, [a, b])
        along = tj.reduce_sum(inside[0] * tj.constant(da)) + tj.reduce_sum(inside[1] * tj.constant(db))
    second = outer.gradient(along, [a, b], unconnected_gradients="zero")
    for found, plus, minus in zip(second, gradients_up, gradients_down, strict=True):
        np.testing.assert_allclose(found, (plus - minus) / (2 * step), rtol=1e-6, atol=1e-6)


def test_output_gradients_have_the_structure_of_the_target():
    x = tj.Variable(2.0)
    with tj.GradientTape(persistent=True) as tape:
        target = {"a": x * 2.0, "b": x * x}
    assert tape.gradient(target, x, output_gradients={"a": 1.0, "b": 10.0}).numpy() == 42
    with pytest.raises(tj.errors.InvalidArgumentError, match="another structure"):
        tape.gradient(target, x, output_gradients=[1.0, 10.0])
    pair = list(target.values())
    assert tape.gradient(pair, x, output_gradients=(1.0, 10.0)).numpy() == 42


# -- a variable that a traced function assigns


def _both(function):
    return function(), tj.function(function)()


def test_a_variable_that_was_assigned_is_a_target():
    """Its gradient with respect to itself is 1, as in TensorFlow."""
    v = tj.Variable([1.0, 2.0])

    def f():
        with tj.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(v)
            v.assign_add(v)
        return tape.gradient(v, v)

    assert [gradient.numpy().tolist() for gradient in _both(f)] == [[1, 1]] * 2


def test_the_gradient_of_a_source_is_its_seed():
    x = tj.constant([1.0, 2.0])

    def f():
        with tj.GradientTape(persistent=True) as tape:
            tape.watch(x)
        seed = tape.gradient(x, x, output_gradients=x)
        return seed, tape.gradient(seed, x)

    assert [[each.numpy().tolist() for each in found] for found in _both(f)] == [[[1, 2], [1, 1]]] * 2


@pytest.mark.parametrize("order", [1, 2])
def test_a_tape_around_a_function_knows_a_variable_after_its_assignment(order):
    """Every value that is read, before the assignment and after, is the variable; how it was computed is not followed."""
    x = tj.constant([3.0, 4.0])

    def step(v, compiled):
        def f(x):
            before = v * v
            v.assign(x * v)
            return before, v * v * v

        found = tj.function(f) if compiled else f
        with tj.GradientTape() as outer:
            outer.watch(x)
            with tj.GradientTape() as tape:
                tape.watch(x)
                first, second = found(x)
                target = first + second
            gradients = tape.gradient(target, [v, x])
        return gradients if order == 1 else outer.gradient(gradients[0], [v, x])

    eager, compiled = (step(tj.Variable([1.0, 2.0]), compiled) for compiled in (False, True))
    # 2 v + 3 (x v)**2 at the two values, and once more.
    assert eager[0].numpy().tolist() == ([29.0, 196.0] if order == 1 else [20.0, 50.0])
    assert compiled[0].numpy().tolist() == eager[0].numpy().tolist()
    assert eager[1] is None and compiled[1] is None


def test_a_rule_runs_once_for_all_results_of_a_function():
    """It is no linear function of its cotangent: what arrives at it from two results is added before."""

    def f(x, y):
        @tj.custom_gradient
        def clipped(x):
            return tj.identity(x), lambda dy: tj.clip_by_value(dy, -1.0, 1.0)

        z = clipped(x)
        return z * 1.0, z * y

    x, y = tj.constant(2.0), tj.constant(3.0)
    found = []
    for function in (f, tj.function(f)):
        with tj.GradientTape() as tape:
            tape.watch([x, y])
            first, second = function(x, y)
            target = first + second
        found.append([float(gradient) for gradient in tape.gradient(target, [x, y])])
    assert found == [[1, 2]] * 2


DIRECTLY = compile("result = op(*operands, **attrs)", "user.py", "exec")


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        (ops.exp, {}),
        (ops.add, {}),
        (ops.reshape, {"shape": (2, 1)}),
        (ops.reduce_sum, {"axes": (0,)}),
        (ops.identity, {}),
        (ops.logical_not, {}),
        (ops.select, {}),
        (ops.concat, {"axis": 0}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.parametrize("traced", [False, True])
def test_an_op_is_recorded_with_the_line_that_calls_it(op, attrs, traced):
    x = tj.ones([2])
    operands = {"add": [x, x], "select": [tj.constant([True, False]), x, x], "concat": [x, x], "logical_not": [x > 0]}
    given = operands.get(op.name, [x])

    def run(*given):
        with tj.GradientTape(persistent=True) as tape:
            tape.watch(list(given))
            exec(DIRECTLY, {"op": op, "operands": given, "attrs": attrs})
        assert [str(entry.location) for entry in tape._entries] == ["user.py:1"]

    (tj.function(run) if traced else run)(*given)
