"""The kinds of lines that programs are drawn from. Ops come out of the registry and functions out of the public modules, so that
a new one is among them at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tracejit.ir import OPS
from tracejit.ir.types import array_type, bool_, float32, float64, int32
from tracejit.ops.elementwise import Binary

from .arguments import DEPTHS, call_text, public_functions
from .generate import DTYPES, Generator, Stop
from .program import Line, literal

FLOATS = (float32, float64)


def draw_line(draw: Generator) -> None:
    """Add a line of some kind, or several; none where what was drawn does not fit."""
    kinds = _SMOOTH if draw.smooth else _KINDS
    weights = np.array(list(kinds.values()))
    kind = list(kinds)[int(draw.rng.choice(len(weights), p=weights / weights.sum()))]
    kind(draw)


# -- ops


@cache
def _elementwise() -> list[Any]:
    return [OPS[name] for name in sorted(OPS) if hasattr(OPS[name], "dtypes")]


@cache
def _sampled() -> dict[str, list[Any]]:
    """The other ops' samples."""
    found = {}
    for name in sorted(OPS):
        # A constant's array may not be written to, which a user's tj.constant sees to.
        if OPS[name].samples is not None and not hasattr(OPS[name], "dtypes") and name != "constant":
            found[name] = list(OPS[name].samples(np.random.default_rng(0)))
    return found


@cache
def _spelled() -> dict[int, str]:
    """How a user writes an op."""
    return {id(value): name for name, value in public_functions().items()}


def elementwise(draw: Generator) -> None:
    op = draw.pick([op for op in _elementwise() if float64 in op.dtypes and any(op.vjp)] if draw.smooth else _elementwise())
    called = _spelled().get(id(op), f"OPS[{op.name!r}]")
    first = draw.value(dtypes=[dtype for dtype in op.dtypes if not draw.smooth or dtype is float64] or op.dtypes)
    kind = draw.types[first]
    if kind.dtype not in op.dtypes:
        return
    operands = [first]
    for limits in op.domain[1:]:
        if not isinstance(op, Binary):  # an op for the inside, which takes tensors of one shape
            operands.append(draw.same_type(kind))
            operands = [_read(each) for each in operands]
        else:
            number = draw.scalar(kind.dtype) if draw.chance(0.3) else None
            # In a smooth program none that is outside of the domain, near a pole or a jump.
            takes = number is not None and not (draw.smooth and not limits[0] <= float(number) <= limits[1])
            operands.append(number if takes else draw.fitting(kind))
    if kind.dtype.is_floating and (draw.smooth or not draw.special) and (draw.smooth or draw.chance(0.8)):
        operands = [_within(each, limits) for each, limits in zip(operands, op.domain, strict=True)]
    draw.add(f"{draw.name('v')} = {called}({', '.join(operands)})")


def _read(name: str) -> str:
    """A variable's value for an op that users do not call; a parameter may be a variable."""
    return f"tj.convert_to_tensor({name})" if name[0] in "Vp" else name


def _within(operand: str, limits: tuple[float, float]) -> str:
    """`operand` brought into an op's domain where that is not about what all values lie in."""
    low, high = limits
    return operand if (low, high) == (-2, 2) or operand[0].isdigit() or operand[0] == "-" else (
        f"{round(high - low, 3)} * tj.sigmoid({operand}) + {low}" if low else f"{high} * tj.sigmoid({operand})"
    )  # fmt: skip


def sampled(draw: Generator) -> None:
    """An op on values of the types that one of its samples has."""
    name = draw.pick(sorted(_sampled()))
    if draw.smooth and (name == "stop_gradient" or not (callable(OPS[name].vjp) or any(OPS[name].vjp))):
        return
    arrays, attrs = draw.pick(_sampled()[name])
    if draw.smooth and any(array.dtype.kind == "f" and array.dtype != np.float64 for array in arrays):
        return
    operands = []
    for array in arrays:
        kind = array_type(array)
        if kind.dtype.is_floating or kind.dtype.is_bool:
            operands.append(_read(draw.value_of(kind.dtype, kind.shape)))
        else:
            operands.append(draw.constant(literal(array)))
    text = ", ".join([*operands, *(f"{key}={literal(value)}" for key, value in attrs.items())])
    draw.add(f"{draw.name('v')} = OPS[{name!r}]({text})")


