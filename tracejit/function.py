"""@function: a Python function as compiled steps, one a signature.

A call finds the trace whose signature it has and whose captured values are still what they were; where there is none, the
function is traced, optimized and compiled. From the second call of a trace on that is native (tracejit.runtime.dispatcher);
what is here is the general path, which can do all that the native one can and what that one leaves to it.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tracejit import nest
from tracejit.ir import Graph, verify
from tracejit.ir.errors import SignatureError
from tracejit.ir.types import array_type
from tracejit.locks import Lock
from tracejit.runtime import native
from tracejit.runtime.calls import NativeCalls
from tracejit.runtime.entry import Entry, MemoryUse
from tracejit.runtime.generated import MISS, PythonCalls
from tracejit.runtime.step import Step
from tracejit.tensor import Tensor, context, interpreted, interpreting, settle
from tracejit.tracing.guards import Guard, collect, settled, variables_behind
from tracejit.tracing.signature import Parameters, Signature, describe_difference, signature_of
from tracejit.tracing.trace import Binding, Trace, TracedTensor, trace
from tracejit.variable import Variable

# A function that is traced this often for Python numbers or strings is told so, once.
_RETRACES_TOLD = 5
# The traces that are kept of one signature, for different captured values; what the cause of a new one ends with.
_KEPT = 8
_CHANGED = " has changed"

# The types that are made of a class add a layout of their own.
_NO_LAYOUT: tuple[str, ...] = ()

_run_eagerly = False
_SWITCH = "run_functions_eagerly"  # its entry in `interpreting`


def run_functions_eagerly(run_eagerly: bool) -> None:
    """Let every traced function run as plain Python from now on (to debug it), or compiled again."""
    global _run_eagerly
    _run_eagerly = bool(run_eagerly)
    if _run_eagerly and _SWITCH not in interpreting:
        interpreting[_SWITCH] = None
        interpreted.value = interpreted.value + 1
    elif not _run_eagerly and _SWITCH in interpreting:
        del interpreting[_SWITCH]
        interpreted.value = interpreted.value - 1


def _in_child() -> None:
    """Of the threads of the parent, only the one that forked is in the child."""
    own = {tape.entry for tape in context.tapes} | {context.trace, _SWITCH}
    for entry in [entry for entry in interpreting if entry not in own]:
        del interpreting[entry]
    interpreted.value = len(interpreting)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def _frames_to_user() -> int:
    """How far out the first frame is that is not tracejit's, as a stacklevel of the caller's warning."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "tracejit":
        frame, level = frame.f_back, level + 1
    return level


