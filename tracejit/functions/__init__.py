"""Public functions composed of ops: TensorFlow's names and arguments, no rules of their own."""

from tracejit.functions import arguments, nn
from tracejit.functions.arrays import (
    broadcast_to, concat, expand_dims, gather, pad, reshape, reverse, split, squeeze, stack, tile, transpose,
    unstack,
)  # fmt: skip
from tracejit.functions.creation import (
    eye, fill, linspace, one_hot, ones, ones_like, range, zeros, zeros_like,
)  # fmt: skip
from tracejit.functions.indexing import getitem
from tracejit.functions.math import (
    add_n, argmax, argmin, cast, clip_by_value, divide, floordiv, floormod, matmul, norm, pow, reciprocal, reduce_all,
    reduce_any, reduce_logsumexp, reduce_max, reduce_mean, reduce_min, reduce_prod, reduce_std, reduce_sum,
    reduce_variance, shape, size, square, squared_difference, where,
)  # fmt: skip