@cache
def _functions() -> dict[str, Callable[..., Any]]:
    return {name: value for name, value in public_functions().items() if not hasattr(value, "dtypes")}


def public(draw: Generator) -> None:
    name = draw.pick(sorted(_functions()))
    if draw.smooth and (name in _NOT_SMOOTH or "random" in name):
        return
    text = call_text(name, _functions()[name], draw)
    if text is None:
        return
    several = {"tj.unstack": None, "tj.split": None, "tj.nn.moments": 2}
    if name in several:
        count = several[name] or _count(draw, text)
        if not 0 < count < 6:
            return
        draw.add(f"{', '.join(draw.name('v') for _ in range(count))}{',' if count == 1 else ''} = {text}")
    else:
        draw.add(f"{draw.name('v')} = {text}")


_NOT_SMOOTH = ("tj.stop_gradient", "tj.cast", "tj.constant", "tj.convert_to_tensor")


def _count(draw: Generator, text: str) -> int:
    try:
        return len(eval(text, draw.space))
    except (TypeError, ValueError):
        return 0


# -- Python


def operator(draw: Generator) -> None:
    sign = draw.pick([*"++---**//", "//", "%", "**", "@", "<", ">=", "==", "!=", "&", "|", "^"])
    if sign in "&|^":
        first = draw.value(dtypes=[bool_])
    elif sign == "@":
        deep = not draw.smooth and draw.chance(0.06)
        first = draw.new_input(draw.pick(FLOATS), (3, draw.pick(DEPTHS))) if deep else draw.value(dtypes=FLOATS, least_rank=2)
    else:
        first = draw.value(dtypes=None)
    kind = draw.types[first]
    if sign == "@":
        second = draw.value_of(kind.dtype, (kind.shape[-1], draw.size()))
    else:
        second = draw.scalar(kind.dtype) if draw.chance(0.5) else draw.fitting(kind)
    if sign == "**" and kind.dtype.is_floating:
        second = draw.pick(["1", "2", "3", "4", "0.5", "2.0", "3.0", "-1.0", "1.0"])
    pair = [first, second] if draw.chance(0.8) or sign in "@**" else [second, first]
    draw.add(f"{draw.name('v')} = {pair[0]} {sign} {pair[1]}")


def index(draw: Generator) -> None:
    """A view or a gather by Python's indexing."""
    first = draw.value(dtypes=None, least_rank=1)
    keys = []
    for size in draw.types[first].shape:
        form = draw.rng.random()
        if form < 0.15:
            keys.append(str(int(draw.rng.integers(-size, size))) if size else ":")
        elif form < 0.55:
            start, stop = (draw.pick(["", str(int(draw.rng.integers(-size - 1, size + 2)))]) for _ in range(2))
            keys.append(f"{start}:{stop}:{draw.pick(['', '', '-1', '2', '-2', '3'])}")
        elif form < 0.65:
            keys.append(draw.pick(["None", "..."]) if "..." not in keys else "None")
        elif form < 0.72 and size and not draw.smooth:
            keys.append(draw.new_indices(draw.pick([(), (3,)]), size))
        else:
            keys.append(":")
    while len(keys) > 1 and draw.chance(0.3):
        keys.pop()
    draw.add(f"{draw.name('v')} = {first}[{', '.join(keys)}]")


def loop(draw: Generator) -> None:
    """A loop that unrolls."""
    first = draw.value(dtypes=FLOATS)
    other = draw.same_type(draw.types[first])
    name, counter = draw.name("v"), draw.name("i")
    step = draw.pick([f"tj.tanh({name} + {other})", f"{name} * 0.5 + {other} * {counter}", f"tj.sin({name}) * {other}"])
    draw.add(f"{name} = {first}\nfor {counter} in range({draw.pick([1, 2, 3])}):\n    {name} = {step}")


