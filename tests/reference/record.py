"""Ask TensorFlow, and write what it answers to every case of the table into answers.xz.

    cd tests && PYTHON -m reference.record [function ...]

PYTHON is one that has tensorflow-cpu 2.21, NumPy and ml_dtypes. With names of functions only those are asked; the others keep
their answers.
"""

from __future__ import annotations

import mmap
import operator
import os
import pickle
import subprocess
import sys
from typing import Any

from reference.answers import STORE, eager_answer, load, store
from reference.table import ALIASES, digest, table

NAMESPACES = ("", "math", "nn", "linalg", "random")


def _work(names: list[str]) -> None:
    """Write what is known about TensorFlow, then the answers of these functions' cases to stdout, pickled one by one.

    The cases are run by a child, forked before TensorFlow has threads; where a case ends it, a new one goes on behind that.
    """
    out = os.dup(1)
    os.dup2(2, 1)
    import logging

    import tensorflow as tf

    logging.getLogger("tensorflow").setLevel("ERROR")
    for name, first in ALIASES.items():
        if operator.attrgetter(name)(tf) is not operator.attrgetter(first)(tf):
            raise ValueError(f"TensorFlow's {name} is not {first}")
    public = {
        space: sorted(name for name in dir(getattr(tf, space) if space else tf) if name[0] != "_") for space in NAMESPACES
    }
    _write(out, {"version": tf.__version__, "public": public})
    cases = [case for name in names for case in table()[name]]
    done = mmap.mmap(-1, 8)
    while (first := int.from_bytes(done, "little")) < len(cases):
        child = os.fork()
        if child == 0:
            for number in range(first, len(cases)):
                _write(out, eager_answer(tf, cases[number]))
                done[:] = (number + 1).to_bytes(8, "little")
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            number = int.from_bytes(done, "little")
            print(f"TensorFlow died of {cases[number]}", file=sys.stderr)
            _write(out, {"raised": ["Crash"]})
            done[:] = (number + 1).to_bytes(8, "little")


def _write(out: int, answer: Any) -> None:
    data = pickle.dumps(answer)
    while data:
        data = data[os.write(out, data) :]


def _ask(names: list[str]) -> tuple[dict[str, Any], list[Any]]:
    command = [sys.executable, "-m", "reference.record", "--work", *names]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}) as worker:
        assert worker.stdout is not None
        about = pickle.load(worker.stdout)
        answers = [pickle.load(worker.stdout) for name in names for _ in table()[name]]
    return about, answers


def main(names: list[str]) -> None:
    wanted = names or list(table())
    about, answers = _ask(wanted)
    rows = load()["rows"] if names and STORE.exists() else {}
    at = 0
    for name in wanted:
        cases = table()[name]
        rows[name] = {"digest": digest(cases), "answers": answers[at : at + len(cases)]}
        at += len(cases)
    kept = {name: rows[name] for name in table() if name in rows}
    store({**about, "rows": kept})
    print(f"{sum(len(row['answers']) for row in kept.values())} cases, {STORE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        _work(sys.argv[2:])
    else:
        main(sys.argv[1:])
