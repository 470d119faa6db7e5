"""How a case is timed, and what the machine can do at the most."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import numpy as np

import tracejit
from benchmarks.cases import CONTESTANTS, Case
from benchmarks.report import cores

# A sample shorter than this is lost in the timer and in what else the machine does.
SAMPLE_SECONDS = 6e-3
# Below this share of the compiled time, what the machine needs at the least is not what takes the time.
NEGLIGIBLE = 0.05


class Ratio(NamedTuple):
    """Of the rounds' ratios: the median, the 10th and the 90th percentile. More than 1 is in favour of compiled."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


class Timing(NamedTuple):
    """Seconds a call."""

    median: dict[str, float]
    against_numpy: Ratio
    against_eager: Ratio


class Limits(NamedTuple):
    """Bytes and floating-point operations a second."""

    bandwidth: float
    flops: float

    def of(self, case: Case, seconds: float) -> str:
        """What `case` needs at the least, by which of the two, and its share of `seconds`."""
        by_memory, by_arithmetic = case.bytes / self.bandwidth, case.flops / self.flops
        least = max(by_memory, by_arithmetic)
        if least < NEGLIGIBLE * seconds:
            return "the call itself"
        return f"{'memory' if by_memory >= by_arithmetic else 'flops'}: {duration(least)} ({least / seconds:.0%})"


def duration(seconds: float) -> str:
    """Seconds in the unit that fits."""
    for unit, size, digits in (("s", 1.0, 2), ("ms", 1e-3, 2), ("µs", 1e-6, 1)):
        if seconds >= size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def _sample(call: Callable[[], Any], count: int) -> float:
    """Seconds a call, over `count` calls after one that is not timed: it pays for what others left in the caches."""
    call()
    turns = range(count)
    start = time.perf_counter()
    for _ in turns:
        call()
    return (time.perf_counter() - start) / count


def _count(call: Callable[[], Any]) -> int:
    """How many calls make a sample; they also warm up."""
    count = 1
    while True:
        seconds = min(_sample(call, count), _sample(call, count))
        if seconds * count >= SAMPLE_SECONDS / 2:
            return max(1, round(SAMPLE_SECONDS / seconds))
        count *= 2


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """Of the ratios, a round each."""
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    low, median, high = np.percentile(ratios, (10, 50, 90))
    return Ratio(float(median), float(low), float(high))


def timing(case: Case, rounds: int) -> Timing:
    """Time the contestants in turns, so that what else the machine does meets all of them."""
    calls = {name: case.contestants[name].call for name in CONTESTANTS}
    counts = {name: _count(call) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for number in range(rounds):
        # Each is first, second and last in turn: none always follows what the same other left in the caches.
        turn = number % len(CONTESTANTS)
        for name in CONTESTANTS[turn:] + CONTESTANTS[:turn]:
            seconds[name].append(_sample(calls[name], counts[name]))
    compiled = seconds["compiled"]
    median = {name: statistics.median(each) for name, each in seconds.items()}
    return Timing(median, ratio(seconds["numpy"], compiled), ratio(seconds["eager"], compiled))


def limits() -> Limits:
    """The best of some copies of 128 MiB, whose bytes count twice, and of some products of 1024x1024 matrices."""
    source = np.ones(32 * 2**20, np.float32)
    target = np.zeros_like(source)
    copying = min(_sample(lambda: np.copyto(target, source), 1) for _ in range(8))
    a = np.ones((1024, 1024), np.float32)
    product = np.empty_like(a)
    multiplying = min(_sample(lambda: np.matmul(a, a, out=product), 1) for _ in range(8))
    return Limits(2 * source.nbytes / copying, 2 * 1024**3 / multiplying)


def machine() -> dict[str, Any]:
    """What was measured, and on what."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "llvmlite": llvmlite.__version__,
        "tracejit": tracejit.__version__,
        "tracejit_path": str(Path(tracejit.__file__).parent),
    }
