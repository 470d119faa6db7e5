"""Logic of bools, and of the bits of integers."""

from __future__ import annotations

import numpy as np

from tracejit.ops.elementwise import BOOL, INTS, Binary, Unary

logical_not: Unary = Unary("logical_not", dtypes=BOOL, evaluate=np.logical_not, lower=lambda b, x: b.not_(x))
logical_and: Binary = Binary("logical_and", arity=2, dtypes=BOOL, evaluate=np.logical_and, lower=lambda b, x, y: b.and_(x, y))
logical_or: Binary = Binary("logical_or", arity=2, dtypes=BOOL, evaluate=np.logical_or, lower=lambda b, x, y: b.or_(x, y))
logical_xor: Binary = Binary("logical_xor", arity=2, dtypes=BOOL, evaluate=np.logical_xor, lower=lambda b, x, y: b.xor(x, y))

invert: Unary = Unary("invert", dtypes=INTS, evaluate=np.invert, lower=lambda b, x: b.xor(x, b.const(-1, x.dtype)), vjp=(None,))
bitwise_and: Binary = Binary("bitwise_and", arity=2, dtypes=INTS, evaluate=np.bitwise_and, lower=lambda b, x, y: b.and_(x, y))
bitwise_or: Binary = Binary("bitwise_or", arity=2, dtypes=INTS, evaluate=np.bitwise_or, lower=lambda b, x, y: b.or_(x, y))
bitwise_xor: Binary = Binary("bitwise_xor", arity=2, dtypes=INTS, evaluate=np.bitwise_xor, lower=lambda b, x, y: b.xor(x, y))