def conditional(draw: Generator) -> None:
    """Python's if, on what is known while tracing."""
    first = draw.value(dtypes=FLOATS)
    condition = draw.pick(
        [f"{first}.shape.rank > 1", f"len({first}.shape) and {first}.shape[0] > 2", f"{first}.dtype == tj.float32"]
    )
    draw.add(f"{draw.name('v')} = tj.exp(-tj.abs({first})) if {condition} else {first} * 2.0")


def alias(draw: Generator) -> None:
    """The same value again, as it is or by way of something that changes nothing."""
    first = draw.value(dtypes=None)
    shape = list(draw.types[first].shape)
    forms = [f"{first}[...]", f"tj.reshape({first}, {shape})", f"tj.identity({first})", f"tj.broadcast_to({first}, {shape})"]
    if draw.types[first].dtype.is_floating:
        forms += [f"{first} ** 1", f"tj.stop_gradient({first})", f"tj.convert_to_tensor({first})"]
    draw.add(f"{draw.name('v')} = {draw.pick(forms)}")


_TRIPS = (
    "tj.cast(tj.cast({x}, {other}), {x}.dtype)", "-(-{x})", "({x} * {c}) / {c}", "({x} / {c}) * {c}", "({x} + {c}) - {c}", "({x} - {c}) + {c}",
    "tj.transpose(tj.transpose({x}, {p}), {q})", "tj.transpose(tj.transpose({x}, {p}) + {c}, {p})", "tj.reverse(tj.reverse({x}, [{a}]), [{b}])",
    "tj.squeeze(tj.expand_dims({x}, {a}), {b})", "tj.stack(tj.unstack({x}, axis={a}), axis={b})", "tj.log(tj.exp({x}))", "tj.exp(tj.log({x}))",
    "tj.sqrt(tj.square({x}))", "tj.square(tj.sqrt({x}))", "tj.reshape(tj.transpose({x}, {p}), {x}.shape)", "tj.abs(-{x})", "1 / (1 / {x})",
    "tj.reduce_sum(tj.tile(tj.expand_dims({x}, {a}), [2] + [1] * len({x}.shape)), {b})", "tj.concat([{x}[:1], {x}[1:]], 0)", "{x}[::-1][::-2]",
    "{x} - ({x} + {x})", "tj.maximum(tj.minimum({x}, {c}), {c})", "tj.where({x} > {c}, {x}, {x})", "tj.pad({x}[1:], [[1, 0]] + [[0, 0]] * (len({x}.shape) - 1))",
    "tj.argmax({x}, {a}) - tj.argmax({x}, {b})", "tj.gather({x}, [0], axis={a}) + tj.gather({x}, [0], axis={b})",
    "tj.reverse({x}, [{a}]) + tj.reverse({x}, [{b}])", "tj.nn.softmax({x}, {a}) + tj.nn.softmax({x}, {b})", "tj.reduce_max({x}, {a}) - tj.reduce_max({x}, {b})",
)  # fmt: skip
# Thousands of pieces take minutes to compile on a busy machine (README, Limits).
_MOST_PIECES = 300


def round_trip(draw: Generator) -> None:
    """What is done and undone, or only nearly: what a pass may take for nothing."""
    first = draw.value(dtypes=None)
    kind = draw.types[first]
    rank = len(kind.shape)
    axes = [int(each) for each in draw.rng.permutation(rank)]
    back = draw.pick([axes, [int(each) for each in np.argsort(axes)], axes[::-1]])
    a, b = (int(draw.rng.integers(max(rank, 1))) for _ in range(2))
    numbers = [1, 2, 3, -2, 7] if kind.dtype.is_integer else [1.0, 2.0, 3.0, 0.1, -0.7, 10.0, 4.0]
    c = "True" if kind.dtype.is_bool else draw.pick(numbers)
    other, trip = literal(draw.pick(DTYPES)), draw.pick(_TRIPS)
    if "unstack" in trip and max(kind.shape, default=0) > _MOST_PIECES:
        return
    draw.add(f"{draw.name('v')} = {trip.format(x=first, other=other, p=axes, q=back, a=a, b=b, c=c)}")


