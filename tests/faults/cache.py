"""Damaged entries of the cache: a miss each, and never wrong code; also while other processes write and read the same."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults import ROOT
from tests.faults.work import FORMS, PATIENCE, Case, Wrong, require
from tracejit.llvm.machine import cache

_SECONDS = 3.0


def run(rng: random.Random, folder: Path) -> Counter[str]:
    """Damage entries and look for them, for some seconds; then let new processes find all kinds of damage at once."""
    counts: Counter[str] = Counter()
    place = Path(os.environ["TRACEJIT_CACHE_DIR"])
    for form in range(len(FORMS)):
        Case(1_000_000 + form).call(3)  # what the process itself loads is there from now on
    numbers = range(2 * len(FORMS))
    entry_of = {}
    for number in numbers:
        before = set(place.glob("*.tjo"))
        Case(number).call(2)
        entry_of[number] = sorted(set(place.glob("*.tjo")) - before)
    mine = {number: found[0] for number, found in entry_of.items() if found}
    require(len(mine) == len(numbers), "not every function has an entry of its own")
    entries = list(mine.values())
    others = [] if rng.random() < 0.5 else [_process(rng.randrange(1 << 30), _SECONDS) for _ in range(2)]
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        number = rng.choice(list(mine))
        what = rng.choice(list(DAMAGES))
        intact = _contents(mine[number])
        if not intact:  # nobody has mended it yet
            _take_away(mine[number])
            continue
        try:
            DAMAGES[what](rng, mine[number], entries)
        except OSError:
            require(others, f"{what} cannot be done")  # another process was first
            continue
        case = Case(number)
        case.call()
        counts[f"cache entries {what}"] += 1
        if not others and what in _MISSED and _contents(mine[number]) != intact:
            require("cache miss" in case.cause() or "not kept" in case.cause(), f"{what}: {case.cause()}")
        if not others:
            if mine[number].is_dir():
                _take_away(mine[number])  # the cache leaves alone what it has not made
            Case(number).call()
            case = Case(number)
            case.call()
            require("cache hit" in case.cause(), f"after {what} it was not made anew: {case.cause()}")
    for each in others:
        _finish(each)
    # What a process loads as it begins is in the cache too: the native call path, the pool.
    for entry in place.glob("*.tjo"):
        if _contents(entry) and rng.random() < 0.7:
            DAMAGES[rng.choice(("flipped", "cut", "emptied", "swapped"))](rng, entry, entries)
            counts["cache entries damaged before a process begins"] += 1
    starting = [_process(rng.randrange(1 << 30), 0.2) for _ in range(2)]
    for each in starting:
        _finish(each)
    require(cache.state().problem is None, f"the cache is not used any more: {cache.state().problem}")
    return counts


def _contents(path: Path) -> bytes:
    """What stands in a file, b"" where it is none: to read from a pipe would not end."""
    return path.read_bytes() if path.is_file() and not path.is_symlink() else b""


def _take_away(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _process(seed: int, seconds: float) -> subprocess.Popen[str]:
    """Another process that uses and damages the same cache."""
    command = [sys.executable, "-m", "tests.faults.cache", str(seed), str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _finish(process: subprocess.Popen[str]) -> None:
    try:
        told = process.communicate(timeout=2 * PATIENCE)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        raise Wrong(f"another process hangs: {process.communicate()[0]}") from None
    require(process.returncode == 0, f"another process ended with {process.returncode}: {told}")


def _use(rng: random.Random, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        Case(rng.randrange(2 * len(FORMS))).call(3)


# -- kinds of damage


def _flip(rng: random.Random, path: Path, entries: list[Path]) -> None:
    contents = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 2, 20))):
        contents[rng.randrange(len(contents))] ^= 1 << rng.randrange(8)
    path.write_bytes(contents)


def _cut(rng: random.Random, path: Path, entries: list[Path]) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def _lengthen(rng: random.Random, path: Path, entries: list[Path]) -> None:
    with path.open("ab") as file:
        file.write(rng.randbytes(rng.choice((1, 7, 4096))))


def _swap(rng: random.Random, path: Path, entries: list[Path]) -> None:
    path.write_bytes(_contents(rng.choice([each for each in entries if each != path])))


def _randomize(rng: random.Random, path: Path, entries: list[Path]) -> None:
    path.write_bytes(rng.randbytes(rng.choice((10, 100, 5000))))


def _replace(make: str) -> Callable[[random.Random, Path, list[Path]], Any]:
    def damage(rng: random.Random, path: Path, entries: list[Path]) -> None:
        path.unlink()
        if make == "pipe":
            os.mkfifo(path)
        elif make == "folder":
            path.mkdir()
        elif make != "nothing":
            path.symlink_to(make if make != "another" else rng.choice([each for each in entries if each != path]))

    return damage


DAMAGES: dict[str, Callable[[random.Random, Path, list[Path]], Any]] = {
    "flipped": _flip,
    "cut": _cut,
    "emptied": lambda rng, path, entries: os.truncate(path, 0),
    "lengthened": _lengthen,
    "swapped": _swap,
    "random": _randomize,
    "removed": _replace("nothing"),
    "a pipe": _replace("pipe"),
    "a folder": _replace("folder"),
    "a link to another": _replace("another"),
    "a link to nowhere": _replace("nowhere"),
    "a link to zeros": _replace("/dev/zero"),
    "writable by others": lambda rng, path, entries: path.chmod(0o666),
    "not readable": lambda rng, path, entries: path.chmod(0),
}
_MISSED = set(DAMAGES) - {"not readable"}  # the administrator reads it


if __name__ == "__main__":
    _use(random.Random(int(sys.argv[1])), float(sys.argv[2]))
