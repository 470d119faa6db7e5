"""GradientTape: what records ops, and what differentiates the record.

While tracing a tape has entries as well, of nodes; its `gradient` then leaves one `gradient` node in the graph.
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tracejit import nest, ops
from tracejit.context import RecordingTape, context, interpreted, interpreting, settle
from tracejit.ir.errors import DtypeError, InvalidArgumentError, fail
from tracejit.ir.graph import Node, make, reachable
from tracejit.ir.location import source_position
from tracejit.ir.op import Op
from tracejit.operators import Operators
from tracejit.ops import TapeEntry
from tracejit.ops.autodiff import differentiable_operands
from tracejit.tensor import Tensor, convert_to_tensor
from tracejit.variable import Variable

# The frames of an op's call in front of the user's, where they are fewest: source_position, record, what applies the op, the
# op's own call. To look at them would add a sixth to what recording costs; a test says when there are fewer.
_CALLERS = 4


class UnconnectedGradients(enum.Enum):
    """What the gradient with respect to a source is that the target does not depend on."""

    NONE = "none"
    ZERO = "zero"


_new_entry = tuple.__new__  # a third of the time of TapeEntry(...), which checks its arguments


def _handle(tensor: Tensor) -> Any:
    """What stands for the tensor in a tape's entries: the tensor, or while tracing its node."""
    return tensor if context.trace is None else context.trace.node(tensor)


