"""What the kernels are given: always the same, for every library, from NumPy's generator."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# -- products of matrices


class Product(NamedTuple):
    """[m,k] by [k,n] of the `dtype`; the first lies as [k,m] where it is `transposed`."""

    m: int
    n: int
    k: int
    transposed: bool = False
    dtype: str = "float32"

    @property
    def case(self) -> str:
        double = "_double" if self.dtype == "float64" else ""
        return f"matmul_{self.m}x{self.n}x{self.k}{'_transposed' if self.transposed else ''}{double}"


PRODUCTS = (
    Product(32, 128, 784),
    Product(784, 128, 32, transposed=True),
    Product(256, 512, 784),
    Product(512, 512, 512),
    Product(1024, 1024, 1024),
    Product(2048, 2048, 2048),
    Product(512, 512, 512, dtype="float64"),
    Product(64, 64, 64),
    Product(16, 16, 16),
    Product(1024, 64, 64),
    Product(128, 10, 32),
)
SQUARES = tuple(Product(size, size, size) for size in (64, 128, 256, 512, 1024, 2048, 4096))
ALL_PRODUCTS = tuple(dict.fromkeys(PRODUCTS + SQUARES))


def factors(product: Product) -> tuple[np.ndarray, np.ndarray]:
    """Both matrices."""
    rng = np.random.default_rng(20)
    m, n, k, transposed, dtype = product
    return rng.standard_normal((k, m) if transposed else (m, k), dtype), rng.standard_normal((k, n), dtype)


# -- a matrix that is read across its rows

ACROSS = 3000


def matrix() -> np.ndarray:
    """Square, of rows that are no multiple of a register. Its transpose and 1 is to lie in row-major order."""
    return np.random.default_rng(26).standard_normal((ACROSS, ACROSS), np.float32)


# -- functions of each element

FUNCTIONS = ("exp", "log", "tanh", "erf", "sin", "gelu")
SIZES = tuple(10**power for power in range(2, 9))
# Numbers repeat after so many, a prime: those by NumPy that are slow to compute are computed once.
PERIOD = 10007


def elementwise_case(function: str, size: int) -> str:
    """The name of the case."""
    return f"{function}_{size:.0e}".replace("e+0", "e")


def repeated(values: np.ndarray, size: int) -> np.ndarray:
    """`size` numbers, those of `values` again and again."""
    return np.resize(values, size)


def arguments(function: str) -> np.ndarray:
    """PERIOD numbers where the function is neither constant nor infinite."""
    drawn = np.random.default_rng(21).standard_normal(PERIOD, np.float32)
    return {"log": np.exp(drawn), "sin": drawn * np.float32(10)}.get(function, drawn)


# -- rows


def norm_data(rows: int = 1024, columns: int = 1024) -> list[np.ndarray]:
    """x, gamma, beta and the cotangent of the result."""
    rng = np.random.default_rng(3)
    shapes = ((rows, columns), (columns,), (columns,), (rows, columns))
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def logits_data(rows: int = 1024, classes: int = 4096) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels."""
    rng = np.random.default_rng(4)
    return rng.standard_normal((rows, classes), dtype=np.float32), rng.integers(0, classes, rows)


# -- convolutions of BATCH images

BATCH, SIDE, FEATURES, MANY_FEATURES = 8, 32, 64, 256


def _eighths(rng: np.random.Generator, steps: int, *shape: int) -> np.ndarray:
    return rng.integers(-steps, steps + 1, shape).astype(np.float32) / np.float32(8)


def _odd(rng: np.random.Generator, unit: float, size: int) -> np.ndarray:
    return (2 * rng.integers(-8, 8, size) + 1).astype(np.float32) * np.float32(unit)


def block_data() -> list[np.ndarray]:
    """x, f32[n,h,w,c], two kernels, f32[3,3,c,c], each with its bias behind it, and the cotangent of the result.

    Sums of these numbers are exact, and nothing is 0 before a relu: rounding moves nobody over its kink.
    """
    rng = np.random.default_rng(24)
    images, kernel = (BATCH, SIDE, SIDE, FEATURES), (3, 3, FEATURES, FEATURES)
    weights = [
        _eighths(rng, 1, *kernel),
        _odd(rng, 2.0**-7, FEATURES),
        _eighths(rng, 1, *kernel),
        _odd(rng, 2.0**-11, FEATURES),
    ]
    return [_eighths(rng, 8, *images), *weights, _eighths(rng, 8, *images)]


def pointwise_data() -> list[np.ndarray]:
    """x, f32[n,h,w,c], a kernel, f32[1,1,c,o], its bias, and the cotangent of the result; no rounding either."""
    rng = np.random.default_rng(25)
    images = (BATCH, SIDE, SIDE)
    weights = [_eighths(rng, 8, 1, 1, FEATURES, MANY_FEATURES), _odd(rng, 2.0**-7, MANY_FEATURES)]
    return [_eighths(rng, 8, *images, FEATURES), *weights, _eighths(rng, 8, *images, MANY_FEATURES)]


# -- in double precision

OPTIONS = 1_000_000
ROSENBROCK = 100


def option_data(period: int = PERIOD) -> list[np.ndarray]:
    """`period` European calls: price of the share, strike, years left, rate of interest, volatility."""
    rng = np.random.default_rng(22)
    ranges = ((80, 120), (80, 120), (0.25, 2), (0.01, 0.05), (0.1, 0.5))
    return [rng.uniform(low, high, period) for low, high in ranges]


def point() -> np.ndarray:
    """Where the second derivatives of Rosenbrock's function are taken."""
    return np.random.default_rng(23).uniform(-2, 2, ROSENBROCK)
