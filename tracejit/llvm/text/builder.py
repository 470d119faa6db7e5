"""Writes one LLVM function as text: lanes, arithmetic on them, loops with carried values.

The IR is written as it is to run: no mid-level optimizer comes after, so what is invariant is hoisted and what is constant is
folded by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracejit.ir.types import DType, bool_, int64
from tracejit.llvm.text.types import SCALAR_TYPES, Lanes, intrinsic_name, literal, vector_type

_FLOAT_PREDICATES = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
_INT_PREDICATES = {"eq": "eq", "ne": "ne", "lt": "slt", "le": "sle", "gt": "sgt", "ge": "sge"}

# What a loop repeats: of the index and the values carried on, the values to carry on.
Body = Callable[[Lanes, list[Lanes]], list[Lanes]]


class Builder:
    """One function being written: `i32 name(ptr pointers)`, an array of pointers that are called as `parameters` says. It
    returns 0, or 1 where `fail_if` held.

    `chunks` is None until `parallel_range` divides a function that is to run in `parallel`, which then takes `i64 first` and
    `i64 last` too.
    """

    def __init__(
        self,
        name: str,
        parameters: Sequence[str],
        *,
        width: int,
        fma: bool,
        parallel: bool = False,
        converts_float16: bool = False,
    ):
        self.name, self.parameters = name, parameters
        self.parallel = parallel
        self.chunks: int | None = None
        self.width = width  # bytes of a vector register
        self.fma_in_hardware = fma
        self.converts_float16 = converts_float16
        self.lines: list[str] = []
        self.declarations: set[str] = set()
        self.block = "start"
        self.count = 0
        self.can_fail = False
        self.stack_bytes = 0  # of the one buffer that it has on its stack

    # -- text

    def line(self, text: str) -> None:
        self.lines.append("  " + text)

    def fresh(self, prefix: str = "v") -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def emit(self, dtype: DType, lanes: int, text: str) -> Lanes:
        """A new value defined by the instruction `text`."""
        name = "%" + self.fresh()
        self.lines.append(f"  {name} = {text}")
        return Lanes(name, dtype, lanes)

    def start_block(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.block = label

    def text(self) -> str:
        """The function's definition. Its last block returns 0."""
        tail = ["  ret i32 0"] + (["fail:", "  ret i32 1"] if self.can_fail else [])
        share = ", i64 %first, i64 %last" if self.chunks is not None else ""
        head = f"define i32 @{self.name}(ptr %pointers{share}) #0 {{\nstart:"
        first = [f"  %stack = alloca [{self.stack_bytes} x i8], align {self.width}"] * bool(self.stack_bytes)
        for place, name in enumerate(self.parameters):
            first.append(f"  %{name}.place = getelementptr inbounds ptr, ptr %pointers, i64 {place}")
            first.append(f"  %{name} = load ptr, ptr %{name}.place, align 8")
        return "\n".join([head, *first, *self.lines, *tail, "}"])

    # -- lanes

    def const(self, value: Any, dtype: DType, lanes: int = 1) -> Lanes:
        text = literal(value, dtype)
        return Lanes(text if lanes == 1 else f"splat ({SCALAR_TYPES[dtype]} {text})", dtype, lanes)

    def widen(self, x: Lanes, lanes: int) -> Lanes:
        """`x` in every one of `lanes` lanes."""
        if x.lanes == lanes:
            return x
        if not x.ref.startswith("%"):
            return Lanes(f"splat ({SCALAR_TYPES[x.dtype]} {x.ref})", x.dtype, lanes)
        kind = vector_type(SCALAR_TYPES[x.dtype], lanes)
        first = self.emit(x.dtype, lanes, f"insertelement {kind} poison, {x}, i64 0")
        mask = vector_type("i32", lanes)
        return self.emit(x.dtype, lanes, f"shufflevector {kind} {first.ref}, {kind} poison, {mask} zeroinitializer")

    def match(self, *values: Lanes) -> tuple[Lanes, ...]:
        """All `values` with the number of lanes of the widest."""
        lanes = max(value.lanes for value in values)
        return tuple(value if value.lanes == lanes else self.widen(value, lanes) for value in values)

    def binary(self, float_op: str | None, int_op: str, x: Lanes, y: Lanes) -> Lanes:
        """One instruction on both, as it is called for floats and for integers."""
        x, y = self.match(x, y)
        name = float_op if x.dtype.is_floating else int_op
        return self.emit(x.dtype, x.lanes, f"{name} {x}, {y.ref}")

    def intrinsic(self, name: str, *operands: Lanes) -> Lanes:
        """A call of `llvm.name`, overloaded on the first operand's type."""
        operands = self.match(*operands)
        x = operands[0]
        full = intrinsic_name(name, SCALAR_TYPES[x.dtype], x.lanes)
        self.declarations.add(f"declare {x.type} {full}({', '.join(operand.type for operand in operands)})")
        return self.emit(x.dtype, x.lanes, f"call {x.type} {full}({', '.join(map(str, operands))})")

    def add(self, x: Lanes, y: Lanes) -> Lanes:
        return self.binary("fadd", "add", x, y)

    def sub(self, x: Lanes, y: Lanes) -> Lanes:
        return self.binary("fsub", "sub", x, y)

    def mul(self, x: Lanes, y: Lanes) -> Lanes:
        return self.binary("fmul", "mul", x, y)

    def div(self, x: Lanes, y: Lanes) -> Lanes:
        return self.binary("fdiv", "sdiv", x, y)

    def fma(self, x: Lanes, y: Lanes, z: Lanes) -> Lanes:
        """x * y + z, with one rounding where the machine has the instruction."""
        if not self.fma_in_hardware:
            return self.add(self.mul(x, y), z)
        return self.intrinsic("fma", x, y, z)

    def neg(self, x: Lanes) -> Lanes:
        if x.dtype.is_floating:
            return self.emit(x.dtype, x.lanes, f"fneg {x}")
        return self.sub(self.const(0, x.dtype), x)

    def abs(self, x: Lanes) -> Lanes:
        if x.dtype.is_floating:
            return self.intrinsic("fabs", x)
        return self.select(self.compare("lt", x, self.const(0, x.dtype)), self.neg(x), x)

    def sign(self, x: Lanes) -> Lanes:
        zero, one = self.const(0, x.dtype), self.const(1, x.dtype)
        below = self.select(self.compare("lt", x, zero), self.const(-1, x.dtype), x)
        result = self.select(self.compare("gt", x, zero), one, below)
        return self.select(self.compare("eq", x, zero), zero, result)

    def sqrt(self, x: Lanes) -> Lanes:
        return self.intrinsic("sqrt", x)

    def floor(self, x: Lanes) -> Lanes:
        return self.intrinsic("floor", x)

    def ceil(self, x: Lanes) -> Lanes:
        return self.intrinsic("ceil", x)

    def round(self, x: Lanes) -> Lanes:
        return self.intrinsic("roundeven", x)

    def copysign(self, x: Lanes, y: Lanes) -> Lanes:
        return self.intrinsic("copysign", x, y)

    def is_nan(self, x: Lanes) -> Lanes:
        if not x.dtype.is_floating:
            return self.const(False, bool_, x.lanes)
        return self.emit(bool_, x.lanes, f"fcmp uno {x}, {x.ref}")

    def max(self, x: Lanes, y: Lanes) -> Lanes:
        """The larger; NaN where either is NaN."""
        return self._extreme("gt", x, y)

    def min(self, x: Lanes, y: Lanes) -> Lanes:
        """The smaller; NaN where either is NaN."""
        return self._extreme("lt", x, y)

    def _extreme(self, predicate: str, x: Lanes, y: Lanes) -> Lanes:
        x, y = self.match(x, y)
        result = self.select(self.compare(predicate, x, y), x, y)
        return self.select(self.is_nan(x), x, result) if x.dtype.is_floating else result

    def sum_lanes(self, x: Lanes) -> Lanes:
        """The sum of all lanes, by halves."""
        if x.lanes == 1:
            return x
        scalar = SCALAR_TYPES[x.dtype]
        if x.dtype.is_floating:
            function = intrinsic_name("vector.reduce.fadd", scalar, x.lanes)
            self.declarations.add(f"declare {scalar} {function}({scalar}, {x.type})")
            return self.emit(x.dtype, 1, f"call reassoc {scalar} {function}({scalar} -0.0, {x})")
        return self._reduced("add", x)

    def any_lane(self, x: Lanes) -> Lanes:
        """Whether any of the lanes holds."""
        return x if x.lanes == 1 else self._reduced("or", x)

    def _reduced(self, name: str, x: Lanes) -> Lanes:
        scalar = SCALAR_TYPES[x.dtype]
        function = intrinsic_name(f"vector.reduce.{name}", scalar, x.lanes)
        self.declarations.add(f"declare {scalar} {function}({x.type})")
        return self.emit(x.dtype, 1, f"call {scalar} {function}({x})")

    def compare(self, predicate: str, x: Lanes, y: Lanes) -> Lanes:
        x, y = self.match(x, y)
        if x.dtype.is_floating:
            return self.emit(bool_, x.lanes, f"fcmp {_FLOAT_PREDICATES[predicate]} {x}, {y.ref}")
        return self.emit(bool_, x.lanes, f"icmp {_INT_PREDICATES[predicate]} {x}, {y.ref}")

    def select(self, condition: Lanes, x: Lanes, y: Lanes) -> Lanes:
        condition, x, y = self.match(condition, x, y)
        return self.emit(x.dtype, x.lanes, f"select {condition}, {x}, {y}")

    def and_(self, x: Lanes, y: Lanes) -> Lanes:
        return self.binary(None, "and", x, y)

    def or_(self, x: Lanes, y: Lanes) -> Lanes:
        return self.binary(None, "or", x, y)

    def xor(self, x: Lanes, y: Lanes) -> Lanes:
        return self.binary(None, "xor", x, y)

    def not_(self, x: Lanes) -> Lanes:
        return self.xor(x, self.const(True, bool_))

    def shift_left(self, x: Lanes, bits: int) -> Lanes:
        return self.binary(None, "shl", x, self.const(bits, x.dtype))

    def shift_right(self, x: Lanes, bits: int) -> Lanes:
        """Without sign: zeros come in from the left."""
        return self.binary(None, "lshr", x, self.const(bits, x.dtype))

    def bitcast(self, x: Lanes, dtype: DType) -> Lanes:
        return self.emit(dtype, x.lanes, f"bitcast {x} to {vector_type(SCALAR_TYPES[dtype], x.lanes)}")

    def cast(self, x: Lanes, dtype: DType) -> Lanes:
        """NumPy's conversion; a float outside of an integer's range, or NaN, gives the integer's minimum."""
        if x.dtype is dtype:
            return x
        source, target = x.dtype, vector_type(SCALAR_TYPES[dtype], x.lanes)
        if dtype.is_bool:
            return self.compare("ne", x, self.const(0, source))
        if source.is_bool:
            return self.emit(dtype, x.lanes, f"{'uitofp' if dtype.is_floating else 'zext'} {x} to {target}")
        if source.is_floating and dtype.is_floating:
            return self.emit(dtype, x.lanes, f"{'fpext' if dtype.size > source.size else 'fptrunc'} {x} to {target}")
        if source.is_floating:
            bound = -float(dtype.min)
            above = self.compare("ge", x, self.const(-bound, source))
            inside = self.and_(above, self.compare("lt", x, self.const(bound, source)))
            safe = self.select(inside, x, self.const(0, source))
            return self.select(inside, self.truncate(safe, dtype), self.const(dtype.min, dtype))
        if dtype.is_floating:
            return self.emit(dtype, x.lanes, f"sitofp {x} to {target}")
        return self.emit(dtype, x.lanes, f"{'sext' if dtype.size > source.size else 'trunc'} {x} to {target}")

    def truncate(self, x: Lanes, dtype: DType) -> Lanes:
        """A float that is known to lie in the integer's range, towards zero."""
        return self.emit(dtype, x.lanes, f"fptosi {x} to {vector_type(SCALAR_TYPES[dtype], x.lanes)}")

    # -- control flow

    def out_of_line(self, name: str, write: Callable[..., list[Lanes]], *operands: Lanes) -> list[Lanes]:
        """The values that `write(builder, *operands)` gives, computed in a function that the module has once."""
        symbol = f"@tracejit.{name}.{operands[0].dtype.name}x{operands[0].lanes}"
        inner = Builder(symbol, [], width=self.width, fma=self.fma_in_hardware)
        parameters = [Lanes(f"%x{number}", x.dtype, x.lanes) for number, x in enumerate(operands)]
        values = write(inner, *parameters)
        kind = "{ " + ", ".join(value.type for value in values) + " }"
        packed = "undef"
        for number, value in enumerate(values):
            inner.line(f"%packed{number} = insertvalue {kind} {packed}, {value}, {number}")
            packed = f"%packed{number}"
        head = f"define internal {kind} {symbol}({', '.join(map(str, parameters))}) #0 {{\nstart:"
        self.declarations |= {"\n".join([head, *inner.lines, f"  ret {kind} {packed}", "}"]), *inner.declarations}
        result = "%" + self.fresh()
        self.line(f"{result} = call {kind} {symbol}({', '.join(map(str, operands))})")
        return [self.emit(x.dtype, x.lanes, f"extractvalue {kind} {result}, {number}") for number, x in enumerate(values)]

    def loop(self, count: int, body: Body, carried: Sequence[Lanes] = (), step: int = 1) -> list[Lanes]:
        """Run `body(index, carried)` for index 0, step, 2 step... below `count`; it gives the values carried on. The
        carried values after the last run come back. Nothing is written for a count of 0, no loop for a single run."""
        return self._loop(self.const(0, int64), self.const(count, int64), body, list(carried), step)

    def loop_between(
        self,
        first: Lanes,
        last: Lanes,
        body: Body,
        carried: Sequence[Lanes] = (),
        step: int = 1,
    ) -> list[Lanes]:
        """`loop` for index `first`, `first` + `step`... below `last`, both i64; a constant or known when the code runs."""
        if not any(bound.ref.startswith("%") for bound in (first, last)):
            return self._loop(first, last, body, list(carried), step)
        label = self.fresh("between")
        some = self.emit(bool_, 1, f"icmp slt {first}, {last.ref}")
        before = self.block
        self.line(f"br {some}, label %{label}, label %{label}.end")
        self.start_block(label)
        ends = self.repeat(first, last, body, list(carried), step)
        after = self.block
        self.line(f"br label %{label}.end")
        self.start_block(f"{label}.end")
        return [
            self.emit(end.dtype, end.lanes, f"phi {end.type} [ {start.ref}, %{before} ], [ {end.ref}, %{after} ]")
            for start, end in zip(carried, ends, strict=True)
        ]

    def _loop(self, first: Lanes, last: Lanes, body: Body, carried: list[Lanes], step: int) -> list[Lanes]:
        """A loop between constants."""
        count = int(last.ref) - int(first.ref)
        if count <= 0:
            return carried
        if count <= step:
            return body(first, carried)
        return self.repeat(first, last, body, carried, step)

    def repeat(self, first: Lanes, last: Lanes, body: Body, carried: Sequence[Lanes] = (), step: int = 1) -> list[Lanes]:
        """A loop that runs at least once: for index `first`, `first` + step... below `last`."""
        label = self.fresh("loop")
        before = self.block
        self.line(f"br label %{label}")
        self.start_block(label)
        index = Lanes(f"%{label}.i", int64)
        inside = [Lanes(f"%{label}.c{number}", value.dtype, value.lanes) for number, value in enumerate(carried)]
        holes = len(self.lines)
        self.lines.extend([""] * (1 + len(inside)))
        after = body(index, inside)
        following = self.emit(int64, 1, f"add nuw nsw i64 {index.ref}, {step}")
        more = self.emit(bool_, 1, f"icmp slt i64 {following.ref}, {last.ref}")
        self.lines[holes] = f"  {index.ref} = phi i64 [ {first.ref}, %{before} ], [ {following.ref}, %{self.block} ]"
        for number, (start, value, end) in enumerate(zip(carried, inside, after, strict=True)):
            sources = f"[ {start.ref}, %{before} ], [ {end.ref}, %{self.block} ]"
            self.lines[holes + 1 + number] = f"  {value.ref} = phi {value.type} {sources}"
        self.line(f"br {more}, label %{label}, label %{label}.end")
        self.start_block(f"{label}.end")
        return after

    def when(self, condition: Lanes, then: Callable[[], None], otherwise: Callable[[], None] | None = None) -> None:
        """Run what `then` writes where `condition` holds, else what `otherwise` does."""
        label = self.fresh("when")
        self.line(f"br {condition}, label %{label}, label %{label}.{'else' if otherwise else 'end'}")
        self.start_block(label)
        then()
        self.line(f"br label %{label}.end")
        if otherwise is not None:
            self.start_block(f"{label}.else")
            otherwise()
            self.line(f"br label %{label}.end")
        self.start_block(f"{label}.end")

    def parallel_range(self, chunks: int) -> tuple[Lanes, Lanes]:
        """(first, last): the function consists of `chunks` chunks that do not need each other, in any order, and this call of
        it is to do first, first + 1... below last; all of them where it does not run in parallel. To be called once."""
        assert self.chunks is None, f"{self.name} is divided already"
        if not self.parallel or chunks < 2:
            return self.const(0, int64), self.const(chunks, int64)
        self.chunks = chunks
        return Lanes("%first", int64), Lanes("%last", int64)

    def fail_if(self, condition: Lanes) -> None:
        """Leave the function with status 1 where `condition` holds."""
        self.can_fail = True
        label = self.fresh("ok")
        self.line(f"br {condition}, label %fail, label %{label}")
        self.start_block(label)


