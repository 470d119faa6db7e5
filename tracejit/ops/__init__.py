"""The op registry: one entry an op, a file a family. What is composed of these ops lives in tracejit.functions."""

from tracejit.ops.autodiff import (
    TapeEntry, differentiated, expand_gradient, expand_gradients, gapped_reverse, reached_from, entries_of, reverse,
)  # fmt: skip
from tracejit.ops.activations import depending, if_positive, leaky_relu, relu, silu, softplus
from tracejit.ops.bits import (
    bitwise_and, bitwise_or, bitwise_xor, invert, logical_and, logical_not, logical_or, logical_xor, truths,
)  # fmt: skip
from tracejit.ops.control import (
    constant_op, custom_gradient, element, fusion, gradient, identity, iota, parameter, stop_gradient,
)  # fmt: skip
from tracejit.ops.cotangents import Gapped, dense
from tracejit.ops.convolution import convolution, max_windows, transposed_convolution, window_extents
from tracejit.ops.elementwise import (
    abs, add, ceil, div, equal, floor, floordiv, greater, greater_equal,
    is_finite, less, less_equal, maximum, minimum, mod, mul, neg, not_equal, reciprocal, round, sign, sqrt,
    sub,
)  # fmt: skip
from tracejit.ops.elementary import *  # noqa: F403  # what it defines, by rule
from tracejit.ops.gaps import div_or_zero, mul_or_zero
from tracejit.ops.indexing import check_nonzero, check_range, gather, scatter_add
from tracejit.ops.linalg import matmul
from tracejit.ops.operands import (
    align, broadcast_to, common_shape, constant, filled_like, frozen, lift, ones_like, zeros_like,
)  # fmt: skip
from tracejit.ops.powers import pow, power
from tracejit.ops.reduce import (
    argmax, argmin, in_float32, kept_axes, reduce_all, reduce_any, reduce_max, reduce_min, reduce_prod, reduce_sum,
)  # fmt: skip
from tracejit.ops.random import random_integers, random_uniform
from tracejit.ops.selection import cast, select
from tracejit.ops.shape import (
    broadcast,
    concat,
    pad,
    reshape,
    reverse as reverse_axes,
    slice,
    transpose,
)
