"""Python's indexing: x[key]."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit import ops
from tracejit.functions import arguments
from tracejit.functions.arrays import gather
from tracejit.ir import dispatch
from tracejit.ir.errors import DtypeError, IndexOutOfRangeError, InvalidArgumentError, fail, shown
from tracejit.ir.types import bool_

_KEYS = "indexed by ints, slices, Ellipsis, None and integer tensors, or by a mask alone"


def _taken(x: Any, key: slice, extent: int) -> range:
    """The indices that a slice takes of `extent`."""
    start, stop, step = (
        None if part is None else arguments.integer("getitem", f"the {what} of a slice", part, (x,))
        for what, part in (("start", key.start), ("stop", key.stop), ("step", key.step))
    )
    if step == 0:
        fail(InvalidArgumentError, "getitem", (x,), "the step of a slice must not be 0")
    return range(*slice(start, stop, step).indices(extent))


def _masked(x: Any, mask: Any) -> Any:
    """The slices of x along the mask's axes for which it is True, one after the other."""
    kept = mask if isinstance(mask, np.ndarray) else arguments.known("getitem", "the mask", mask)
    shape, rank = x.type.shape, kept.ndim
    if kept.shape != shape[:rank]:
        fail(InvalidArgumentError, "getitem", (x,), f"a mask of the shape {list(kept.shape)} does not fit {list(shape)}")
    flat = ops.reshape(x, shape=(kept.size, *shape[rank:]))
    return gather(flat, np.flatnonzero(kept), axis=0)


class _Selection:
    """What a key takes of a tensor: a strided box, whose axes may run backwards, of which slices are gathered."""

    __slots__ = ("backwards", "gathers", "shape", "sizes", "starts", "strides", "x")

    def __init__(self, x: Any):
        self.x = x
        self.starts: list[int] = []
        self.sizes: list[int] = []
        self.strides: list[int] = []
        self.backwards: list[int] = []
        self.shape: list[int] = []  # of the box, without the axes that a number indexes and with the new ones
        self.gathers: list[tuple[int, Any]] = []  # by axes of that shape

    def add_slice(self, key: slice, extent: int) -> None:
        """The next axis is cut."""
        taken = _taken(self.x, key, extent)
        if taken.step < 0:
            self.backwards.append(len(self.starts))
            taken = taken[::-1]
        size = len(taken)
        self.starts.append(taken.start if size else 0)
        self.sizes.append(size)
        self.strides.append(taken.step if size > 1 else 1)
        self.shape.append(size)

    def add_tensor(self, key: Any, extent: int) -> None:
        """Slices of the next axis are gathered."""
        if not key.type.dtype.is_integer:
            fail(DtypeError, "getitem", (self.x, key), "a tensor that indexes must be int32 or int64")
        if key.type.shape and any(other.type.shape for _, other in self.gathers):
            fail(DtypeError, "getitem", (self.x, key), "only one tensor that is no scalar may index")
        (indices,) = ops.lift("getitem", (key,))
        from_end = ops.less(indices, ops.zeros_like(indices))
        self.gathers.append((len(self.shape), ops.select(from_end, ops.add(indices, extent), indices)))
        self.starts.append(0)
        self.sizes.append(extent)
        self.strides.append(1)
        self.shape.append(extent)

    def add_number(self, key: Any, extent: int) -> None:
        """One element of the next axis, which goes."""
        index = arguments.integer("getitem", "a tensor", key, (self.x,), _KEYS)
        if not -extent <= index < extent:
            message = f"index {shown(index)} is out of range for axis {len(self.starts)} of size {extent}"
            fail(IndexOutOfRangeError, "getitem", (self.x,), message)
        self.starts.append(index % extent)
        self.sizes.append(1)
        self.strides.append(1)

    def taken(self) -> Any:
        """The tensor, which is another one than x."""
        x, shape = self.x, tuple(self.shape)
        if tuple(self.sizes) != x.type.shape:
            x = ops.slice(x, starts=tuple(self.starts), sizes=tuple(self.sizes), strides=tuple(self.strides))
        if self.backwards:
            x = ops.reverse_axes(x, axes=tuple(self.backwards))
        if x.type.shape != shape or (x is self.x and not self.gathers):
            x = ops.reshape(x, shape=shape)
        for axis, indices in reversed(self.gathers):
            x = gather(x, indices, axis=axis)
        return x


def _spelled_out(x: Any, key: Any) -> list[Any]:
    """The parts of a key, with a full slice for each axis that it leaves out."""
    keys: list[Any] = list(key) if isinstance(key, tuple) else [key]
    rank = len(x.type.shape)
    used = sum(1 for part in keys if part is not None and part is not Ellipsis)
    if sum(part is Ellipsis for part in keys) > 1:
        fail(DtypeError, "getitem", (x,), "only one Ellipsis may index")
    if used > rank:
        fail(InvalidArgumentError, "getitem", (x,), f"{used} indices for {rank} axes")
    if not any(part is Ellipsis for part in keys):
        keys.append(Ellipsis)
    spot = next(position for position, part in enumerate(keys) if part is Ellipsis)
    keys[spot : spot + 1] = [slice(None)] * (rank - used)
    return keys


def getitem(x: Any, key: Any) -> Any:
    """x[key] with ints, slices, Ellipsis, None and integer tensors (scalars, and one of any shape, each along its
    axis); or with a mask alone, a tensor of bools of the leading sizes, which keeps what it is True for: in a traced function
    a constant. IndexOutOfRangeError for an index outside of its axis, TypeError for a key of another kind."""
    (x,) = ops.lift("getitem", (x,))
    operand_type = dispatch.operand_type
    if (isinstance(key, (operand_type, np.ndarray))) and key.dtype in (bool_, np.bool_) and key.ndim:
        return _masked(x, key)
    selection = _Selection(x)
    extents = iter(x.type.shape)
    for part in _spelled_out(x, key):
        if part is None:
            selection.shape.append(1)
        elif isinstance(part, slice):
            selection.add_slice(part, next(extents))
        elif isinstance(part, operand_type):
            selection.add_tensor(part, next(extents))
        else:
            selection.add_number(part, next(extents))
    return selection.taken()