def shuffled(b: Builder, value: Lanes, lanes: Sequence[int], other: Lanes | None = None) -> Lanes:
    """The lanes with these numbers; those of `other` count on from those of `value`."""
    if list(lanes) == list(range(value.lanes)):
        return value
    if value.lanes == 1 and other is None:
        return b.widen(value, len(lanes))
    if len(lanes) == 1:
        return b.emit(value.dtype, 1, f"extractelement {value}, i64 {lanes[0]}")
    mask = f"{vector_type('i32', len(lanes))} <{', '.join(f'i32 {lane}' for lane in lanes)}>"
    second = f"{other}" if other is not None else f"{value.type} poison"
    return b.emit(value.dtype, len(lanes), f"shufflevector {value}, {second}, {mask}")


def concat(b: Builder, parts: list[Lanes]) -> Lanes:
    """All lanes of all parts, which are as many as a power of two."""
    dtype, lanes = parts[0].dtype, parts[0].lanes
    if lanes == 1 < len(parts):
        value = Lanes("poison", dtype, len(parts))
        for number, part in enumerate(parts):
            value = b.emit(dtype, len(parts), f"insertelement {value}, {part}, i64 {number}")
        return value
    while len(parts) > 1:
        lanes = parts[0].lanes
        parts = [shuffled(b, low, range(2 * lanes), high) for low, high in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]
