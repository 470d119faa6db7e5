"""Every public function with a wrong argument: an error of a documented class, whose text names the function and the argument."""

from __future__ import annotations

import inspect
import re
import warnings
from typing import Any

import tracejit as tj
from tracejit.ir.types import bool_, float32, float64, int32

from .arguments import call_text, public_functions
from .check import DOCUMENTED, Difference
from .generate import Generator
from .program import new_space

# The wrong arguments as Python: sizes and axes out of reach, of other types, of structures that end nowhere, of dtypes that no
# op has, and tensors of another dtype or shape.
WRONG = (
    "None", "'a'", "b'a'", "object()", "1.5", "-1", "-7", "10**30", "2**31", "2**62", "2**63", "nan", "inf", "[]", "[[1], [2, 3]]",
    "{}", "{'a': 1}", "{1, 2}", "cyclic()", "1j", "True", "(lambda: 1)", "(i for i in [1, 2])", "int", "[None]", "['a']", "[1.5]",
    "[2**40, 2**40]", "[-1, -1]", "[0, 0]", "[10**30]", "np.array([1 + 2j])", "np.array(['2020-01-01'], 'datetime64[D]')",
    "np.array([object()])", "np.array(['a'])", "np.zeros([2, 2], 'int32')", "tj.constant(True)", "tj.constant([1, 2, 3])",
    "tj.zeros([0, 3])", "tj.zeros([2, 3, 4], tj.float64)", "V0", "tj.constant([5, -9])", "(1, 2, 3, 4, 5)",
    "tj.float32", "'float32'", "'bogus'", "slice(1, 2)", "...", "np.float64(2.5)", "np.int8(3)", "range(3)", "[[[1]]]",
    "np.ma.masked_array([1.0, 2.0], [True, False])", "memoryview(b'ab')", "[tj.zeros([2]), tj.zeros([3])]", "type('T', (), {})()",
)  # fmt: skip

# Other words for an argument that a text may use.
_WORDS = {
    "axis": ("axis", "axes"), "axes": ("axis", "axes"), "perm": ("perm",), "dtype": ("dtype", "type", "convert it"), "transpose_a": ("transpose_a", "sizes"), "transpose_b": ("transpose_b", "sizes"),
    "dilations": ("dilations", "a window of"), "adjoint_a": ("adjoint_a", "sizes"), "adjoint_b": ("adjoint_b", "sizes"),
    "out_type": ("dtype", "type"), "output_type": ("dtype", "type"), "shape": ("shape", "size", "fit"), "dims": ("shape", "dims", "size"),
    "multiples": ("shape", "multiples"), "num_rows": ("shape", "num_rows"), "num_columns": ("shape", "num_columns"), "batch_shape": ("shape",),
    "num_or_size_splits": ("split", "does not divide", "size", "num"), "num": ("num",), "output_shape": ("shape",), "begin": ("begin", "start"),
}  # fmt: skip


def cyclic() -> list[Any]:
    """A list that holds itself."""
    made: list[Any] = [1]
    made.append(made)
    return made


def wrong_call(seed: int) -> tuple[str, str, str, str, str]:
    """(the function, its parameter, the call with one wrong argument, the call without it, the lines before them)."""
    draw = Generator(seed)
    draw.large, draw.special = False, False
    names = sorted(public_functions())
    while True:
        name = draw.pick(names)
        function = public_functions()[name]
        parameters = inspect.signature(function).parameters
        for dtype in (float32, float64, int32, bool_):
            if draw.chance(0.7):
                draw.new_input(dtype, draw.pick([(), (2,), (2, 3), (1, 4, 4, 3)]))
        wrong = draw.pick([each for each in parameters if each != "name"])
        try:
            text = call_text(name, function, draw)
        except DOCUMENTED:
            text = None
        if text is None:
            continue
        placed = _split(text[len(name) + 1 : -1])
        keywords = {each.partition("=")[0]: each.partition("=")[2] for each in placed if _KEYWORD.match(each)}
        positional = [each for each in placed if not _KEYWORD.match(each)]
        for parameter, value in zip(parameters, positional, strict=False):
            keywords[parameter] = value
        right = ", ".join(f"{parameter}={keywords[parameter]}" for parameter in parameters if parameter in keywords)
        keywords[wrong] = draw.pick(WRONG)
        given = [f"{parameter}={keywords[parameter]}" for parameter in parameters if parameter in keywords]
        made = [f"{key} = {value}" for key, value in draw.inputs.items()]
        setup = "\n".join([*made, *(line.text for line in draw.lines), "V0 = tj.Variable([1.0, 2.0])"])
        return name, wrong, f"{name}({', '.join(given)})", f"{name}({right})", setup