class GradientTape:
    """Records the ops that run inside of its `with` block and gives gradients through them.

    A tape that is not `persistent` gives one gradient and forgets what it recorded. With `watch_accessed_variables`, it
    watches every trainable variable of a floating dtype that is read, and what the tapes around it were told to watch.
    """

    def __init__(self, persistent: bool = False, watch_accessed_variables: bool = True):
        self._persistent, self._watch_accessed = persistent, watch_accessed_variables
        self._entered = self._consumed = False
        # Held from the beginning of the `with` block to its end. To leave it is one call that no interrupt comes between, as
        # one does before the first line of a function in Python; what else is to be done at the end, `settle` does later.
        self.block = threading.Lock()
        self.entry = object()
        self._clear()

    def _clear(self) -> None:
        self._entries: list[TapeEntry] = []
        self._tracked: dict[int, Any] = {}
        self.watched: dict[int, Any] = {}  # what `watch` was told, for tapes inside of this one
        self._reads: dict[int, tuple[Variable, dict[int, Any]]] = {}
        self._trace = context.trace

    # -- recording

    def __enter__(self) -> GradientTape:
        settle()
        if self in context.tapes or not (self.block.acquire(blocking=False) or self.entry not in interpreting):
            raise ValueError("the tape is still recording: it cannot be entered again")
        if not self._entered:
            self._trace = context.trace
        self._entered = True
        if self._watch_accessed:
            for tape in context.tapes:
                self._tracked.update(tape.watched)
        entry, block = object(), self.block
        tapes: tuple[RecordingTape, ...] = (*context.tapes, self)
        # From here on no call: an interrupt comes before all of it or after it.
        self.entry = entry
        interpreting[entry] = block
        interpreted.value = interpreted.value + 1
        context.tapes = tapes
        return self

    @property
    def __exit__(self) -> Callable[..., None]:
        return self.block.__exit__

    def _stop(self) -> None:
        """Record no more, though the block may not have been left."""
        entry, tapes = self.entry, tuple([tape for tape in context.tapes if tape is not self])
        context.tapes = tapes
        if entry in interpreting:
            del interpreting[entry]
            interpreted.value = interpreted.value - 1

    def _is_recording(self) -> bool:
        settle()
        return self in context.tapes

    def record(self, op: Op, operands: Sequence[Any], attrs: Mapping[str, Any], results: Sequence[Any]) -> None:
        """Note that `op` was applied, where one of the operands is watched or was made from what is."""
        if not self.block.locked():
            settle()
            return
        tracked = self._tracked
        for operand in operands:
            if id(operand) in tracked:
                break
        else:
            return
        for result in results:
            tracked[id(result)] = result
        self._entries.append(_new_entry(TapeEntry, (op, tuple(operands), attrs, tuple(results), source_position(_CALLERS))))

    def note_read(self, variable: Variable, tensor: Tensor) -> None:
        """Watch `tensor`, the value of `variable` that was read, where the tape watches the variable."""
        if not self.block.locked():
            settle()
            return
        key = id(variable)
        if key in self._reads or (self._watch_accessed and variable.trainable):
            handle = _handle(tensor)
            self._reads.setdefault(key, (variable, {}))[1][id(handle)] = handle
            self._tracked[id(handle)] = handle

    def watch(self, tensor: Any) -> None:
        """Record what is computed from `tensor`: a tensor or variable or a structure of them. TypeError for anything
        else, RuntimeError where the tape was never entered."""
        leaves = nest.flatten(tensor, "watch: what to watch")
        for leaf in leaves:
            if not isinstance(leaf, Operators):
                fail(_NotATensor, "watch", (repr(leaf),), "it takes tensors and variables; make one with constant")
        if not self._entered:
            raise RuntimeError("watch: the tape has not been entered; call it inside of its with block")
        if not self._is_recording():
            return
        for leaf in leaves:
            if isinstance(leaf, Variable):
                self._reads.setdefault(id(leaf), (leaf, {}))
                leaf.read()
                handles = list(self._reads[id(leaf)][1].values())
            else:
                handles = [_handle(leaf)]
            told = {id(handle): handle for handle in handles}
            self.watched.update(told)
            self._tracked.update(told)
            for tape in context.tapes[context.tapes.index(self) + 1 :]:
                tape.follow(told)

    def follow(self, handles: Mapping[int, Any]) -> None:
        """Record what is computed of `handles` as well, which a tape around this one was told to watch."""
        if self._watch_accessed:
            self._tracked.update(handles)

    @contextlib.contextmanager
    def stop_recording(self) -> Iterator[None]:
        """Nothing inside is recorded. RuntimeError where the tape was never entered, ValueError where it was left."""
        if not self._is_recording():
            raise (ValueError if self._entered else RuntimeError)("stop_recording: the tape is not recording")
        before = context.tapes
        context.tapes = tuple(tape for tape in before if tape is not self)
        try:
            yield
        finally:
            context.tapes = before
            settle()
            if self.entry not in interpreting:  # it was consumed meanwhile
                self._stop()

    def reset(self) -> None:
        """Forget everything recorded so far. ValueError where the tape does not record."""
        if not self._is_recording():
            raise ValueError("reset: the tape is not recording")
        self._clear()
        self._consumed = False

    def watched_variables(self) -> tuple[Variable, ...]:
        """The variables that were watched, in the order in which they were created."""
        return tuple(sorted((variable for variable, _ in self._reads.values()), key=lambda variable: variable.creation))

    # -- differentiating

    def gradient(
        self,
        target: Any,
        sources: Any,
        output_gradients: Any = None,
        unconnected_gradients: Any = UnconnectedGradients.NONE,
    ) -> Any:
        """The gradient of the sum of the targets with respect to each source, in the structure of `sources`.

        A source that no target depends on, or whose dtype is not floating, gives None, or zeros of its shape for
        `unconnected_gradients="zero"`. `output_gradients` are the cotangents that go in, of the targets' structure,
        shapes and dtypes (ones where left out). RuntimeError for the second gradient of a tape that is not persistent;
        TypeError for a target or source that is no tensor; InvalidArgumentError for output_gradients that do not fit.
        """
        unconnected = _unconnected(unconnected_gradients)
        self._check_usable()
        settle()
        targets = [self._as_target(leaf) for leaf in nest.flatten(target, "gradient: the target")]
        leaves = nest.flatten(sources, "gradient: the sources")
        handles = [self._handles(leaf) for leaf in leaves]
        seeds = self._seeds(target, targets, output_gradients)
        flat = [handle for group in handles for handle in group]
        entries = self._consume()
        if context.trace is None:
            given = seeds if output_gradients is None else [ops.Gapped(seed) for seed in seeds]
            cotangents = iter(ops.reverse(entries, targets, given, flat))
        else:
            cotangents = iter(_traced_gradient(entries, targets, seeds, flat))
        totals = [_total(itertools.islice(cotangents, len(group))) for group in handles]
        if unconnected is UnconnectedGradients.ZERO:
            pairs = zip(totals, leaves, strict=True)
            totals = [ops.zeros_like(convert_to_tensor(leaf)) if total is None else total for total, leaf in pairs]
        return nest.pack(sources, iter(totals))

    def _check_usable(self) -> None:
        """RuntimeError where there is no gradient to be had of the tape, here or any more."""
        if self._consumed:
            raise RuntimeError(
                "A non-persistent GradientTape can only be used to compute one set of gradients (or jacobians): "
                "make it with persistent=True"
            )
        if not self._entered:
            raise RuntimeError("gradient: the tape has recorded nothing, it was never entered")
        if context.trace is not self._trace:
            raise RuntimeError("gradient: the tape was recorded outside of this traced function; call it where it recorded")

    def _consume(self) -> list[TapeEntry]:
        """What was recorded; a tape that is not persistent forgets it."""
        entries = list(self._entries)
        if not self._persistent:
            self._consumed = True
            self._stop()
            self._entries, self._tracked = [], {}
        return entries

    def _as_target(self, leaf: Any) -> Tensor:
        if not isinstance(leaf, Operators):
            fail(_NotATensor, "gradient", (repr(leaf),), "the target must be a tensor or a structure of tensors")
        if isinstance(leaf, Variable):
            reads = self._reads.get(id(leaf))
            if reads:
                last = list(reads[1].values())[-1]
                return last if context.trace is None else context.trace.tensor(last)
        return convert_to_tensor(leaf)

    def _handles(self, leaf: Any) -> list[Any]:
        """What stands for a source in the entries: for a variable, every value of it that was read."""
        if not isinstance(leaf, Operators):
            fail(
                _NotATensor,
                "gradient",
                (repr(leaf),),
                "a source must be a tensor or a variable, or a structure of them",
            )
        if isinstance(leaf, Variable):
            return list(self._reads[id(leaf)][1].values()) if id(leaf) in self._reads else []
        handle = _handle(leaf)  # type: ignore[arg-type]
        return [handle] if id(handle) in self._tracked else []

    def _seeds(self, target: Any, targets: list[Tensor], output_gradients: Any) -> list[Any]:
        if output_gradients is None:
            if context.trace is not None:
                return [None] * len(targets)
            return [Tensor(np.ones(each.type.shape, each.type.dtype.numpy), each.type) for each in targets]
        leaves = nest.flatten(output_gradients, "gradient: output_gradients")
        if len(leaves) != len(targets):
            message = f"output_gradients has {len(leaves)} tensors, the target {len(targets)}"
            fail(InvalidArgumentError, "gradient", targets, message)
        if not nest.same_structure(target, output_gradients):
            fail(InvalidArgumentError, "gradient", targets, "output_gradients has another structure than the target")
        seeds: list[Any] = []
        for number, (leaf, tensor) in enumerate(zip(leaves, targets, strict=True)):
            if leaf is None:
                seeds.append(ops.zeros_like(tensor))
                continue
            seed = convert_to_tensor(leaf) if isinstance(leaf, Operators) else convert_to_tensor(leaf, tensor.type.dtype)
            if seed.type is not tensor.type:
                error = InvalidArgumentError if seed.type.dtype is tensor.type.dtype else DtypeError
                fail(error, "gradient", (tensor,), f"output_gradients[{number}] is {seed.type}, its target {tensor.type}")
            seeds.append(seed)
        return seeds

    def why_none(self, target: Any, source: Any) -> str:
        """Why `gradient(target, source)` is None, in words: the op at which the path from source to target ends, with
        its line. Call it on a persistent tape, or before the gradient is taken."""
        if self._consumed:
            raise RuntimeError("why_none: the tape has been consumed; make it with persistent=True")
        end = _handle(self._as_target(target))
        handles = self._handles(source)
        if not handles:
            kind = "variable that was not read" if isinstance(source, Variable) else "tensor that was not watched"
            return f"the source is a {kind} while the tape recorded"
        if not handles[0].type.dtype.is_floating:
            return f"the source is {handles[0].type}, and only floating dtypes have gradients"
        reached = ops.reached_from(self._entries, handles)
        if id(end) in reached:
            return "the gradient is not None: the target depends on the source"
        touched = {id(handle) for handle in handles}
        for entry in self._entries:
            if any(id(operand) in touched for operand in entry.operands):
                touched.update(id(result) for result in entry.results)
        if id(end) not in touched:
            return "the target was not computed from the source while the tape recorded"
        wanted = {id(end)}
        for entry in reversed(self._entries):
            if any(id(result) in wanted for result in entry.results):
                wanted.update(id(operand) for operand in entry.operands if id(operand) in touched)
                if any(id(operand) in reached for operand in entry.operands):
                    where = f", at {entry.location.describe()}" if entry.location else ""
                    why = "has no gradient" if not list(differentiable_operands(entry)) else f"gives {entry.results[0].type}"
                    return f"the path ends at {entry.op.name}, which {why}{where}"
        return "the path from the source to the target passes no op with a gradient"


