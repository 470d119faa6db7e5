"""Where tracejit differs from TensorFlow on purpose: which cases, and why.

A row is for the cases whose function and kind of difference fit its patterns, and for which `when` holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from reference.answers import Answer
from reference.cases import FLOATS, A, Case, K, S, T, V


@dataclass(frozen=True)
class Difference:
    """One deliberate difference. `functions` and `kinds` are patterns, `functions` with commas between, `kinds` with spaces; `said` is `when` in words."""

    functions: str
    kinds: str
    said: str
    reason: str
    when: Callable[[Case, Answer, Answer], bool] = lambda case, theirs, ours: True

    def covers(self, case: Case, kind: str, theirs: Answer, ours: Answer) -> bool:
        fits = any(fnmatchcase(case.function, each) for each in self.functions.split(", ")) and any(
            fnmatchcase(kind, each.replace("_", " ")) for each in self.kinds.split()
        )
        return fits and self.when(case, theirs, ours)


def has(*dtypes: str) -> Callable[[Case, Answer, Answer], bool]:
    """Whether an argument has one of the dtypes."""
    return lambda case, theirs, ours: any(leaf.dtype in dtypes for leaf in case.leaves())


def says(*texts: str) -> Callable[[Case, Answer, Answer], bool]:
    """Whether our error has one of the texts."""
    return lambda case, theirs, ours: any(text in str(ours.get("text", "")) for text in texts)


def any_leaf(test: Callable[[np.ndarray], Any]) -> Callable[[Case, Answer, Answer], bool]:
    """Whether an array of the arguments passes the test."""
    return lambda case, theirs, ours: any(bool(np.any(test(leaf.array()))) for leaf in case.leaves())


def subnormal(array: np.ndarray) -> Any:
    least = {"float64": 2.3e-308, "float32": 1.2e-38, "float16": 6.2e-5, "bfloat16": 1.2e-38}.get(array.dtype.name, 0)
    values = np.abs(array.astype(np.float64)) if least else array
    return (values > 0) & (values < least) if least else np.array(False)


def has_number(value: Any, test: Callable[[Any], bool]) -> bool:
    """Whether a plain argument passes the test, in a list or not."""
    if isinstance(value, (list, tuple)):
        return any(has_number(each, test) for each in value)
    return test(value)


def plain(test: Callable[[Any], bool]) -> Callable[[Case, Answer, Answer], bool]:
    return lambda case, theirs, ours: has_number([*case.args, *case.kwargs.values()], test)


def without_nan(case: Case, theirs: Answer, ours: Answer) -> bool:
    """Whether the value is no NaN where TensorFlow's gradient is one and tracejit's is not: what is NaN has no derivative."""
    values = [np.isnan(each.astype(np.float64)) for each in _arrays(ours["value"])]
    for order in ("first", "second"):
        for one, other in zip(_arrays(theirs.get(order)), _arrays(ours.get(order)), strict=False):
            if one.shape == other.shape:
                hidden = np.isnan(one.astype(np.float64)) & ~np.isnan(other.astype(np.float64))
                where = [value & hidden if value.shape == hidden.shape else value for value in values]
                if hidden.any() and any(each.any() for each in where):
                    return False
    return True


def _arrays(value: Any) -> list[np.ndarray]:
    if isinstance(value, (list, tuple)):
        return [array for each in value for array in _arrays(each)]
    return [value] if isinstance(value, np.ndarray) and value.dtype.name in FLOATS else []


def is_bfloat16(case: Case) -> bool:
    """Whether an argument is of the dtype bfloat16, or is the dtype."""
    return "bfloat16" in str(case)


HALVES = ("float16", "bfloat16")
OTHER_DTYPES = ("uint8", "complex64", "text", "int8", "int16", "complex")

DIFFERENCES: list[Difference] = [
    Difference(
        "*",
        "refused error_class bare_error type",
        "an argument is float16 or bfloat16",
        "Half dtypes are for mixed precision: the README lists the ops that take them; the error says to cast.",
        lambda case, theirs, ours: (
            says("float16", "bfloat16", "f16", "bf16")(case, theirs, ours)
            and any(leaf.dtype in HALVES for leaf in case.leaves())
        ),
    ),
    Difference(
        "*",
        "refused",
        "complex numbers, texts and dtypes that tracejit has not",
        "tracejit has float32, float64, float16, bfloat16, int32, int64 and bool (README, Limits).",
        lambda case, theirs, ours: (
            has("uint8", "complex64")(case, theirs, ours)
            or (
                plain(lambda value: isinstance(value, (complex, str, bytes)))(case, theirs, ours)
                and says("cannot become a tensor", "not a dtype", "is no dtype", "must be a list of tensors")(
                    case, theirs, ours
                )
            )
        ),
    ),
    Difference(
        "*",
        "value first second type subnormal_in_value subnormal_in_first subnormal_in_second NaN_in_first NaN_in_second sign_of_zero_in_value",
        "subnormal numbers among the arguments, or as results",
        "TensorFlow takes and gives zero for them (flush to zero); tracejit computes with them, as IEEE 754 says.",
        lambda case, theirs, ours: any_leaf(subnormal)(case, theirs, ours),
    ),
    Difference(
        "*",
        "subnormal_in_value subnormal_in_first subnormal_in_second",
        "a result is subnormal",
        "TensorFlow gives zero (flush to zero); tracejit the number.",
    ),
    Difference(
        "*",
        "refused",
        "an integer tensor with a NumPy float",
        "An error, as with a Python float: TensorFlow truncates it silently.",
        lambda case, theirs, ours: (
            says("does not become int", "is a float")(case, theirs, ours)
            and any(isinstance(leaf, (S, A)) and leaf.dtype.startswith("float") for leaf in case.leaves())
        ),
    ),
    Difference(
        "*",
        "refused",
        "a Python int, or an integer of NumPy's, that the tensor's dtype cannot hold",
        "An error: TensorFlow lets it wrap around.",
        lambda case, theirs, ours: (
            says("does not fit into", "fit int")(case, theirs, ours)
            and (
                plain(lambda value: isinstance(value, int) and abs(value) >= 2**31)(case, theirs, ours)
                or any(isinstance(leaf, (S, A)) and leaf.dtype == "int64" for leaf in case.leaves())
            )
        ),
    ),
    Difference(
        "tape seed",
        "refused",
        "",
        "output_gradients are checked for shape and dtype.",
    ),
    Difference(
        "operator.pos, tape views, Tensor.len",
        "accepted",
        "+x; len() of a variable",
        "+x is x, as for NumPy, and a variable has the length of a tensor; TensorFlow has neither.",
        lambda case, theirs, ours: case.function != "tape views" or case.args[-1] == 7,
    ),
    Difference(
        "constant, convert_to_tensor, fill, cast",
        "sign_of_zero_in_value",
        "the Python number -0.0",
        "TensorFlow keeps tensors of scalars by their Python value, where -0.0 == 0.0, and gives the other zero.",
        plain(lambda value: isinstance(value, float) and value == 0),
    ),
    Difference(
        "nn.gelu",
        "value first second NaN_in_second",
        "float64",
        "TensorFlow's constants are those of float32: 9 digits are right.",
        lambda case, theirs, ours: has("float64")(case, theirs, ours),
    ),
    Difference(
        "nn.leaky_relu",
        "value first",
        "float64",
        "TensorFlow rounds alpha to float32.",
        lambda case, theirs, ours: has("float64")(case, theirs, ours),
    ),
    Difference(
        "nn.moments, nn.softmax_cross_entropy_with_logits",
        "second",
        "",
        "TensorFlow's second derivative takes the mean, or the labels, for constants; tracejit's is the derivative of the first.",
    ),
    Difference(
        "add",
        "accepted",
        "the first operand is no tensor",
        "It takes the dtype of the second, as in all other functions; TensorFlow's add alone makes a tensor of it first.",
        lambda case, theirs, ours: bool(case.args) and not isinstance(case.args[0], (T, V)),
    ),
    Difference(
        "*",
        "accepted",
        "bfloat16 with a bool, or a whole number beyond int64",
        "They are numbers for every other floating dtype.",
        lambda case, theirs, ours: (
            is_bfloat16(case)
            and plain(lambda value: isinstance(value, bool) or (type(value) is int and abs(value) >= 2**63))(case, theirs, ours)
        ),
    ),
    Difference(
        "operator.eq, operator.ne, Tensor.equality",
        "accepted type",
        "shapes that do not broadcast, and what is no tensor",
        "Python's False (True for !=), so that an `if` may ask in a traced function too; TensorFlow has a tensor, or an error.",
        lambda case, theirs, ours: (
            theirs.get("raised") is not None or any(text in str(ours["value"]) for text in ("False", "True"))
        ),
    ),
    Difference(
        "*",
        "refused",
        "an axis, a size or an index that is a bool, a nested list, None",
        "It must be a whole number, or a list of them.",
        says("whole number", "must be 1, 2 or 4"),
    ),
    Difference("*", "refused", "a number or an array in a dtype's place", "A dtype, or its name.", says("is not a dtype")),
    Difference(
        "norm", "refused error_class", "ord other than 'euclidean'", "It is not there, and an error.", says("only 'euclidean'")
    ),
    Difference(
        "nn.max_pool, nn.max_pool2d",
        "value",
        "a window of -inf",
        "Its maximum is -inf; TensorFlow's the least finite number.",
        any_leaf(lambda array: np.isinf(array.astype(np.float64))),
    ),
    Difference(
        "random.uniform form, random.normal form",
        "refused",
        "half dtypes",
        "float32 and float64 are drawn, and int32 and int64 by uniform.",
        says("float16", "bfloat16"),
    ),
    Difference(
        "tape stop gradient, custom_gradient stop gradient of a product, tape views",
        "type",
        "stop_gradient, and constant of a variable",
        "What is computed from a stopped tensor is recorded, so it is a source as others are; TensorFlow's gradient is None.",
        lambda case, theirs, ours: case.function != "tape views" or case.args[-1] == 18,
    ),
    Difference(
        "tape views",
        "value type",
        "add_n of one variable",
        "Its gradient is that of the variable; TensorFlow's add_n gives the value of one variable without a record.",
        lambda case, theirs, ours: case.args[-1] == 19 and isinstance(case.args[0], V),
    ),
    Difference(
        "composed, pow, operator.pow, reduce_prod, norm, nn.silu, atan, atan2, math.erf, math.erfc, nn.gelu",
        "NaN_in_first NaN_in_second",
        "the value is no NaN",
        "A zero that stands for a branch, an element or a cotangent that was left out stays zero beside an infinite derivative, "
        "and derivatives at infinity and at poles are those of the function; TensorFlow multiplies zero by infinity.",
        without_nan,
    ),
    Difference(
        "maximum, minimum, nn.relu, nn.relu6, clip_by_value, nn.max_pool, nn.max_pool2d, sign, composed",
        "sign_of_zero_in_value",
        "",
        "0.0 and -0.0 are equal, and either is the larger one; TensorFlow's depends on the dtype.",
    ),
    Difference(
        "math.floormod, math.mod, operator.mod",
        "sign_of_zero_in_value",
        "",
        "A remainder of zero has the divisor's sign, as in Python.",
    ),
    Difference(
        "nn.softmax_cross_entropy_with_logits, one_hot, tape zero gradients",
        "sign_of_zero_in_value",
        "",
        "0.0 and -0.0 are equal.",
    ),
    Difference("pow, operator.pow", "first", "2 * x overflows", "x ** 2 is x * x, whose derivative is cotangent * x, twice."),
    Difference(
        "argmax, argmin, squeeze, split, unstack, reverse, gather, getitem, one_hot, eye, norm, random.*, nn.softmax, nn.log_softmax, nn.moments, "
        "nn.conv2d*, nn.depthwise_conv2d, nn.max_pool*, nn.avg_pool*",
        "accepted",
        "an axis, a size or an index that is a tensor, a variable or an array of integers",
        "It stands for its value everywhere; for TensorFlow in some places.",
        lambda case, theirs, ours: any(
            isinstance(leaf, (K, S, A, V)) and leaf.dtype.startswith(("int", "uint")) for leaf in case.leaves()
        ),
    ),
    Difference(
        "squeeze",
        "error_class",
        "an axis that is a tensor, and does not fit",
        "It stands for its value, of which the error is; TensorFlow takes lists alone.",
        lambda case, theirs, ours: any(isinstance(leaf, K) for leaf in case.leaves()),
    ),
    Difference(
        "constant, convert_to_tensor",
        "accepted",
        "an array of bools in a list, for a dtype of numbers",
        "Its elements become 0 and 1, as those of an array alone and Python's bools do.",
        lambda case, theirs, ours: any(isinstance(leaf, (S, A)) and leaf.dtype == "bool" for leaf in case.leaves()),
    ),
    Difference(
        "nn.sigmoid_cross_entropy_with_logits",
        "accepted",
        "an array or a list of another dtype than the tensor beside it",
        "It takes the tensor's dtype, as in all functions of two tensors; TensorFlow's makes tensors of both on their own.",
        lambda case, theirs, ours: any(isinstance(each, (list, A)) for each in (*case.args, *case.kwargs.values())),
    ),
    Difference(
        "one_hot",
        "accepted",
        "values of a Python number each, one a float; dtype=bool without values",
        "The second takes the first's dtype, as in all functions; of bools the values are True and False.",
        lambda case, theirs, ours: len(case.args) == 4 or "bool" in str(case),
    ),
    Difference(
        "one_hot",
        "no_None_in_first",
        "",
        "The values' derivative is the sum over the places where they stand; TensorFlow has none.",
    ),
    Difference("one_hot", "refused", "indices that are bools", "An index is a whole number.", says("indices must be int")),
    Difference(
        "random.uniform form, random.normal form, reverse",
        "accepted",
        "one size, or one axis, without a list",
        "It stands for a list of one, as in zeros and reduce_sum.",
        lambda case, theirs, ours: type(case.args[-1 if case.function == "reverse" else 0]) is int,
    ),
    Difference("norm", "accepted", "no axes, or other numbers of them than 1 and 2", "The norm is over any axes."),
    Difference(
        "size",
        "accepted",
        "the name of a dtype",
        "A dtype may be given by its name, as everywhere.",
        plain(lambda value: isinstance(value, str)),
    ),
    Difference(
        "nn.moments",
        "accepted",
        "a list",
        "It becomes a tensor, as everywhere.",
        lambda case, theirs, ours: isinstance(case.args[0], list),
    ),
    Difference(
        "constant",
        "accepted",
        "a list with tensors in it",
        "It is stacked, as convert_to_tensor does; TensorFlow's constant takes the tensors for lists.",
        lambda case, theirs, ours: any(
            isinstance(each, (T, V)) for item in case.args[0] for each in (item if isinstance(item, (list, tuple)) else (item,))
        ),
    ),
    Difference(
        "convert_to_tensor",
        "accepted",
        "a list with tensors of several dtypes, and a dtype",
        "Each is converted; TensorFlow converts the first alone.",
        lambda case, theirs, ours: len({leaf.dtype for leaf in case.leaves()}) > 1,
    ),
    Difference(
        "convert_to_tensor, constant, logical_not, reduce_all, reduce_any",
        "refused",
        "a tensor of floats in a list, for integers or bools; constant of a variable of another dtype",
        "An error that says to cast, as for a tensor alone; TensorFlow cuts silently.",
        says("convert it with cast"),
    ),
    Difference(
        "fill",
        "accepted_in_first",
        "the value is one in a list",
        "The derivative is the sum; TensorFlow's is an error of its own.",
    ),
    Difference(
        "transpose",
        "accepted_in_first accepted_in_second",
        "negative axes",
        "The derivative is that of the axes that they stand for; TensorFlow's is an error of its own.",
        lambda case, theirs, ours: (
            plain(lambda value: type(value) is int and value < 0)(case, theirs, ours)
            or any(isinstance(leaf, (A, K)) and bool(np.any(leaf.array() < 0)) for leaf in case.leaves())
        ),
    ),
    Difference(
        "nn.softmax_cross_entropy_with_logits",
        "accepted accepted_in_first",
        "an axis that is not the last of the labels; labels that are repeated",
        "The function is defined for them; TensorFlow's own transposition, or its gradient, fails.",
        lambda case, theirs, ours: len(case.args) > 2 or "axis" in case.kwargs or "value" in theirs,
    ),
    Difference(
        "getitem",
        "refused",
        "a list",
        "A list is no key: NumPy takes it for indices of one axis, TensorFlow for a tuple of keys.",
        lambda case, theirs, ours: isinstance(case.args[1], list),
    ),
    Difference(
        "unstack",
        "refused",
        "num=0",
        "It is not the number of the slices; TensorFlow gives none of them.",
        says("not num=0"),
    ),
    Difference(
        "stack",
        "error_class",
        "a list that mixes bools and numbers",
        "It is an InvalidArgumentError, as constant's; TensorFlow has a ValueError there and a TypeError here.",
        says("mixes bools and numbers"),
    ),
    Difference("add_n", "refused", "a dict", "It has no order; a list of its values has.", says("a list of tensors")),
    Difference(
        "operator.matmul",
        "bare_error",
        "two lists",
        "No tensor is there: the error is Python's, in TensorFlow too.",
        lambda case, theirs, ours: all(isinstance(each, list) for each in case.args),
    ),
    Difference(
        "pad",
        "error_class",
        "two wrong arguments",
        "The error is of the paddings, TensorFlow's of the value.",
        says("paddings must be"),
    ),
    Difference(
        "nn.depthwise_conv2d",
        "error_class",
        "strides or dilations of one number that is not positive",
        "One number stands for both axes, so that it is its value that is wrong.",
        says("must be 1, 2 or 4 positive numbers"),
    ),
    Difference(
        "nn.conv2d, nn.depthwise_conv2d, nn.max_pool, nn.max_pool2d, nn.avg_pool, nn.avg_pool2d",
        "refused",
        "a window larger than its padded image",
        "An error: TensorFlow reads beyond the image, gives a result without elements, or ends the process.",
        says("does not fit into"),
    ),
    Difference(
        "nn.conv2d, nn.depthwise_conv2d, nn.max_pool, nn.avg_pool",
        "refused",
        "images of one or three dimensions, or several batch axes",
        "Convolution and pooling are of two dimensions (README, Limits).",
        says("the input needs 4 axes"),
    ),
    Difference(
        "pow, operator.pow",
        "NaN_in_second",
        "x ** 1 at 0 and NaN",
        "It is linear, with the second derivative 0; TensorFlow computes 0 * x ** -1.",
        lambda case, theirs, ours: case.args[1] == 1,
    ),
    Difference(
        "reduce_prod",
        "NaN_in_second",
        "a NaN among the elements",
        "An element's second derivative is a product of the others; TensorFlow divides by cases.",
        any_leaf(lambda array: np.isnan(array.astype(np.float64))),
    ),
    Difference(
        "composed",
        "NaN_in_first NaN_in_second",
        "NaN as argument of where, of relu and of a product of one element",
        "The branch that was taken has a derivative without the NaN; TensorFlow multiplies the branch left out by zero.",
        lambda case, theirs, ours: case.args[1] in (1, 9, 11, 14, 17),
    ),
    Difference(
        "composed",
        "second",
        "x * log(x) at 0",
        "Its first derivative is NaN there in both, 0 times infinity, and so is the second here; TensorFlow has an infinity.",
        lambda case, theirs, ours: case.args[1] == 5 and any_leaf(lambda array: array == 0)(case, theirs, ours),
    ),
    Difference(
        "asinh, acosh",
        "second",
        "the largest number",
        "cosh(asinh(x)) rounds to infinity there, and the second derivative to NaN.",
        any_leaf(lambda array: np.isfinite(array) & (np.abs(array.astype(np.float64)) > 1e308)),
    ),
    Difference(
        "divide, operator.truediv",
        "second",
        "float16, infinity over the largest number",
        "The divisor's square overflows, and beside the infinite quotient it gives NaN; TensorFlow divides twice.",
        lambda case, theirs, ours: (
            has("float16")(case, theirs, ours)
            and any_leaf(lambda array: np.isinf(array.astype(np.float64)))(case, theirs, ours)
        ),
    ),
    Difference(
        "nn.gelu",
        "second",
        "approximate, of float32, where tanh is 1 but for some units",
        "1 - tanh ** 2 has no digit there; TensorFlow's tanh is exactly 1 earlier.",
        lambda case, theirs, ours: True in case.args or "approximate" in case.kwargs,
    ),
    Difference(
        "nn.moments",
        "first",
        "an infinity among the elements",
        "The variance is NaN, and so are its derivatives; TensorFlow takes the mean for a constant.",
        any_leaf(lambda array: np.isinf(array.astype(np.float64))),
    ),
    Difference(
        "random.set_seed twice, Tensor.hash",
        "refused",
        "compiled, where Python asks for a value",
        "A traced tensor has none.",
        says("it has no value"),
    ),
    Difference(
        "random.uniform form",
        "accepted",
        "compiled, an empty interval of integers",
        "The program asks for the shape and the dtype alone, so that nothing is drawn when it is compiled.",
        lambda case, theirs, ours: case.args[1] >= case.args[2],
    ),
    Difference(
        "nn.conv2d, nn.depthwise_conv2d, nn.conv2d_transpose, nn.max_pool, nn.max_pool2d, nn.avg_pool, nn.avg_pool2d",
        "accepted accepted_in_first accepted_in_second",
        "strides and windows of 1, 2 or 4 numbers, padding in small letters, empty images, dilations in float64",
        "Each is taken by every one of these functions; TensorFlow's take other ones each.",
    ),
    Difference(
        "nn.conv2d, nn.depthwise_conv2d, nn.conv2d_transpose, nn.max_pool, nn.max_pool2d, nn.avg_pool, nn.avg_pool2d",
        "refused",
        "strides and padding of batch and channels, an output_shape of 2 numbers",
        "An error; TensorFlow takes them in some of these functions.",
        says("batch and channels", "must be 4 sizes"),
    ),
    Difference(
        "Variable, Variable.not trainable",
        "refused",
        "compiled",
        "A traced function that creates a Variable in each call is an error, in TensorFlow's functions too.",
        says("is created in each call"),
    ),
    Difference(
        "*",
        "refused",
        "compiled, a tensor whose value is an argument in the place of an axis, a shape or a size",
        "It must be known while tracing.",
        says("known while tracing"),
    ),
    Difference("*", "refused", "a flag that is neither True nor False", "An error.", says("must be True or False")),
    Difference(
        "reduce_mean, nn.moments",
        "refused",
        "integers: none, or a variance",
        "There is no mean of nothing among the integers, and a variance cut to one says nothing.",
        says("no integers to take", "it takes float32"),
    ),
    Difference(
        "reverse",
        "refused",
        "an axis of a scalar",
        "It has none.",
        lambda case, theirs, ours: says("is not in [0, 0)", "reverse")(case, theirs, ours),
    ),
    Difference(
        "operator.mul, Variable, add_n, divide, operator.truediv",
        "refused",
        "bools",
        "bools have no arithmetic; TensorFlow's * means & there, add_n gives one tensor as it is, and NumPy's / is NumPy's.",
        lambda case, theirs, ours: (
            says("not bool", "no bool", "become bool", "and bool")(case, theirs, ours)
            and "bool" in str(case) + str(ours.get("text"))
        ),
    ),
    Difference(
        "nn.moments",
        "shape_of_value",
        "axes=[]",
        "TensorFlow drops every axis of size 1 there.",
        lambda case, theirs, ours: [] in case.args,
    ),
    Difference(
        "nn.max_pool, nn.max_pool2d",
        "value first",
        "a NaN in a window",
        "It is the window's maximum, as in reduce_max; TensorFlow's depends on where the NaN lies.",
        any_leaf(lambda array: np.isnan(array.astype(np.float64))),
    ),
    Difference(
        "math.erf",
        "value NaN_in_first",
        "float64 infinities",
        "erf(inf) is 1; TensorFlow gives NaN for what is huge.",
        has("float64"),
    ),
    Difference(
        "nn.softmax, nn.log_softmax",
        "value",
        "an infinity or NaN among the logits",
        "The sum of the row is NaN, and so is each share of it.",
        any_leaf(lambda array: ~np.isfinite(array.astype(np.float64))),
    ),
    Difference(
        "square",
        "first",
        "2 * x overflows, and the cotangent is small",
        "tracejit multiplies by the cotangent first.",
    ),
    Difference(
        "reduce_prod, composed",
        "second",
        "two elements are 0",
        "TensorFlow's derivative of the gradient leaves out what it computed by cases.",
        lambda case, theirs, ours: case.function == "reduce_prod" or case.args[1] == 14,
    ),
    Difference(
        "*",
        "refused",
        "a float, though whole, for integers or bools",
        "An error that says to cast; TensorFlow cuts some of them silently.",
        lambda case, theirs, ours: (
            (
                plain(lambda value: isinstance(value, float))(case, theirs, ours)
                or any(isinstance(leaf, (A, K, S)) and leaf.dtype.startswith("float") for leaf in case.leaves())
            )
            and says("does not become", "must be a number that is")(case, theirs, ours)
        ),
    ),
    Difference(
        "nn.conv2d, nn.depthwise_conv2d",
        "shape_of_value",
        "empty batches",
        "They have the shape that others have; TensorFlow's keep the input's channels.",
        any_leaf(lambda array: np.array(array.size == 0)),
    ),
    Difference(
        "nn.softmax_cross_entropy_with_logits",
        "first second",
        "labels that do not sum to 1",
        "TensorFlow's derivative is softmax - labels, which is right for labels that sum to 1 alone; tracejit's is right for all.",
    ),
]


def reason_for(case: Case, kind: str, theirs: Answer, ours: Answer) -> Difference | None:
    """The row that covers a difference."""
    return next((each for each in DIFFERENCES if each.covers(case, kind, theirs, ours)), None)