_KEYWORD = re.compile(r"[a-z_]+=(?!=)")


def _split(text: str) -> list[str]:
    """The arguments of a call: cut at the commas that are in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _runs(call: str, space: dict[str, Any]) -> bool:
    try:
        eval(call, space)
    except Exception:
        return False
    return True


def check_call(name: str, wrong: str, call: str, right_call: str, setup: str, traced: bool) -> Difference | None:
    """What is wrong with the error of a call; None where it has none, or a good one. Where `right_call`, the call without the wrong
    argument, raises as well, the error may be about another argument."""
    space = {**new_space(), "cyclic": cyclic}
    mode = "arguments" + (", traced" if traced else "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(setup, space)
        right = _runs(right_call, space)
        try:
            if traced:
                tj.function(lambda: eval(call, space))()
            else:
                eval(call, space)
        except MemoryError:
            return None  # the worker's limit; the limits of a machine are an error of its own
        except DOCUMENTED as error:
            fault = _fault(name, wrong if right else None, error)
            return (
                None if fault is None else Difference(mode, None, f"{name}, {wrong}: {fault}: {type(error).__name__}: {error}")
            )
        except Exception as error:
            return Difference(mode, None, f"{name}, {wrong}: not a documented class: {type(error).__name__}: {error}")
    return None


# Where an error says another name than the public one: the op's, or that of the function which this one is.
_NAMES = {
    "multiply": "mul", "subtract": "sub", "negative": "neg", "divide": "div", "floormod": "mod|floordiv", "swish": "silu",
    "avg_pool": "avg_pool2d", "max_pool": "max_pool2d", "mod": "mod|floordiv",
}  # fmt: skip
# What Python and NumPy say by themselves.
_FOREIGN = (
    "interpreted as an integer", "has no attribute", "unhashable", "truth value", "could not be broadcast", "object is not iterable",
    "setting an array element", "maximum recursion", "inhomogeneous", "not subscriptable", "unsupported operand",
    "not supported between", "Unable to allocate", "unexpected keyword",
)  # fmt: skip
_TENSORS = (
    "x", "y", "a", "b", "t", "input", "input_tensor", "tensor", "features", "logits", "labels", "value", "values", "inputs",
    "params", "indices", "condition", "filters", "filter", "bias", "alpha", "beta", "shift", "minval", "maxval", "mean", "stddev",
    "clip_value_min", "clip_value_max", "dtype_hint",
)  # fmt: skip


def _fault(name: str, wrong: str | None, error: Exception) -> str | None:
    """What is wrong with the text of an error. It begins with the function and the types of what it was given; what is no tensor
    is called by its name."""
    text = str(error)
    function = name.rpartition(".")[2]
    if isinstance(error, tj.errors.TracingError):
        return None
    if any(phrase in text for phrase in _FOREIGN):
        return "a text of Python's or NumPy's"
    if not re.match(rf"(random\.)?({_NAMES.get(function, function)})\(", text):
        return "does not name the function"
    words = (*_WORDS.get(wrong, (wrong,)), "dtype", "cannot become a tensor", "do not broadcast") if wrong else ()
    if words and wrong not in _TENSORS and not any(word in text.partition("): ")[2] for word in words):
        return "does not name the argument"
    return None