# A value from outside, what changes it, and the ways to read it.
_CAPTURED = (
    ("{a}", "{k} = {b}", ("{k}",)),
    ("[{a}, 2.0]", "{k}[0] = {b}", ("{k}[0]", "{k}[1]", "sum({k})")),
    ("[2.0, {a}]", "{k}[-1] = {b}", ("{k}[0]", "{k}[1]", "max({k})")),
    ("[{a}]", "{k}.append({b})", ("{k}[-1]", "len({k})", "sum({k})")),
    ("[{a}, [2.0, 3.0]]", "{k}[1][0] = {b}", ("{k}[0]", "{k}[1][0]", "{k}[1][1]")),
    ("({a}, 2.0)", "{k} = ({b}, 2.0)", ("{k}[0]", "{k}[1]", "sum({k})")),
    ("{{'a': {a}, 'b': 2.0}}", "{k}['a'] = {b}", ("{k}['a']", "{k}['b']", "sum({k}.values())")),
    ("{{'a': {a}}}", "{k}['b'] = {b}", ("len({k})", "sum({k}.values())")),
    ("SimpleNamespace(a={a}, b=2.0)", "{k}.a = {b}", ("{k}.a", "{k}.b")),
    ("True", "{k} = False", ("(2.0 if {k} else 3.0)", "int({k})")),
)  # fmt: skip


def captured(draw: Generator) -> None:
    """A number out of a Python value from outside, which changes between two calls."""
    first = draw.value(dtypes=None)
    if draw.types[first].dtype.is_bool:
        return
    if draw.captured and draw.chance(0.3):
        name = draw.pick(sorted(draw.captured))
        reads = draw.reads[name]
    else:
        name = draw.name("k")
        made, change, reads = draw.pick(_CAPTURED)
        a, b = draw.pick([(1.5, -0.5), (1, 3), (2.0, 4.0)])
        draw.captured[name] = (made.format(a=a), change.format(k=name, b=b))
        draw.reads[name] = reads
        draw.space[name] = eval(draw.captured[name][0], draw.space)
    read = draw.pick(reads).format(k=name)
    number = f"int({read})" if draw.types[first].dtype.is_integer else read
    draw.add(f"{draw.name('v')} = {first} {draw.pick('*+-')} {number}")


# -- state


def variable(draw: Generator) -> None:
    """An update, or a read that another update may follow."""
    known = [name for name in draw.visible if name[0] == "V"]
    name = draw.pick(known) if known and draw.chance(0.8) else draw.new_variable()
    kind = draw.types[name]
    if draw.chance(0.4):
        read = draw.pick(["{}.read_value()", "{}.value()", "tj.identity({})", "{} + 0", "tj.convert_to_tensor({})", "{}[...]"])
        draw.add(f"{draw.name('v')} = {read.format(name)}")
        return
    how = draw.pick(["assign", "assign_add", "assign_sub"])
    other = draw.same_type(kind)
    if draw.chance(0.3):
        other = draw.pick(
            [f"{name} * 0.5", f"tj.reverse({name}, [0])" if kind.shape else name, f"{name}[::-1]", f"{other} + {name}"]
        )
    if kind.dtype.is_floating and draw.chance(0.5):
        other = f"0.1 * ({other})"
    draw.add(f"{name}.{how}({other})")


