"""The names that a source in the native subset uses. To Python and to type checkers they are what they look like; the compiler
knows what they stand for, and none of it is ever run.

A structure is a class of annotated fields, and a type that means its address:

    class Pair(Struct):
        first: i64                          # fields follow one another as in C, behind those of the base
        second: Object = at(24)             # at this offset
        items: Array[Object] = inline()     # lies in the structure: the field is its address
        value: Object = measured()          # where the caller of the compiler says
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Self, TypeVar

_T = TypeVar("_T")
_Struct = TypeVar("_Struct", bound="Struct")
_Function = TypeVar("_Function", bound=Callable[..., Any])

if TYPE_CHECKING:
    i8 = int
    i16 = int
    i32 = int
    i64 = int
else:

    class i8(int): ...

    class i16(int): ...

    class i32(int): ...

    class i64(int): ...


INTEGERS: Mapping[Any, int] = {i8: 8, i16: 16, i32: 32, i64: 64}  # with their bits
# By name, since annotations are strings until something is compiled.
_BYTES = {"i8": 1, "i16": 2, "i32": 4}


class ptr:
    """The address of anything. It is counted in bytes, other addresses in what lies there."""

    def __init__(self, address: ptr | int) -> None:
        self.address = int(address)

    def __int__(self) -> int:
        return self.address

    def __add__(self, count: int) -> Self:
        raise NotImplementedError

    def __sub__(self, count: int) -> Self:
        raise NotImplementedError


class Array(ptr, Generic[_T]):
    """The address of the first of several."""

    def __getitem__(self, index: int) -> _T:
        raise NotImplementedError

    def __setitem__(self, index: int, value: _T) -> None:
        raise NotImplementedError


class Struct(ptr):
    """The address of a structure. `size`: its bytes, where it has more than its fields take."""

    _size: ClassVar[int] = 0

    def __init_subclass__(cls, size: int = 0) -> None:
        cls._size = size


class _Place(NamedTuple):
    """What a field says of where it lies."""

    offset: int | None = None
    inline: bool = False
    measured: bool = False


class Memory(NamedTuple):
    """`length` structures of a kind, zeros at first, in a variable of a module that is compiled with what refers to it."""

    kind: type[Struct]
    length: int


class Symbol(NamedTuple):
    """The name by which a declared function is linked."""

    name: str

    def __call__(self, declared: _Function) -> _Function:
        return declared


null: Any = None


def at(offset: int) -> Any:
    """A field at an offset in bytes."""
    return _Place(offset)


def inline(offset: int | None = None) -> Any:
    """A field that is the address of what lies in the structure, by itself at its end."""
    return _Place(offset, inline=True)


def measured() -> Any:
    """A field whose offset is given to the compiler."""
    return _Place(measured=True)


def memory(kind: type[_Struct], count: int = 1) -> _Struct:
    """A module's own memory: that many structures."""
    return Memory(kind, count)  # type: ignore[return-value]  # to a source it is the address


def array(kind: type[_T], count: int) -> Array[_T]:
    """Room for `count` of a kind on the stack, the same at every turn of a loop."""
    raise NotImplementedError


def address(place: _T) -> Array[_T]:
    """Where a local variable or a field lies."""
    raise NotImplementedError


def atomic_load(place: Array[_T], order: str) -> _T:
    """The integer at `place`. `order` is one of LLVM's memory orders."""
    raise NotImplementedError


def atomic_store(place: Array[_T], value: _T, order: str) -> None:
    """Write an integer."""
    raise NotImplementedError


def exchange(place: Array[_T], value: _T) -> _T:
    """Write an integer; what was there before. Sequentially consistent."""
    raise NotImplementedError


def compare_exchange(place: Array[_T], expected: _T, value: _T) -> _T:
    """Write an integer where `expected` is; what was there before. Sequentially consistent."""
    raise NotImplementedError


class Field(NamedTuple):
    """Where a field of `owner` lies, None where that is measured, and whether it is the address of what lies there."""

    owner: type[Struct]
    offset: int | None
    inline: bool


class Layout(NamedTuple):
    """A structure's fields, those of its bases first, and its bytes."""

    fields: Mapping[str, Field]
    size: int


_layouts: dict[type[Struct], Layout] = {}


def layout_of(struct: type[Struct]) -> Layout:
    """How a structure lies in memory."""
    if struct not in _layouts:
        _layouts[struct] = _laid_out(struct)
    return _layouts[struct]


def _laid_out(struct: type[Struct]) -> Layout:
    base = struct.__bases__[0]
    fields, end = ({}, 0) if base is Struct else (dict(layout_of(base).fields), layout_of(base).size)
    for name, annotation in struct.__annotations__.items():
        place = struct.__dict__.get(name, _Place())
        if name in fields or not isinstance(place, _Place):
            raise TypeError(f"{struct.__name__}.{name}: a field is declared once, with at(), inline(), measured() or nothing")
        width = _BYTES.get(annotation, 8)
        offset = place.offset
        if offset is None and not place.measured:
            offset = (end + width - 1) // width * width
        fields[name] = Field(struct, offset, place.inline)
        if offset is not None and not place.inline:
            end = max(end, offset + width)
    size = (end + 7) // 8 * 8
    return Layout(fields, max(size, struct._size))


def offset_of(struct: type[Struct], field: str) -> int:
    """Where a structure has a field, in bytes."""
    offset = layout_of(struct).fields[field].offset
    assert offset is not None, f"where {struct.__name__}.{field} lies has to be measured"
    return offset
