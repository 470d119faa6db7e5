"""@function: a Python function as compiled steps, one a signature.

A call finds the trace whose signature it has and whose captured values are still what they were; where there is none, the
function is traced, optimized and compiled. From its second call on a trace is known to the native call path
(tracejit.runtime.native.dispatcher), which runs what calls come after that. What is here is the general path: it can do all
that the native one can, and does what that one leaves to it.
"""

from __future__ import annotations

import copy
import functools
import sys
import time
import types
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tracejit import nest
from tracejit.context import context, interpreted, settle
from tracejit.ir import Graph, verify
from tracejit.ir.errors import SignatureError
from tracejit.ir.types import array_type
from tracejit.objects import Wrapper, attribute, in_class, is_a, is_exactly, module_of, type_name
from tracejit.runtime.compiled_function import CompiledFunction
from tracejit.runtime.concrete_function import ConcreteFunction, MemoryUse
from tracejit.runtime.eagerly import functions_run_eagerly
from tracejit.runtime.generated import MISS, PythonInlineCache
from tracejit.runtime.inline_cache import InlineCache
from tracejit.runtime.native import loader as native
from tracejit.runtime.traces import Traces
from tracejit.tensor import Tensor
from tracejit.tracing.guards import Guard, collect, settled, variables_behind
from tracejit.tracing.signature import Parameters, Signature, is_dynamic, signature_of
from tracejit.tracing.trace import Binding, Trace, TracedTensor, trace
from tracejit.variable import Variable

# The types that are made of a class add a layout of their own.
_NO_LAYOUT: tuple[str, ...] = ()