_OLD = ("{}", "{}.read_value()", "{}[...]", "{} * 2", "tj.identity({})")
_LATER = (
    "tj.reverse({o}, [0])", "{o}[::-1] + {n}", "tj.concat([{o}, {n}], 0)", "tj.reduce_sum({o} * {n}, axis=0)", "{o} - {n}",
    "tj.reduce_max({o}, axis=0) + tj.reduce_sum({n}, axis=0)", "tj.matmul({o}, {n})", "tj.matmul({o}, {n}, transpose_a=True)",
    "tj.transpose({o})", "tj.pad({o}, [[1, 0]] + [[0, 0]] * (len({o}.shape) - 1))", "tj.gather({o}, [0, -1 % len({o})])",
)  # fmt: skip
_NEW = (
    "{} + 1",
    "{} * {}",
    "{}[::-1]",
    "tj.reverse({}, [0])",
    "tj.transpose({})",
    "tj.matmul({}, {})",
    "{} - tj.reduce_sum({}, axis=0)",
)


def hazard(draw: Generator) -> None:
    """A variable that is written while its old value is still wanted, by itself or in turn with another."""
    size = draw.pick([2, 3, 7, 16, 17, 33, 65])
    dtype = draw.pick([float32, float32, float64, int32])
    names = [draw.new_variable(dtype, draw.pick([(size,), (size, size), (size, size)]))]
    if draw.chance(0.4):
        names.append(draw.new_variable(dtype, draw.types[names[0]].shape))
    olds = [draw.name("v") for _ in names]
    for name, old in zip(names, olds, strict=True):
        draw.add(f"{old} = tj.convert_to_tensor({draw.pick(_OLD).format(name)})", must=True)
    if draw.chance(0.3):
        draw.draw_lines(1)
    values = [*names[1:], *olds[:1]] if len(names) > 1 and draw.chance(0.5) else names
    for name, other in zip(names, values, strict=True):
        text = draw.pick(_NEW).format(other, other) if draw.chance(0.7) else other
        scale = " * 0.1" if dtype.is_floating else ""
        draw.add(f"{name}.assign({text}{scale})" if draw.chance(0.7) else f"{name}.assign_sub(({text}){scale})")
    for _ in range(draw.pick([1, 2])):
        draw.add(f"{draw.name('v')} = {draw.pick(_LATER).format(o=draw.pick(olds), n=draw.pick([*names, *olds]))}")


# -- gradients


def tape(draw: Generator) -> None:
    """A tape, what it sees, and gradients of it; tapes in it give higher orders."""
    if draw.depth > 4:
        return
    options = [] if draw.chance(0.6) else ["persistent=True"]
    if draw.chance(0.1):
        options.append("watch_accessed_variables=False")
    name = draw.name("t")
    head = f"with tj.GradientTape({', '.join(options)}) as {name}:"
    before, focus = list(draw.visible), draw.focus
    first = draw.value(dtypes=FLOATS)
    floats = [each for each in draw.visible if draw.types[each].dtype.is_floating]
    draw.lines.append(Line(draw.depth, head))
    opened = draw.space[name] = eval(head[5 : head.index(" as ")], draw.space)
    opened.__enter__()
    draw.depth += 1
    try:
        watched = list(dict.fromkeys([first, *(draw.pick(floats) for _ in range(draw.pick([0, 1, 2])))]))
        draw.add(f"{name}.watch([{', '.join(watched)}])")
        draw.focus = [*focus, *watched]
        draw.draw_lines(draw.pick([1, 2, 3, 4]))
        if draw.chance(0.5):
            combine(draw, [*watched, *(each for each in draw.visible if each not in before and each[0] != "x")])
        if options and draw.chance(0.2):
            gradient(draw, name, watched, before)
    finally:
        opened.__exit__(None, None, None)
        draw.depth -= 1
        draw.focus = focus
    for _ in range(draw.pick([1, 1, 2]) if options else 1):
        gradient(draw, name, watched, before)


def combine(draw: Generator, names: list[str]) -> None:
    """A scalar that depends on several values at once."""
    first = next((name for name in reversed(names) if draw.types[name].dtype in FLOATS), None)
    if first is None:
        return
    same = [name for name in dict.fromkeys(names) if draw.types[name].dtype is draw.types[first].dtype][-4:]
    parts = [
        draw.pick(["tj.reduce_sum({0} * {0})", "tj.reduce_sum({0}) * 3.0", "tj.reduce_mean({0})"]).format(name) for name in same
    ]
    draw.add(f"{draw.name('v')} = {' + '.join(parts)}")


