"""Tapes and custom gradients, eager and compiled: what the tape recorded is what is differentiated. Numbers are TensorFlow's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tracejit as tj


def plain(value: Any) -> Any:
    """Structures of tensors as lists of numbers and None."""
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return None if value is None else round(float(value), 4)


def both(f: Callable[..., Any], *args: Any) -> Any:
    """What `f` gives, eager and compiled."""
    eager, compiled = plain(f(*args)), plain(tj.function(f)(*args))
    assert compiled == eager
    return eager


X = tj.constant(2.5)


# -- what was computed before the tape began


def test_a_source_in_between_that_was_made_before() -> None:
    def f(x: Any) -> Any:
        h = x * 5.0
        with tj.GradientTape() as tape:
            tape.watch([x, h])
            y = x * 2.0 + h * 3.0
        return tape.gradient(y, [x, h])

    assert both(f, X) == [2.0, 3.0]


def test_several_sources_that_were_made_of_each_other_before() -> None:
    def f(x: Any) -> Any:
        h = x * x
        k = h * x
        with tj.GradientTape(persistent=True) as tape:
            tape.watch([x, h])
            y = x * h * k
        return tape.gradient(y, [x, h]), tape.gradient(y, k)

    assert both(f, X) == [[97.6562, 39.0625], None]


def test_what_was_made_of_a_variable_before() -> None:
    v = tj.Variable(2.0)

    def watched(x: Any) -> Any:
        a = v * 5.0
        with tj.GradientTape() as tape:
            tape.watch(a)
            y = v * 2.0 + a * 3.0
        return tape.gradient(y, [v, a])

    def constant(x: Any) -> Any:
        a = v * 5.0
        with tj.GradientTape() as tape:
            y = v * 2.0 * a
        return tape.gradient(y, [v, a])

    assert both(watched, X) == [2.0, 3.0]
    assert both(constant, X) == [20.0, None]


def test_nested_tapes_over_what_was_made_before() -> None:
    def f(x: Any) -> Any:
        h = x * x
        with tj.GradientTape(persistent=True) as outer:
            outer.watch([x, h])
            z = h * x
            with tj.GradientTape(persistent=True) as inner:
                inner.watch([x, h, z])
                y = x * h * z
            first = inner.gradient(y, [x, h, z])
        return first, [outer.gradient(each, [x, h, z]) for each in first]

    first, second = both(f, X)
    assert first == [97.6562, 39.0625, 15.625]
    assert second == [[39.0625, 31.25, 6.25], [31.25, 6.25, 2.5], [6.25, 2.5, None]]


def test_targets_of_which_some_depend_only_on_what_was_made_before() -> None:
    def f(x: Any) -> Any:
        before = x * 5.0
        with tj.GradientTape(persistent=True) as tape:
            tape.watch(x)
            apart, y = before * 3.0, x * 2.0
            both = apart * x
        seeds = [tj.constant(7.0), tj.constant(1.0)]
        return (
            tape.gradient([apart, y], x),
            tape.gradient([before, both], x),
            tape.gradient([apart, y], x, output_gradients=seeds),
        )

    assert both(f, X) == [2.0, 37.5, 2.0]


def test_a_tape_that_begins_before_the_gradient_only() -> None:
    def f(x: Any) -> Any:
        with tj.GradientTape(persistent=True) as outer:
            outer.watch(x)
            with tj.GradientTape(persistent=True) as inner:
                inner.watch(x)
                y = x * x * x * x
            first = inner.gradient(y, x)
        with tj.GradientTape(persistent=True) as late:
            late.watch(x)
            second = outer.gradient(first, x)
        return first, second, late.gradient(second, x)

    first, second, third = both(f, X)
    assert [first, second] == [62.5, 75.0]
    assert third == 30.0


def test_re_entered_and_paused_tapes() -> None:
    def again(x: Any) -> Any:
        with tj.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = x * x
        h = y * x
        with tape:
            tape.watch(h)
            z = y * h * x
        return tape.gradient(z, [x, y, h])

    def paused(x: Any) -> Any:
        with tj.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = x * x
            with tape.stop_recording():
                h = y * x
            z = y * h * x
        return tape.gradient(z, [x, y, h])

    def paused_outer(x: Any) -> Any:
        with tj.GradientTape() as outer:
            outer.watch(x)
            with tj.GradientTape() as inner:
                inner.watch(x)
                y = x * x * x
            with outer.stop_recording():
                g = inner.gradient(y, x)
            z = g * x
        return outer.gradient(z, x)

    assert both(again, X) == [292.9688, 39.0625, 15.625]
    assert both(paused, X) == [292.9688, 39.0625, None]
    assert both(paused_outer, X) == 18.75


def test_a_gradient_is_a_source_of_the_next() -> None:
    def f(x: Any) -> Any:
        with tj.GradientTape() as first:
            first.watch(x)
            y = x * x * x
        g = first.gradient(y, x)
        with tj.GradientTape() as second:
            second.watch([g, x])
            z = g * g * x * y
        return second.gradient(z, [g, x, y])

    assert both(f, X) == [1464.8438, 5493.1641, None]


def test_a_persistent_tape_that_records_its_own_gradients() -> None:
    def f(x: Any) -> Any:
        with tj.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = x * x * x
            first = tape.gradient(y, x)
            second = tape.gradient(first, x)
        return first, second, tape.gradient(second, x)

    assert both(f, X) == [18.75, 15.0, 6.0]


# -- custom gradients


def orders(f: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    """f(x) and its first three derivatives, as far as they are connected."""

    def run(x: Any) -> list[Any]:
        tapes = [tj.GradientTape() for _ in range(3)]

        def level(number: int) -> list[Any]:
            if number == len(tapes):
                return [f(x)]
            with tapes[number] as tape:
                tape.watch(x)
                results = level(number + 1)
            return [*results, None if results[-1] is None else tape.gradient(results[-1], x)]

        return level(0)

    return run


@tj.custom_gradient
def by_its_result(x: Any) -> Any:
    s = tj.sqrt(x)
    return s, lambda ct: ct * 10.0 / (2.0 * s)


@tj.custom_gradient
def with_a_tape(x: Any) -> Any:
    def rule(ct: Any) -> Any:
        with tj.GradientTape() as tape:
            tape.watch(ct)
            product = ct * ct * x
        return tape.gradient(product, ct)

    return x * x, rule


@tj.custom_gradient
def recomputed(x: Any) -> Any:
    def rule(ct: Any) -> Any:
        with tj.GradientTape() as tape:
            tape.watch(x)
            y = tj.sin(x) * x
        return tape.gradient(y, x, output_gradients=ct)

    return tj.sin(x) * x, rule


@tj.custom_gradient
def nested_rule(x: Any) -> Any:
    def rule(ct: Any) -> Any:
        @tj.custom_gradient
        def first(_: Any) -> Any:
            return 3.0 * x * x, lambda second_ct: second_ct * 100.0

        return ct * first(x)

    return x * x * x, rule


@tj.custom_gradient
def nested_function(x: Any) -> Any:
    s = by_its_result(x * x)
    return s * 2.0, lambda ct: ct * s


@tj.custom_gradient
def turned(x: Any) -> Any:
    return x, lambda ct: -ct


@tj.custom_gradient
def unused(a: Any, x: Any) -> Any:
    return x * 1.0, lambda ct: (ct * a * 4.0, ct * 5.0)


@tj.custom_gradient
def several(x: Any, y: Any) -> Any:
    return (x * y, x + y), lambda a, b: (a * y * 2.0 + b, a * x + b * 7.0)


def product_of_several(x: Any) -> Any:
    first, second = several(x * x, x)
    return first * second


@tj.custom_gradient
def constant_rule(x: Any) -> Any:
    return x * 5.0, lambda ct: tj.constant(5.0)


class Scaled:
    def __init__(self) -> None:
        self.by = 3.0

    @tj.custom_gradient
    def method(self, x: Any) -> Any:
        return x * self.by, lambda ct: ct * self.by * x


scaled = Scaled()

# A program; its value at 2.5 and three derivatives.
CUSTOM: dict[str, tuple[Callable[[Any], Any], list[float | None]]] = {
    "by its result": (by_its_result, [1.5811, 3.1623, -0.6325, 0.3795]),
    "by its result, composed": (lambda x: by_its_result(x * x) * x, [6.25, 27.5, 20.0, 0.0]),
    "with a tape": (with_a_tape, [6.25, 5.0, 2.0, None]),
    "with a tape, composed": (lambda x: with_a_tape(x * x) * x, [97.6562, 195.3125, 312.5, 375.0]),
    "recomputed": (recomputed, [1.4962, -1.4044, -3.0985, 0.2074]),
    "a rule with a rule": (nested_rule, [15.625, 18.75, 100.0, None]),
    "a rule with a rule, composed": (lambda x: nested_rule(x * x) * x, [610.3516, 1708.9844, 8007.8125, 15703.125]),
    "one in another": (nested_function, [5.0, 2.5, 10.0, 0.0]),
    "one in another, composed": (lambda x: nested_function(x * x) * x, [31.25, 90.625, 718.75, 1537.5]),
    "its argument": (turned, [2.5, -1.0, None, None]),
    "its argument, composed": (lambda x: turned(x * x) * x, [15.625, -6.25, -15.0, -6.0]),
    "a constant": (lambda x: constant_rule(x * x) * x, [78.125, 56.25, 35.0, 10.0]),
    "an argument that the value does not need": (lambda x: unused(x * x, x) * x, [6.25, 327.5, 635.0, 750.0]),
    "several results": (product_of_several, [136.7188, 460.9375, 1000.0, 1175.0]),
    "one of several results": (lambda x: several(x * x, x)[0], [15.625, 31.25, 25.0, 10.0]),
    "a method": (lambda x: scaled.method(x * x), [18.75, 93.75, 112.5, 90.0]),
}


@pytest.mark.parametrize("name", CUSTOM)
def test_orders_of_a_custom_gradient(name: str) -> None:
    f, expected = CUSTOM[name]
    for run in (orders(f), tj.function(orders(f)), orders(tj.function(f))):
        for value, right in zip(run(X), expected, strict=True):
            assert (value is None) == (right is None)
            assert right is None or float(value) == pytest.approx(right, rel=1e-4, abs=1e-4)


def test_none_of_a_rule_is_none() -> None:
    @tj.custom_gradient
    def product(x: Any, y: Any) -> Any:
        return x * y, lambda ct: (ct * y, None)

    def f(x: Any) -> Any:
        y = x * 3.0
        with tj.GradientTape(persistent=True) as tape:
            tape.watch([x, y])
            z = product(x, y)
        return tape.gradient(z, [x, y]), tape.gradient(z, y)

    assert both(f, X) == [[7.5, None], None]


def test_a_rule_runs_only_for_a_gradient() -> None:
    @tj.custom_gradient
    def guarded(x: Any) -> Any:
        def rule(ct: Any) -> Any:
            raise NotImplementedError("no rule")

        return x * 2.0, rule

    def beside(x: Any) -> Any:
        with tj.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = x * x
            z = guarded(x) + y
        return z, tape.gradient(y, x)

    assert both(guarded, X) == 5.0
    assert both(beside, X) == [11.25, 5.0]
    compiled = tj.function(lambda x: (guarded(x), x * x))
    with tj.GradientTape(persistent=True) as tape:
        tape.watch(X)
        ruled, plain_one = compiled(X)
    assert float(tape.gradient(plain_one, X)) == 5.0
    with pytest.raises(NotImplementedError, match="no rule"):
        tape.gradient(ruled, X)


def test_a_variable_argument_is_passed_as_it_is() -> None:
    v = tj.Variable(2.0)
    seen = []

    @tj.custom_gradient
    def product(variable: Any, x: Any) -> Any:
        seen.append(variable is v)
        return variable * x, lambda ct: (ct * x * 2.0, ct * variable * 3.0)

    def f(x: Any) -> Any:
        with tj.GradientTape() as tape:
            tape.watch(x)
            y = product(v, x)
        return tape.gradient(y, [v, x])

    assert both(f, X) == [5.0, 6.0]
    assert all(seen)


def test_a_rule_that_captures_what_the_function_does_not() -> None:
    """In a compiled call under a tape outside the rule is traced after the function: what it reads is read then."""
    w, k = tj.Variable(3.0), tj.constant(4.0)

    @tj.custom_gradient
    def f(x: Any) -> Any:
        return x * 2.0, lambda ct: ct * w * k * x

    for function in (f, tj.function(f)):
        w.assign(3.0)
        with tj.GradientTape(persistent=True) as outer:
            outer.watch([X, k])
            with tj.GradientTape(persistent=True) as tape:
                tape.watch(X)
                y = function(X)
            w.assign(5.0)
            first = tape.gradient(y, X)
        assert float(first) == 50.0
        assert plain(outer.gradient(first, [X, w, k])) == [20.0, 10.0, 12.5]


def test_a_rule_for_a_compiled_call_cannot_assign() -> None:
    v = tj.Variable(1.0)

    @tj.custom_gradient
    def f(x: Any) -> Any:
        def rule(ct: Any) -> Any:
            v.assign(ct)
            return ct

        return x * 2.0, rule

    with tj.GradientTape() as tape:
        tape.watch(X)
        y = tj.function(f)(X)
    with pytest.raises(tj.errors.TracingError, match="assigned a variable"):
        tape.gradient(y, X)


def test_two_functions_of_one_text_have_rules_of_their_own() -> None:
    def made(by: float) -> Any:
        @tj.custom_gradient
        def f(x: Any) -> Any:
            return x * 2.0, lambda ct: ct * by

        return tj.function(f)

    for by in (3.0, 7.0):
        f = made(by)
        with tj.GradientTape() as tape:
            tape.watch(X)
            y = f(X)
        assert float(tape.gradient(y, X)) == by


def test_a_custom_gradient_over_a_gradient_inside() -> None:
    """The rule was made for nodes of a gradient that is derived when the function is optimized."""

    @tj.custom_gradient
    def doubled(x: Any) -> Any:
        s = x * x
        return s, lambda ct: ct * 2.0 * s

    def f(x: Any) -> Any:
        with tj.GradientTape() as tape:
            tape.watch(x)
            y = x * x * x
        return doubled(tape.gradient(y, x))

    expected = plain(orders(f)(X))
    assert plain(orders(tj.function(f))(X)) == plain(tj.function(orders(f))(X)) == expected


def test_a_result_of_a_call_without_a_gradient_is_a_source() -> None:
    f = tj.function(lambda x: (tj.stop_gradient(x * x), x * x))
    with tj.GradientTape(persistent=True) as tape:
        tape.watch(X)
        stopped, square = f(X)
        z = stopped * 3.0 + square
    assert plain(tape.gradient(z, [stopped, X, square])) == [3.0, 5.0, 1.0]


# -- views of all that there is are tensors of their own

VIEWS: dict[str, Callable[[Any], Any]] = {
    "x[:]": lambda x: x[:],
    "x[...]": lambda x: x[...],
    "x[0:2]": lambda x: x[0:2],
    "x[:,]": lambda x: x[:,],
    "x[()]": lambda x: x[()],
    "reshape": lambda x: tj.reshape(x, x.shape),
    "reshape to -1": lambda x: tj.reshape(x, [-1]),
    "broadcast_to": lambda x: tj.broadcast_to(x, x.shape),
    "x**1": lambda x: x**1,
    "x**1.0": lambda x: x**1.0,
    "+x": lambda x: +x,
    "squeeze": lambda x: tj.squeeze(x),
    "transpose": lambda x: tj.transpose(x),
    "split": lambda x: tj.split(x, 1)[0],
    "concat": lambda x: tj.concat([x], 0),
    "tile": lambda x: tj.tile(x, [1]),
    "pad": lambda x: tj.pad(x, [[0, 0]]),
    "reverse": lambda x: tj.reverse(x, []),
    "a sum over no axis": lambda x: tj.reduce_sum(x, axis=[]),
    "a mean over no axis": lambda x: tj.reduce_mean(x, axis=[]),
    "identity": lambda x: tj.identity(x),
    "gather": lambda x: tj.gather(x, [0, 1]),
    "expand_dims": lambda x: tj.expand_dims(x, 0)[0],
}
SAME: dict[str, Callable[[Any], Any]] = {
    "cast": lambda x: tj.cast(x, tj.float32),
    "convert_to_tensor": tj.convert_to_tensor,
    "constant": tj.constant,
    "add_n": lambda x: tj.add_n([x]),
}


def _sources(view: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        with tj.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = view(x)
            z = x * y
        with tj.GradientTape(persistent=True) as other:
            y2 = view(x)
            other.watch(y2)
            z2 = x * y2
        return tape.gradient(z, [x, y]), other.gradient(z2, [x, y2])

    return f


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", [*VIEWS, *SAME])
def test_a_view_of_everything_is_no_source_of_its_operand(name: str, compiled: bool) -> None:
    x = tj.constant([2.0, 3.0])
    view = VIEWS.get(name) or SAME[name]
    f = _sources(view)
    first, second = (tj.function(f) if compiled else f)(x)
    if name in VIEWS:
        assert [each.numpy().tolist() for each in first] == [[4, 6], [2, 3]]
        assert second[0] is None and second[1].numpy().tolist() == [2, 3]
    else:
        assert [each.numpy().tolist() for each in first] == [[4, 6], [4, 6]]
        assert view(x) is x


def test_the_value_of_a_variable_is_a_tensor_of_its_own() -> None:
    v = tj.Variable(2.0)

    def f() -> Any:
        with tj.GradientTape(persistent=True) as tape:
            a, b = v.value(), v.read_value()
            y = a * b * v
        return tape.gradient(y, [v, a, b])

    assert both(f) == [12.0, 4.0, 4.0]


def test_fill_with_a_scalar_that_is_one_already() -> None:
    def f(x: Any) -> Any:
        with tj.GradientTape() as tape:
            tape.watch(x)
            y = tj.fill([], x)
            z = x * y
        return tape.gradient(z, [x, y])

    assert both(f, X) == [5.0, 2.5]


# -- a tape around a call that assigns variables


def test_every_value_that_a_call_reads_is_the_variable_for_a_tape_outside() -> None:
    v = tj.Variable(2.0)

    def counted(x: Any) -> Any:
        v.assign_add(1.0)
        return v * v * x

    def replaced(x: Any) -> Any:
        y = v * x
        v.assign(y)
        return v * y

    def twice(x: Any) -> Any:
        v.assign_add(x)
        a = v * 3.0
        v.assign_add(1.0)
        return a * v

    expected = {counted: [9.0, 30.0], replaced: [20.0, 60.0], twice: [None, 45.0]}
    x = tj.constant(5.0)
    for f, right in expected.items():
        compiled = tj.function(f)
        for function in (f, compiled, compiled):
            v.assign(2.0)
            with tj.GradientTape() as tape:
                tape.watch(x)
                y = function(x)
            assert plain(tape.gradient(y, [x, v])) == right


def test_the_second_order_of_a_call_that_assigns_a_variable() -> None:
    v, x = tj.Variable(2.0), tj.constant(5.0)

    def f(x: Any) -> Any:
        v.assign_add(1.0)
        return v * v * v * x

    for function in (f, tj.function(f)):
        v.assign(2.0)
        with tj.GradientTape() as outer:
            with tj.GradientTape() as inner:
                y = function(x)
            first = inner.gradient(y, v)
        assert (float(first), float(outer.gradient(first, v))) == (135.0, 90.0)


@pytest.mark.parametrize("view", [lambda v: +v, tj.convert_to_tensor, tj.identity, lambda v: v.value(), lambda v: v[:]])
@pytest.mark.parametrize("wrap", [lambda f: f, tj.function])
def test_what_a_variable_becomes_is_a_tensor_of_its_own(wrap, view):
    v = tj.Variable([1.0, 2.0])

    def gradients():
        with tj.GradientTape() as tape:
            y = view(v)
            z = v * y
        return tape.gradient(z, [v, y])

    of_v, of_y = wrap(gradients)()
    np.testing.assert_array_equal(of_v, [2.0, 4.0])
    np.testing.assert_array_equal(of_y, [1.0, 2.0])


def test_a_constant_of_a_variable_is_no_longer_its():
    v = tj.Variable([1.0, 2.0])
    with tj.GradientTape() as tape:
        z = tj.constant(v) * 2.0
    assert tape.gradient(z, v) is None


def test_a_tape_in_a_traced_function_does_not_watch_what_one_around_the_call_was_told_to() -> None:
    def slope(x: Any) -> Any:
        with tj.GradientTape() as inner:
            y = x * x * x
        return inner.gradient(y, x)

    x = tj.constant(3.0)
    with tj.GradientTape() as outer:
        outer.watch(x)
        eager, traced = slope(x), tj.function(slope)(x)
    assert float(eager) == 27.0 and traced is None
