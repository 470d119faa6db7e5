"""Random programs. Each line is run in eager mode as it is drawn, so that the next one knows the types of all values, and what
raises a documented error is left out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tracejit as tj
from tracejit.ir.types import DType, TensorType, bool_, float32, float64, int32, int64

from .check import DOCUMENTED
from .program import Line, Program, dtype_text, new_space

DTYPES = (float32, float32, float32, float64, float64, int32, int64, bool_, tj.float16, tj.bfloat16)
# Around what a register, a tile or a piece of the work holds.
_SIZES = (0, 1, 1, 2, 2, 3, 3, 4, 5, 7, 16, 17)
_LARGER = (33, 65, 129, 300)
_THOUSANDS = (1000, 2049, 4097)
_MOST_ELEMENTS = 3000
_SPECIAL = "[nan, inf, -inf, 0.0, -0.0, 1.0, -1.5, 2.0, 1e-40, 3e38, 0.1]"
_LARGEST = 1e4  # values beyond are mostly left out, since soon all would be infinite


class Stop(Exception):
    """A line failed as none may: the program ends with it."""


class Generator:
    """Draws one program. `smooth` ones are of float64 and without tapes, updates and what is no function of its arguments."""

    def __init__(self, seed: int, smooth: bool = False, length: int | None = None):
        self.rng = np.random.default_rng(seed)
        self.seed, self.smooth = seed, smooth
        self.length = length if length is not None else int(self.rng.integers(2, 7 if smooth else 16))
        self.special = not smooth and self.chance(0.15)
        self.outer = not smooth and self.chance(0.15)
        self.large = not smooth and self.chance(0.12)
        self.space = new_space()
        self.inputs: dict[str, str] = {}
        self.variables: dict[str, str] = {}
        self.captured: dict[str, tuple[str, str]] = {}
        self.reads: dict[str, tuple[str, ...]] = {}  # the ways to read what is captured
        self.types: dict[str, TensorType] = {}
        self.lines: list[Line] = []
        self.functions: list[Line] = []
        self.visible: list[str] = []
        self.gradients: list[str] = []  # also those that are None
        self.depth = 1
        self.in_function = False
        self.focus: list[str] = []  # what the open tape watches
        self._numbers: dict[str, int] = {}

    # -- drawing

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, choices: Sequence[Any]) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def name(self, letter: str) -> str:
        number = self._numbers.get(letter, 0)
        self._numbers[letter] = number + 1
        return f"{letter}{number}"

    def size(self) -> int:
        if self.smooth:
            return int(self.pick((1, 2, 3)))
        if self.large and self.chance(0.4):
            return int(self.pick(_THOUSANDS))
        return int(self.pick(_LARGER) if self.chance(0.08) else self.pick(_SIZES))

    def shape(self) -> tuple[int, ...]:
        while True:
            shape = tuple(self.size() for _ in range(int(self.pick((0, 1, 1, 2, 2, 3)))))
            if math.prod(shape) <= (200_000 if self.large else _MOST_ELEMENTS):
                return shape

    def known(self, fits: Callable[[TensorType], bool]) -> list[str]:
        return [name for name in self.visible if fits(self.types[name])]

    def value(self, dtypes: Sequence[DType] | None = None, least_rank: int = 0) -> str:
        """A value, the later ones more often; a new argument where there is none, and now and then."""
        if self.smooth:
            dtypes = [float64] if dtypes is None or any(each.is_floating for each in dtypes) else dtypes
        found = self.known(lambda kind: (dtypes is None or kind.dtype in dtypes) and len(kind.shape) >= least_rank)
        seen = [name for name in found if name in self.focus]
        if seen and self.chance(0.5):
            return self.pick(seen)
        if found and not self.chance(0.15):
            return found[-1 - int(len(found) * self.rng.random() ** 2)]
        shape = self.shape()
        while len(shape) < least_rank:
            shape = (*shape, self.size())
        return self.new_input(self.pick(dtypes or DTYPES), shape)

    def value_of(self, dtype: DType, shape: tuple[int, ...]) -> str:
        if self.smooth and dtype.is_floating:
            dtype = float64
        found = self.known(lambda kind: kind.dtype is dtype and kind.shape == tuple(shape))
        return self.pick(found) if found and self.chance(0.7) else self.new_input(dtype, tuple(shape))

    def same_type(self, kind: TensorType) -> str:
        return self.value_of(kind.dtype, kind.shape)

    def fitting(self, kind: TensorType) -> str:
        """A value that broadcasts with `kind`."""
        if self.chance(0.35):
            sizes = [size if self.chance(0.7) else 1 for size in kind.shape]
            return self.value_of(kind.dtype, tuple(sizes[int(self.rng.integers(0, len(sizes) + 1)) :]))
        found = self.known(lambda other: other.dtype is kind.dtype and _broadcast(other.shape, kind.shape))
        return self.pick(found) if found else self.same_type(kind)

    def scalar(self, dtype: DType) -> str:
        if dtype.is_bool:
            return self.pick(["True", "False"])
        return str(
            self.pick([0, 1, 2, 3, -1, -2] if dtype.is_integer else [0.5, 1.0, 2.0, -1.5, 0.1, 1, -1, 0, 0.0, 0.25, 2.0**-16])
        )

    # -- arguments

    def expression(self, dtype: DType, shape: tuple[int, ...], low: float = -2, high: float = 2) -> str:
        """An array as Python, of some layout."""
        made = f"rng({int(self.rng.integers(1000))})"
        layout = "" if self.smooth or not shape or not self.chance(0.3) else self.pick([".T", "[::-1]", "[..., ::2]"])
        held = {".T": shape[::-1], "[..., ::2]": (*shape[:-1], 2 * shape[-1]) if shape else ()}.get(layout, shape)
        target = dtype_text(dtype.numpy.name)
        if dtype.is_bool:
            text = f"{made}.integers(0, 2, {held})"
        elif dtype.is_integer and not self.smooth and low <= -2 and high >= 2 and self.chance(0.12):
            most = 2 ** (8 * dtype.size - 1)
            text = f"{made}.choice([{-most}, {most - 1}, {most // 2}, -1, 0, 1, 3], {held})"  # sums and products wrap around
        elif dtype.is_integer:
            text = f"{made}.integers({max(math.ceil(low), -5)}, {min(math.floor(high), 5) + 1}, {held})"
        elif self.special and self.chance(0.4):
            text = f"{made}.choice({_SPECIAL}, {held})"
        elif not self.smooth and self.chance(0.15) and low <= -2:
            text = f"{made}.integers(-2, 3, {held})"  # many equal ones and zeros
        elif not self.smooth and self.chance(0.15) and (low, high) == (-2, 2):
            text = f"{made}.integers(-512, 513, {held}) / 256"  # of nine bits: in bfloat16, and of products, ties
        else:
            text = f"{made}.uniform({low}, {high}, {held})"
        return f"np.asarray({text}).astype({target}){layout}"

    def new_input(self, dtype: DType, shape: tuple[int, ...], low: float = -2, high: float = 2) -> str:
        expression = self.expression(dtype, shape, low, high)
        if self.in_function or (not self.smooth and self.chance(0.1)):
            return self.constant(expression)
        as_array = not self.smooth and self.chance(0.25)
        name = self.name("a" if as_array else "x")
        self.inputs[name] = expression if as_array else f"tj.constant({expression})"
        self.space[name] = eval(self.inputs[name], self.space)
        if as_array:
            return self.constant(name, "tj.convert_to_tensor")
        self.types[name] = self.space[name].type
        self.visible.append(name)
        return name

    def constant(self, expression: str, function: str = "tj.constant") -> str:
        name = self.name("v")
        self.add(f"{name} = {function}({expression})", must=True)
        return name

    def new_indices(self, shape: tuple[int, ...], below: int) -> str:
        """An integer value whose elements lie in 0..below-1."""
        target = self.pick(["int32", "int64"])
        expression = f"np.asarray(rng({int(self.rng.integers(1000))}).integers(0, {below}, {shape})).astype({target!r})"
        if self.in_function:
            return self.constant(expression)
        name = self.name("x")
        self.inputs[name] = f"tj.constant({expression})"
        self.space[name] = eval(self.inputs[name], self.space)
        self.types[name] = self.space[name].type
        return name  # and in nobody else's sight

    def new_variable(self, dtype: DType | None = None, shape: tuple[int, ...] | None = None) -> str:
        dtype = dtype or self.pick((float32, float32, float64, int32, tj.float16))
        name, shape = self.name("V"), self.shape() if shape is None else shape
        trainable = "" if self.chance(0.8) else ", trainable=False"
        self.variables[name] = f"tj.Variable({self.expression(dtype, shape)}, dtype=tj.{dtype.name}{trainable})"
        self.space[name] = eval(self.variables[name], self.space)
        self.types[name] = self.space[name].type
        self.visible.append(name)
        return name

    # -- lines

    def add(self, text: str, must: bool = False) -> bool:
        """Run `text` and keep it where it gives tensors of sizes and values that are of use."""
        line = Line(self.depth, text)
        names = line.defines()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                exec(text, self.space)
            except (*DOCUMENTED, tj.errors.ResourceExhaustedError):
                return False
            except Exception as error:
                if isinstance(error, RuntimeError) and "tape" in str(error).lower():
                    return False
                self.lines.append(line)
                raise Stop from error
        values = [self.space[name] for name in names if name[0] in "vg"]
        if not must and not all(value is None or self._of_use(value) for value in values):
            return False
        self.lines.append(line)
        for name in names:
            value = self.space[name]
            if isinstance(value, tj.Tensor):
                self.types[name] = value.type
                self.visible.append(name)
            elif value is None:
                self.gradients.append(name)
        return True

    def _of_use(self, value: Any) -> bool:
        if self.smooth and isinstance(value, tj.Tensor) and value.dtype is not float64:
            return False
        if not isinstance(value, tj.Tensor) or value.type.size > (400_000 if self.large else 4 * _MOST_ELEMENTS):
            return False
        if not value.dtype.is_floating or self.special or self.chance(0.05):
            return True
        with np.errstate(all="ignore"):
            return bool(np.all(np.abs(np.asarray(value.numpy()).astype(np.float64)) < _LARGEST))

    def draw_lines(self, count: int) -> None:
        from .lines import draw_line

        for _ in range(count):
            draw_line(self)

    def program(self) -> Program:
        """The whole program."""
        with np.errstate(all="ignore"):
            return self._program()

    def _program(self) -> Program:
        from .lines import guarded

        tj.random.set_seed(1)
        self.value()
        last: list[str] = []
        try:
            self.draw_lines(self.length)
        except Stop:
            last = [name for name in self.lines[-1].defines() if name[0] in "vg"]
        made = [name for line in self.lines for name in line.defines() if name[0] in "vg"]
        made = [name for name in dict.fromkeys(made) if name in self.types or name in self.gradients]
        if self.smooth:
            made = [name for name in made if self.types[name].dtype is float64]
        made = [name for name in made if name in self.visible or name in self.gradients] or self.visible[:1]
        count = int(self.rng.integers(1, 6))
        chosen = dict.fromkeys(
            [*made[-count:], *(self.pick(made) for _ in range(2)), *(each for each in made if each[0] == "g")]
        )
        results = list(chosen)
        if self.chance(0.2) and not self.smooth:
            results.append(self.pick(self.visible))
        results = last or results
        guard = guarded(self) if self.smooth and self.chance(0.08) else None
        if guard is not None:
            results = [guard]
        head = Line(0, f"@outer\ndef f({', '.join(self.inputs)}):")
        lines = [*self.functions, head, *self.lines, Line(1, f"return [{', '.join(results)}]")]
        types = {name: (kind.shape, kind.dtype.name) for name, kind in self.types.items()}
        return Program(self.seed, self.inputs, self.variables, self.captured, tuple(lines), types, self.outer, self.special)


def _broadcast(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    try:
        return math.prod(np.broadcast_shapes(one, other)) < 10_000
    except ValueError:
        return False


def generate(seed: int) -> Program:
    """The program of `seed`."""
    return Generator(seed).program()