def gradient(draw: Generator, tape: str, watched: list[str], before: list[str]) -> None:
    floats = [name for name in draw.visible if draw.types[name].dtype.is_floating]
    new = [name for name in floats if name not in before and name[0] != "V"] or floats
    target = draw.pick(new[-3:])
    # A tape also watches what those around it do; around a compiled function they are out of its sight.
    alone = draw.in_function or draw.outer
    sources = [draw.pick(watched) if alone or draw.chance(0.7) else draw.pick(floats) for _ in range(draw.pick([1, 1, 2]))]
    variables = [name for name in floats if name[0] == "V"]
    if variables and draw.chance(0.5):
        sources.append(draw.pick(variables))
    more = ""
    if draw.chance(0.15):
        more = f", output_gradients={draw.same_type(draw.types[target])}"
    if draw.chance(0.15):
        more += ", unconnected_gradients=tj.UnconnectedGradients.ZERO"
    if draw.chance(0.1):
        target = f"[{target}, {draw.pick(new)}]" if "output" not in more else target
    names = [draw.name("g") for _ in sources]
    draw.add(f"{', '.join(names)}{',' if len(names) == 1 else ''} = {tape}.gradient({target}, [{', '.join(sources)}]{more})")


# -- what is computed before the program runs


_NUMBERS = {
    "int32": ("-(2**31)", "2**31 - 1", "2**30 + 1", "-1", "3"),
    "int64": ("-(2**63)", "2**63 - 1", "2**62 + 1", "-1", "3"),
    "float32": ("3e38", "-1e-40", "0.1", "-0.0", "7.0"),
    "float64": ("1e308", "-5e-324", "0.1", "-0.0", "7.0"),
}


def constants(draw: Generator) -> None:
    """An op of two numbers that are known, also where the result is beyond all of the dtype's."""
    dtype = draw.pick(sorted(_NUMBERS))
    one, other = (f"tj.constant({draw.pick(_NUMBERS[dtype])}, tj.{dtype})" for _ in range(2))
    draw.add(f"{draw.name('v')} = {one} {draw.pick(['+', '-', '*', '//', '<'])} {other}", must=True)


# -- functions


def function(draw: Generator) -> None:
    """A function with the decorator, called once or twice."""
    if draw.in_function or draw.depth > 3:
        return
    name = draw.name("h")
    # Each a tensor of its own: to a compiled function two parameters are never one.
    given = list(dict.fromkeys(draw.value(dtypes=None) for _ in range(draw.pick([1, 2]))))
    parameters = [draw.name("p") for _ in given]
    outside, visible, depth = draw.lines, draw.visible, draw.depth
    draw.lines, draw.visible = [], [*(each for each in visible if each[0] == "V"), *parameters]
    draw.in_function, draw.depth = True, 1
    for parameter, each in zip(parameters, given, strict=True):
        value = draw.space[each]
        draw.space[parameter] = value
        draw.types[parameter] = draw.types[each]
    draw.lines.append(Line(0, f"@inner\ndef {name}({', '.join(parameters)}):"))
    body = draw.lines
    failed = None
    try:
        draw.draw_lines(draw.pick([1, 2, 3]))
    except Stop as error:
        failed = error
    made = [each for each in draw.visible if each[0] == "v" and each not in parameters]
    results = list(dict.fromkeys(draw.pick(made) for _ in range(draw.pick([1, 2])))) if made else parameters[:1]
    # Not a parameter itself, which eager mode gives back as the same tensor and a compiled function, as TensorFlow's, does not.
    body.append(Line(1, f"return {', '.join(f'tj.identity({each})' for each in results)}{',' if len(results) == 1 else ''}"))
    draw.lines, draw.visible, draw.in_function, draw.depth = outside, visible, False, depth
    new = [draw.name("v") for _ in results]
    draw.functions += body
    for each, result in zip(new, results, strict=True):
        draw.space[each] = draw.space[result]
        draw.types[each] = draw.types[result]
    # What the body gave is known already; the values of the call are of the same types, which is what counts.
    draw.lines.append(Line(draw.depth, f"{', '.join(new)}{',' if len(new) == 1 else ''} = {name}({', '.join(given)})"))
    if failed is not None:
        raise failed
    draw.visible += new