class Function(Wrapper):
    """What @function makes of a Python function. Call it as the function; `ir` and `explain` show what became of it."""

    __slots__ = _NO_LAYOUT

    if TYPE_CHECKING:

        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    def __init__(self, python_function: Callable[..., Any], instance: Any = None):
        if not callable(python_function):
            raise TypeError(f"function takes a callable, not a {type_name(python_function)}")
        _take_names(self, python_function)
        self.python_function = python_function
        self._instance = None if instance is None else weakref.ref(instance)
        self._parameters = Parameters(python_function, bound=0 if instance is None else 1)
        self._methods: dict[int, tuple[weakref.ref[Any], Function]] = {}  # by the object's id, while it lives
        self._unbound: Function | None = None
        self._calls = self._make_calls()
        self._bound: weakref.ref[Any] | None = None
        self._was_traced = False
        itself = weakref.ref(self)
        self._traces = Traces(self.name, self._parameters, lambda concrete: _forget(itself, concrete))

    def _make_calls(self) -> Any:
        return InlineCache(self._instance is not None)

    # -- calling

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        """A call by the general path."""
        if interpreted.value:
            settle()
        if context.trace is not None or functions_run_eagerly():
            return self._python(*args, **kwargs)
        bound = self._parameters.bind(args, kwargs)
        key, signature = signature_of(self._parameters, *bound)
        leaves = signature.leaves
        for leaf in leaves:
            if type(leaf) is TracedTensor:
                leaf.refuse(f"{self.name} was called with it")
        if (concrete := self._traces.find(key, leaves)) is None:
            return self._traced(*bound, key, signature).call(leaves)
        result = concrete.call(leaves)
        self._calls.populate(self, concrete, self._parameters, args, kwargs)
        return result

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
                raise SignatureError(
                    f"{self.name} is a method of a {type_name(instance)}, which cannot be weakly referred to: its class needs "
                    "'__weakref__' among its __slots__"
                ) from None
            made = type(self)(self.python_function, instance)
            made._unbound = self
            known = self._methods.setdefault(key, (reference, made))
        method = known[1]
        self._calls.remember(self, instance, method)
        return method

    @property
    def name(self) -> str:
        return self.__name__  # type: ignore[attr-defined]  # which it takes from the function

    # -- copies: as Python's functions it is not copied, and pickled by name; a method goes with its object

    def __copy__(self) -> Function:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        copied = copy.deepcopy(self.python_function, memo)
        return self if copied is self.python_function else function(copied)

    def __reduce__(self) -> Any:
        found: Any = sys.modules.get(self.__module__)
        for name in self.__qualname__.split("."):  # type: ignore[attr-defined]
            found = getattr(found, name, None)
        return self.__qualname__ if found is self else (function, (self.python_function,))

    # -- tracing

    def _traced(self, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any, signature: Signature) -> ConcreteFunction:
        """A new trace for a call, compiled later; or the one that another thread has made meanwhile."""
        return self._traces.add(key, signature.leaves, functools.partial(self._trace, args, kwargs, key, signature))

    def _trace(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any, signature: Signature, cause: str
    ) -> ConcreteFunction:
        start = time.perf_counter()
        tracing = Trace(self._graph_name(), variables_may_be_created=not self._was_traced)
        given = self._placeholders(tracing, args, kwargs, signature)
        guards = self._guards(args, kwargs)
        owner = () if self._instance is None else (self._owner(),)
        before = [(name, nest.containers(value)) for name, value in self._named(*given)]
        traced = trace(self.python_function, tracing, (*owner, *given[0]), given[1])
        if changed := [name for name, containers in before if not nest.are_unchanged(containers)]:
            raise ValueError(
                f"{self.name} changes its argument{'s' * (len(changed) > 1)} {', '.join(changed)}: a call of a traced function "
                "would do so only once, when it is traced; change a copy, and return it"
            )
        self._was_traced = True
        if tracing.has_created:
            # Once more: what the first call keeps is there now, and what it makes anew would be made in every call.
            return self._trace(args, kwargs, key, signature, cause)
        verify(traced.graph)
        concrete = ConcreteFunction(key, traced, settled(guards), cause, time.perf_counter() - start)
        if any(type(leaf) is Variable for leaf in signature.leaves):
            outside = variables_behind(guards)
            concrete.only = {
                index: weakref.ref(leaf)
                for index, leaf in enumerate(signature.leaves)
                if type(leaf) is Variable and id(leaf) in outside
            }
        return concrete

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
        """Arguments with the names of their parameters."""
        return [(self._parameters.name(place), value) for place, value in enumerate(args)] + list(kwargs.items())

    def _graph_name(self) -> str:
        name = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in self.name)
        return name if name[:1].isalpha() or name[:1] == "_" else f"f_{name}"

    def _guards(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Guard, ...]:
        known = {name: value for name, value in self._named(args, kwargs) if not is_dynamic(value)}
        function: Any = self.python_function
        if self._instance is not None and type(function) is types.FunctionType:
            # Through `_instance` only: the traces belong to the instance and must not keep it.
            known[function.__code__.co_varnames[0]] = self._owner()
        return collect(function, known)

    def _placeholders(self, tracing: Trace, args: tuple[Any, ...], kwargs: dict[str, Any], signature: Signature) -> Any:
        """(args, kwargs) with parameters of the trace in the place of tensors and arrays."""
        numbers = iter(range(len(signature.leaves)))

        def placeholder(leaf: Any) -> Any:
            if type(leaf) is Variable:
                index = next(numbers)
                tracing.bind_variable(leaf, signature.names[index], Binding("argument variable", index))
            elif is_dynamic(leaf):
                index = next(numbers)
                kind = leaf.type if is_a(leaf, Tensor) else array_type(signature.leaves[index])
                return tracing.tensor(tracing.parameter(signature.names[index], kind, Binding("argument", index)))
            return leaf

        given = (args, kwargs)
        return nest.pack(given, iter([placeholder(leaf) for leaf in nest.flatten(given)]))

    # -- looking at it

    def _concrete(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ConcreteFunction:
        if not args and not kwargs and self._parameters.names:
            if len(self._traces.kept) == 1:
                return self._traces.kept[0]
            self._check_that_none_are_needed()
        args, kwargs = self._parameters.bind(args, kwargs)
        key, signature = signature_of(self._parameters, args, kwargs)
        return self._traces.find(key, signature.leaves) or self._traced(args, kwargs, key, signature)

    def _check_that_none_are_needed(self) -> None:
        """TypeError where no call without arguments is one of the function."""
        try:
            self._parameters.bind((), {})
        except TypeError as error:
            kept = self._traces.kept
            known = f"{len(kept)} traces" if kept else "no trace yet"
            raise TypeError(
                f"{self.name} has {known} ({error}): say which by the arguments of a call, as in {self.name}.ir(x)"
                + ("; explain() lists them" if kept else ", or call it first")
            ) from None

    def ir(self, *args: Any, stage: str = "optimized", **kwargs: Any) -> str:
        """The function for a call with these arguments, as text; nothing is run, but it is traced where it was not yet.

        `stage` is "traced", the name of a pass (the graph after it), "optimized", "plan" (its kernels with their loops, and
        its memory), "llvm" or "asm". Without arguments, where there is one trace, that one. ValueError for another stage,
        TypeError where the arguments do not fit.
        """
        return self._concrete(args, kwargs).compilation.text(stage)

    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The optimized graph for a call with these arguments."""
        return self._concrete(args, kwargs).optimized

    def compiled(self, *args: Any, **kwargs: Any) -> CompiledFunction:
        """The compiled function for a call with these arguments; nothing is run, but it is compiled where it was not yet."""
        return self._concrete(args, kwargs).compiled

    def arrays(self, *args: Any, **kwargs: Any) -> list[np.ndarray]:
        """Copies of what the parameters of the graph are in a call with these arguments, captured variables included."""
        concrete = self._concrete(args, kwargs)
        bound = self._parameters.bind(args, kwargs)
        return concrete.copies(signature_of(self._parameters, *bound)[1].leaves)

    def explain(self) -> str:
        """The traces so far, a line each: why it was made, whether it came from the cache, how large it is, how long it took;
        of how many kernels the code was shared, found and compiled, and how long each stage took for these."""
        lines = self._traces.describe()
        if (reason := native.unusable()) is not None:
            lines.append(f"  calls go through Python: {reason}")
        return "\n".join(lines)

    def memory(self, *args: Any, **kwargs: Any) -> MemoryUse:
        """The bytes that a call with these arguments takes: arena, results, peak and temporaries."""
        return self._concrete(args, kwargs).memory()

    def experimental_get_tracing_count(self) -> int:
        """How often the function was traced."""
        return self._traces.count


def _forget(function: weakref.ref[Function], concrete: ConcreteFunction) -> None:
    """Let no call of `function` find `concrete` any more."""
    owner = function()
    if owner is not None:
        owner._calls.forget(owner, concrete)


def _take_names(function: Function, python_function: Any) -> None:
    """Let `function` be called and documented as what it is made of."""
    kind = type(python_function)
    if issubclass(kind, Wrapper) or is_exactly(python_function, (types.FunctionType, types.MethodType)):
        functools.update_wrapper(function, python_function)
        return
    # Another object says what it is in ways of its own; what its class is called is known without asking it.
    names = (attribute(python_function, "__name__"), type_name(python_function))
    name = next(each for each in names if type(each) is str)
    document = in_class(kind, "__doc__")
    vars(function).update(
        __name__=name, __qualname__=name, __module__=module_of(kind), __wrapped__=python_function,
        __doc__=document if type(document) is str else None,
    )  # fmt: skip


def _bind(function: Any, instance: Any) -> Any:
    """The traced method of `instance`."""
    return function.__get__(instance, type(instance))


class BoundFunction(Wrapper):
    """A traced method of one object, which it keeps alive."""

    __slots__ = _NO_LAYOUT
    __self__: Any
    _function: Function

    def __copy__(self) -> BoundFunction:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return _bind(self._function._unbound, copy.deepcopy(self.__self__, memo))

    def __reduce__(self) -> Any:
        return _bind, (self._function._unbound, self.__self__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


class _PythonFunction(Function):
    """A traced function whose calls go through Python."""

    def _make_calls(self) -> Any:
        return PythonInlineCache()

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
