"""Public functions composed of ops: TensorFlow's names and arguments, no rules of their own."""

from tracejit.functions import nn
from tracejit.functions.arrays import (
    broadcast_to, concat, expand_dims, eye, fill, gather, getitem, linspace, one_hot, ones, ones_like, pad, range,
    reshape, reverse, split, squeeze, stack, static_shape, tile, transpose, unstack, zeros, zeros_like,
)  # fmt: skip
from tracejit.functions.math import (
    add_n, argmax, argmin, cast, clip_by_value, divide, floordiv, floormod, matmul, norm, pow, reciprocal, reduce_all,
    reduce_any, reduce_logsumexp, reduce_max, reduce_mean, reduce_min, reduce_prod, reduce_std, reduce_sum,
    reduce_variance, shape, size, square, squared_difference, where,
)  # fmt: skip