_RULES = (
    "    return {f}({p}), lambda {q}: {q} * {s} * {d}({p})",
    "    {r} = {f}({p})\n    def grad({q}):\n        return {q} * {s} + {r}\n    return {r}, grad",
    "    def grad({q}):\n        return tj.clip_by_value({q}, -0.1, 0.1)\n    return tj.identity({p}), grad",
    "    {r} = {f}({p})\n    return {r} * {o}, lambda {q}: {q} * {o} * {s}",
)


_GUARDED = (
    "tj.sqrt(tj.where({x} > 0.3, {x}, 0.0))", "tj.where({x} > 0.3, {x}, 0.0) ** 0.5", "tj.where({x} > 0.3, tj.sqrt({x} - 0.3), {x})",
    "tj.where({x} > 0.3, tj.math.log({x}), 1.0)", "tj.where({x} > 0.3, 1.0 / ({x} - 0.3), {x})", "tj.sqrt(tj.nn.relu({x}) + tj.where({x} > 0.3, 0.0, 1.0))",
)  # fmt: skip


def guarded(draw: Generator) -> str | None:
    """A line of which a branch that is not taken has no finite slope; what it defines."""
    name = draw.name("v")
    return name if draw.add(f"{name} = {draw.pick(_GUARDED).format(x=draw.value(dtypes=[float64]))}") else None


def custom(draw: Generator) -> None:
    """A function with a gradient of its own."""
    given = draw.value(dtypes=FLOATS)
    other = draw.same_type(draw.types[given])
    name, p, q, r = draw.name("c"), draw.name("p"), draw.name("p"), draw.name("p")
    f, d = draw.pick([("tj.sin", "tj.cos"), ("tj.exp", "tj.exp"), ("tj.tanh", "tj.sigmoid"), ("tj.square", "tj.abs")])
    rule = draw.pick(_RULES).format(f=f, d=d, p=p, q=q, r=r, s=draw.pick(["2.0", "0.5", "-1.5"]), o=other)
    result = draw.name("v")
    draw.space[p] = None
    if draw.add(f"@tj.custom_gradient\ndef {name}({p}):\n{rule}"):
        draw.add(f"{result} = {name}({given})")


def several(draw: Generator) -> None:
    """A function of two results with a gradient of its own, which is the right one; mostly one result is used."""
    given = draw.value(dtypes=FLOATS)
    name, p, q, r = draw.name("c"), draw.name("p"), draw.name("p"), draw.name("p")
    body = f"    return (tj.sin({p}), {p} * {p}), lambda {q}, {r}: {q} * tj.cos({p}) + {r} * 2.0 * {p}"
    draw.add(f"@tj.custom_gradient\ndef {name}({p}):\n{body}")
    results = [draw.name("v"), draw.name("v")]
    if draw.add(f"{', '.join(results)} = {name}({given})"):
        draw.visible.remove(draw.pick(results))


_KINDS: dict[Callable[[Generator], None], float] = {
    elementwise: 5, sampled: 2.5, public: 7, operator: 3, index: 3, loop: 0.5, conditional: 0.3, alias: 0.6, variable: 1.5, hazard: 0.9,
    tape: 2.2, function: 0.8, custom: 0.7, several: 0.3, round_trip: 1.2, captured: 0.3, constants: 0.5,
}  # fmt: skip
_SMOOTH: dict[Callable[[Generator], None], float] = {
    elementwise: 5,
    sampled: 2.5,
    public: 7,
    operator: 3,
    index: 2,
    loop: 0.5,
    several: 1,
    round_trip: 1,
}