def _unconnected(value: Any) -> UnconnectedGradients:
    """`unconnected_gradients` as one of tracejit's. ValueError where it is none."""
    if type(value) is UnconnectedGradients:
        return value
    try:
        return UnconnectedGradients(getattr(value, "value", value))  # TensorFlow's own, or a str
    except ValueError:
        raise ValueError(f"Unknown value for unconnected_gradients: {value!r}") from None


def _total(cotangents: Iterable[Any]) -> Any:
    """The sum of those that are not None; None where all are."""
    total = None
    for cotangent in cotangents:
        total = cotangent if total is None else total if cotangent is None else ops.add(total, cotangent)
    return total


class _NotATensor(TypeError, ValueError):
    """TensorFlow raises ValueError where watch is given no tensor and TypeError where gradient is."""


def _traced_gradient(entries: list[TapeEntry], targets: list[Any], seeds: list[Any], sources: list[Node]) -> list[Any]:
    """The cotangents of the sources, None where nothing is connected.

    They are the elements of one `gradient` node, which is derived when the trace is optimized. But where a tape goes on
    recording, which has to know what each is made from, where a target is a source, whose gradient is then the seed itself, or
    where a rule of the user's is to be run, they are derived now.
    """
    trace = context.trace
    assert trace is not None
    ends = [trace.node(target) for target in targets]
    reached = ops.reached_from(entries, sources)
    live = _leading_to(entries, [end for end in ends if id(end) in reached], reached)
    connected = list({id(source): source for source in sources if id(source) in live}.values())
    if not connected:
        return [None] * len(sources)
    path = [entry for entry in entries if any(id(result) in live for result in entry.results)]
    if context.tapes or any(end in sources for end in ends) or any(entry.op is ops.custom_gradient for entry in path):
        given = [None if seed is None else ops.Gapped(seed) for seed in seeds]
        return [ops.dense(cotangent) for cotangent in trace.differentiate(path, ends, given, sources)]
    # A target that was not made from a source gives nothing, whatever it was made from before the tape began.
    pairs = [(end, seed) for end, seed in zip(ends, seeds, strict=True) if id(end) in reached]
    ends = [end for end, _ in pairs]
    seed_nodes = [trace.node(seed) for _, seed in pairs if seed is not None]
    constant = _unrecorded(path, connected)
    node = make(
        ops.gradient, *ends, *seed_nodes, *connected, *constant,
        targets=len(ends), sources=len(connected), seeded=bool(seed_nodes),
    )  # fmt: skip
    by_source = {id(source): trace.tensor(make(ops.element, node, index=index)) for index, source in enumerate(connected)}
    return [by_source.get(id(source)) for source in sources]


def _leading_to(path: list[TapeEntry], ends: list[Any], reached: set[int]) -> set[int]:
    """The ids of the values from which an end is reached through operands that have a gradient."""
    live = {id(end) for end in ends}
    for entry in reversed(path):
        if any(id(result) in live for result in entry.results):
            operands = entry.operands
            live.update(id(operands[i]) for i in differentiable_operands(entry) if id(operands[i]) in reached)
    return live


def _unrecorded(path: list[TapeEntry], sources: list[Node]) -> list[Node]:
    """What depends on a source though the tape did not see it being made, where the path begins or meets it: constants, which
    are not to be differentiated through. A source can be one."""
    made = {id(result) for entry in path for result in entry.results}
    edge = [node for node in [*(operand for entry in path for operand in entry.operands), *sources] if id(node) not in made]
    given, dependent = set(sources), set()
    for node in reachable(edge):
        if any(operand in given or operand in dependent for operand in node.operands):
            dependent.add(node)
    return [node for node in dict.fromkeys(edge) if node in dependent]