class Function:
    """What @function makes of a Python function. Call it as the function; `ir` and `explain` show what became of it."""

    __slots__ = _NO_LAYOUT

    if TYPE_CHECKING:

        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    def __init__(self, python_function: Callable[..., Any], instance: Any = None):
        if not callable(python_function):
            raise TypeError(f"function takes a callable, not {python_function!r}")
        self.python_function = python_function
        self._instance = None if instance is None else weakref.ref(instance)
        self._parameters = Parameters(python_function, bound=0 if instance is None else 1)
        self._entries: dict[Any, list[Entry]] = {}
        self._order: list[Entry] = []
        self._methods: dict[int, tuple[weakref.ref[Any], Function]] = {}  # by the object's id, while it lives
        self._calls = self._make_calls()
        self._bound: weakref.ref[Any] | None = None
        self._was_traced = False
        self._told = False
        self._lock = Lock()
        functools.update_wrapper(self, python_function)

    def _make_calls(self) -> Any:
        return NativeCalls(self._instance is not None)

    # -- calling

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        """A call by the general path."""
        if interpreted.value:
            settle()
        if context.trace is not None or _run_eagerly:
            return self._python(*args, **kwargs)
        bound = self._parameters.bind(args, kwargs)
        key, signature = signature_of(self._parameters, *bound)
        leaves = signature.leaves
        for leaf in leaves:
            if type(leaf) is TracedTensor:
                leaf.refuse(f"{self.name} was called with it")
        for entry in self._entries.get(key, ()):
            if entry.fits(leaves) is None:
                result = entry.call(leaves)
                self._calls.learn(self, entry, self._parameters, args, kwargs)
                return result
        return self._traced(*bound, key, signature).call(leaves)

    def _python(self, *args: Any, **kwargs: Any) -> Any:
        if self._instance is not None:
            return self.python_function(self._owner(), *args, **kwargs)
        return self.python_function(*args, **kwargs)

    def _owner(self) -> Any:
        owner = self._instance() if self._instance is not None else None
        if owner is None:
            raise ReferenceError(f"the object that {self.name} is a method of is gone")
        return owner

    def _method_of(self, instance: Any) -> Any:
        """The traced method of `instance`: it has traces of its own, which do not keep the object alive."""
        key = id(instance)
        known = self._methods.get(key)
        if known is None:
            try:
                reference = weakref.ref(instance, functools.partial(self._methods.pop, key))
            except TypeError:
                raise SignatureError(f"{self.name} is a method of {instance!r}, which cannot be weakly referred to") from None
            known = self._methods.setdefault(key, (reference, type(self)(self.python_function, instance)))
        method = known[1]
        self._calls.remember(self, instance, method)
        return method

    @property
    def name(self) -> str:
        return getattr(self.python_function, "__name__", "function")

    # -- tracing

    def _traced(self, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any, signature: Signature) -> Entry:
        """A new trace for a call, compiled later; or the one that another thread has made meanwhile."""
        with self._lock:
            for entry in self._entries.get(key, ()):
                if entry.fits(signature.leaves) is None:
                    return entry
            cause = self._cause(key, signature.leaves)
            start = time.perf_counter()
            tracing = Trace(self._graph_name(), variables_may_be_created=not self._was_traced)
            given = self._placeholders(tracing, args, kwargs, signature)
            guards = self._guards(args, kwargs)
            owner = () if self._instance is None else (self._owner(),)
            traced = trace(self.python_function, tracing, (*owner, *given[0]), given[1])
            verify(traced.graph)
            self._was_traced = True
            entry = Entry(key, traced, settled(guards), cause, time.perf_counter() - start)
            if any(type(leaf) is Variable for leaf in signature.leaves):
                outside = variables_behind(guards)
                entry.only = {
                    index: weakref.ref(leaf)
                    for index, leaf in enumerate(signature.leaves)
                    if type(leaf) is Variable and id(leaf) in outside
                }
            entries = self._entries.setdefault(key, [])
            # A trace whose captured values have changed is not used again: the newest is looked at first.
            entries.insert(0, entry)
            for old in entries[_KEPT:]:
                self._calls.forget(self, old)
                old.forget()
            del entries[_KEPT:]
            self._order.append(entry)
            self._tell_of_retraces()
            return entry

    def _graph_name(self) -> str:
        name = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in self.name)
        return name if name[:1].isalpha() or name[:1] == "_" else f"f_{name}"

    def _guards(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Guard, ...]:
        named = dict(zip(self._parameters.names, args, strict=False)) | kwargs
        dynamic = (Tensor, Variable, np.ndarray, np.generic)
        known = {name: value for name, value in named.items() if not isinstance(value, dynamic)}
        function: Any = self.python_function
        if self._instance is not None and inspect.isfunction(function):
            # Through `_instance` only: the traces belong to the instance and must not keep it.
            known[function.__code__.co_varnames[0]] = self._owner()
        return collect(function, known)

    def _placeholders(self, tracing: Trace, args: tuple[Any, ...], kwargs: dict[str, Any], signature: Signature) -> Any:
        """(args, kwargs) with parameters of the trace in the place of tensors and arrays."""
        numbers = iter(range(len(signature.leaves)))

        def placeholder(leaf: Any) -> Any:
            if isinstance(leaf, (Tensor, np.ndarray, np.generic)):
                index = next(numbers)
                kind = leaf.type if isinstance(leaf, Tensor) else array_type(leaf)
                return tracing.tensor(tracing.parameter(signature.names[index], kind, Binding("argument", index)))
            if type(leaf) is Variable:
                index = next(numbers)
                tracing.bind_variable(leaf, signature.names[index], Binding("argument variable", index))
            return leaf

        given = (args, kwargs)
        return nest.pack(given, iter([placeholder(leaf) for leaf in nest.flatten(given)]))

    def _cause(self, key: Any, leaves: Sequence[Any]) -> str:
        """Why a call needs a new trace, in words."""
        if not self._order:
            return "first call"
        for entry in self._entries.get(key, ()):
            return f"{entry.fits(leaves) or 'a captured value'}{_CHANGED}"
        nearest = min(self._order, key=lambda entry: sum(a != b for a, b in zip(entry.key, key, strict=False)))
        return describe_difference(self._parameters.names, key, nearest.key)

    def _tell_of_retraces(self) -> None:
        causes = [entry.cause for entry in self._order[-_RETRACES_TOLD:]][1:]
        if self._told or len(causes) < _RETRACES_TOLD - 1:
            return
        if all(": the " in cause for cause in causes):
            advice = "A Python number is a constant of the trace; pass it as a tensor, such as tj.constant(x), to trace once"
        elif all(cause.endswith(_CHANGED) for cause in causes):
            advice = "What a trace captured is a constant of it; keep what changes in a Variable, or pass it, to trace once"
        else:
            return
        self._told = True
        warnings.warn(
            f"{self.name} was traced {len(self._order)} times, lately for {causes[-1]}. {advice}",
            stacklevel=_frames_to_user(),
        )

    # -- looking at it

    def _entry(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Entry:
        if not args and not kwargs and self._parameters.names and len(self._order) == 1:
            return self._order[0]
        args, kwargs = self._parameters.bind(args, kwargs)
        key, signature = signature_of(self._parameters, args, kwargs)
        for entry in self._entries.get(key, ()):
            if entry.fits(signature.leaves) is None:
                return entry
        return self._traced(args, kwargs, key, signature)

    def ir(self, *args: Any, stage: str = "optimized", **kwargs: Any) -> str:
        """The function for a call with these arguments, as text; nothing is run, but it is traced where it was not yet.

        `stage` is "traced", the name of a pass (the graph after it), "optimized", "llvm" or "asm". Without arguments, where
        there is one trace, that one. ValueError for another stage.
        """
        entry = self._entry(args, kwargs)
        if stage == "traced":
            return entry.traced.graph.text()
        if stage == "optimized":
            return entry.optimized.text()
        if stage == "llvm":
            return entry.step.module.text
        if stage == "asm":
            return entry.step.assembly()
        from tracejit import passes

        for name, graph in passes.stages(entry.traced.graph):
            if name == stage:
                return graph.text()
        known = ", ".join(["traced", *passes.PIPELINE, "optimized", "llvm", "asm"])
        raise ValueError(f"there is no stage {stage!r}; the stages are {known}")

    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The optimized graph for a call with these arguments."""
        return self._entry(args, kwargs).optimized

    def compiled(self, *args: Any, **kwargs: Any) -> Step:
        """The compiled step for a call with these arguments; nothing is run, but it is compiled where it was not yet."""
        return self._entry(args, kwargs).step

    def arrays(self, *args: Any, **kwargs: Any) -> list[np.ndarray]:
        """Copies of what the parameters of the graph are in a call with these arguments, captured variables included."""
        entry = self._entry(args, kwargs)
        bound = self._parameters.bind(args, kwargs)
        return entry.copies(signature_of(self._parameters, *bound)[1].leaves)

    def explain(self) -> str:
        """The traces so far, a line each: why it was made, whether its code came from the cache, how large it is, how long it
        took."""
        lines = [f"{self.name}: {len(self._order)} trace{'' if len(self._order) == 1 else 's'}"]
        lines += [f"  {number}: {entry.describe()}" for number, entry in enumerate(self._order)]
        if (reason := native.unusable()) is not None:
            lines.append(f"  calls go through Python: {reason}")
        return "\n".join(lines)

    def memory(self, *args: Any, **kwargs: Any) -> MemoryUse:
        """The bytes that a call with these arguments takes: arena, results, peak and temporaries."""
        return self._entry(args, kwargs).memory()

    def experimental_get_tracing_count(self) -> int:
        """How often the function was traced."""
        return len(self._order)


class BoundFunction:
    """A traced method of one object, which it keeps alive."""

    __slots__ = _NO_LAYOUT
    _function: Function

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


class _PythonFunction(Function):
    """A traced function whose calls go through Python."""

    def _make_calls(self) -> Any:
        return PythonCalls()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not interpreted.value:
            found = self._calls.find(args, kwargs)
            if found is not MISS:
                return found
        return self._call(*args, **kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        method = self._method_of(instance)
        bound = method._bound() if method._bound is not None else None
        if bound is None:
            bound = _PythonBoundFunction(method, instance)
            method._bound = weakref.ref(bound)
        return bound


class _PythonBoundFunction(BoundFunction):
    __slots__ = ("__self__", "__weakref__", "_function")

    def __init__(self, function: Function, instance: Any):
        self._function, self.__self__ = function, instance

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


def function(
    func: Callable[..., Any] | None = None,
    input_signature: Any = None,
    autograph: bool = True,
    jit_compile: bool | None = None,
    reduce_retracing: bool = False,
    experimental_implements: Any = None,
    experimental_autograph_options: Any = None,
    experimental_attributes: Any = None,
    experimental_relax_shapes: bool | None = None,
    experimental_compile: bool | None = None,
    experimental_follow_type_hints: bool | None = None,
) -> Any:
    """Compile a Python function: `@function` or `@function(...)`.

    The arguments are TensorFlow's. `autograph`, `jit_compile` and the experimental ones change nothing: a function is always
    compiled, and `if` and `while` on tensors are errors. NotImplementedError for `input_signature` and `reduce_retracing`.
    """
    if input_signature is not None:
        raise NotImplementedError(
            "function: input_signature is not supported; each signature is traced when it is first called"
        )
    if reduce_retracing or experimental_relax_shapes:
        raise NotImplementedError("function: reduce_retracing is not supported; shapes are static")
    if func is None:
        return _make
    return _make(func)


def _make(func: Callable[..., Any]) -> Any:
    if native.unusable() is not None:
        return _PythonFunction(func)
    return native.function_type(Function, BoundFunction, Function._call, Function._method_of)(func)
