"""What a library answers to a case, and how answers are kept.

An answer is a nest: a dict with what was raised ({"raised": classes}), or the result, the first and the second gradients.
Arrays stand in it as ndarrays; what is no tensor as {"python": its text}.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from reference.cases import DTYPES, FLOATS, Case, Leaf, T, V, call, made, substituted

STORE = Path(__file__).parent / "answers.xz"

Answer = dict[str, Any]


def weights(shape: tuple[int, ...], dtype: str, turn: int) -> np.ndarray:
    """What results are multiplied by before a gradient is taken: powers of two, so that nothing is rounded."""
    cycle = np.array([1.0, 0.5, -2.0, 4.0, -1.0, 0.25])
    size = int(np.prod(shape, dtype=np.int64))
    return np.resize(np.roll(cycle, -turn), size).reshape(shape).astype(DTYPES[dtype])


class Run:
    """One case with one library. `tensor` makes a leaf T: a constant, or the parameter of a traced function."""

    def __init__(self, lib: Any, case: Case, tensor: Callable[[Leaf], Any] | None = None, variable: Any = None):
        self.lib, self.case = lib, case
        self.sources: list[Any] = []
        self.tensor = tensor or (lambda leaf: made(lib, leaf))
        self.variable = variable or (lambda leaf: made(lib, leaf))

    def _make(self, leaf: Any) -> Any:
        if not isinstance(leaf, (T, V)):
            return made(self.lib, leaf)
        value = self.tensor(leaf) if isinstance(leaf, T) else self.variable(leaf)
        if leaf.dtype in FLOATS and not self.case.function.startswith("tape "):  # those have tapes of their own
            self.sources.append(value)
        return value

    def answer(self) -> Answer:
        """The tensors of the answer, as the library has them; what the call raises comes out."""
        args, kwargs = substituted((self.case.args, self.case.kwargs), self._make)
        if not self.sources:
            return {"value": call(self.lib, self.case, args, kwargs)}
        lib = self.lib
        with lib.GradientTape() as outer:
            outer.watch(self.sources)
            with lib.GradientTape() as inner:
                inner.watch(self.sources)
                value = call(lib, self.case, args, kwargs)
                targets = [each for each in self._tensors(value) if dtype_name(each) in FLOATS]
                weighted = [each * self._weights(each, 0) for each in targets]
            answer: Answer = {"value": value}
            if not targets:
                return answer
            try:
                first = inner.gradient(weighted, self.sources)
                first = [None if each is None else lib.convert_to_tensor(each) for each in first]
            except Exception as error:
                return {**answer, "first": raised(error)}
            again = [each * self._weights(each, 1) for each in first if each is not None]
        answer["first"] = first
        if again:
            try:
                second = outer.gradient(again, self.sources)
                answer["second"] = [None if each is None else lib.convert_to_tensor(each) for each in second]
            except Exception as error:
                answer["second"] = raised(error)
        return answer

    def _weights(self, tensor: Any, turn: int) -> Any:
        return self.lib.constant(weights(tuple(tensor.shape), dtype_name(tensor), turn))

    def _tensors(self, value: Any) -> list[Any]:
        if isinstance(value, (list, tuple)) and not hasattr(value, "as_list"):
            return [tensor for each in value for tensor in self._tensors(each)]
        if isinstance(value, dict):
            return self._tensors(list(value.values()))
        return [value] if is_tensor(self.lib, value) else []


def is_tensor(lib: Any, value: Any) -> bool:
    """Whether `value` is a tensor or a Variable of `lib`."""
    return isinstance(value, (lib.Tensor, lib.Variable))


def dtype_name(tensor: Any) -> str:
    return str(tensor.dtype.name)


def raised(error: BaseException) -> Answer:
    """The classes of `error`, the nearest first."""
    names = [kind.__name__ for kind in type(error).__mro__ if kind not in (object, BaseException, Exception)]
    return {"raised": names, "text": " ".join(str(error).split()).split(" at reference/")[0][:300]}


def with_arrays(lib: Any, value: Any) -> Any:
    """`value` with an ndarray for each tensor, and a text for what is no tensor."""
    if is_tensor(lib, value):
        array = np.asarray(value.numpy())
        return array if array.dtype.name in DTYPES else {"python": f"{dtype_name(value)}{list(array.shape)}"}
    if hasattr(value, "as_list"):
        return {"python": str(tuple(value.as_list()))}
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *[with_arrays(lib, each) for each in value]]
    if isinstance(value, dict):
        return {key: with_arrays(lib, each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return {"ndarray": value}
    if isinstance(value, np.generic):
        return {"ndarray": np.asarray(value)}
    return {"python": str(value)}


def completed(lib: Any, answer: Answer) -> Answer:
    """An answer of a library's tensors as one of arrays."""
    if "raised" in answer:
        return answer
    done: Answer = {"value": with_arrays(lib, answer["value"])}
    for order in ("first", "second"):
        if order in answer:
            each = answer[order]
            done[order] = each if isinstance(each, dict) else [None if g is None else np.asarray(g.numpy()) for g in each]
    return done


def eager_answer(lib: Any, case: Case) -> Answer:
    """The answer of `lib` in eager mode, what it raises included."""
    try:
        return completed(lib, Run(lib, case).answer())
    except Exception as error:
        return raised(error)


# -- how answers are kept: a list of texts for each function, arrays as numbers of one pool of bytes


def store(corpus: dict[str, Any], path: Path = STORE) -> None:
    """Write {"rows": {function: {"digest": ..., "answers": [...]}}, ...}."""
    pool: dict[tuple[str, tuple[int, ...], bytes], int] = {}

    def packed(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return {"#": pool.setdefault((value.dtype.name, value.shape, value.tobytes()), len(pool))}
        if isinstance(value, (list, tuple)):
            return [packed(each) for each in value]
        if isinstance(value, dict):
            return {key: packed(each) for key, each in value.items() if key != "text"}
        return value

    texts = packed(corpus)
    # Arrays of one dtype lie together, which is what makes them small.
    order = sorted(pool, key=lambda each: each[0])
    head = json.dumps({"corpus": texts, "arrays": [[pool[each], each[0], each[1]] for each in order]}, separators=(",", ":"))
    body = b"".join(each[2] for each in order)
    path.write_bytes(
        lzma.compress(len(head.encode()).to_bytes(8, "little") + head.encode() + body, preset=9 | lzma.PRESET_EXTREME)
    )


def load(path: Path = STORE) -> dict[str, Any]:
    """What `store` wrote."""
    data = lzma.decompress(path.read_bytes())
    size = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + size])
    arrays, at = {}, 8 + size
    for number, dtype, shape in head["arrays"]:
        count = int(np.prod(shape, dtype=np.int64))
        arrays[number] = (
            np.frombuffer(data, DTYPES[dtype], count, at).reshape(shape) if count else np.zeros(shape, DTYPES[dtype])
        )
        at += count * DTYPES[dtype].itemsize

    def unpacked(value: Any) -> Any:
        if isinstance(value, list):
            return [unpacked(each) for each in value]
        if isinstance(value, dict):
            return arrays[value["#"]] if "#" in value else {key: unpacked(each) for key, each in value.items()}
        return value

    return unpacked(head["corpus"])
