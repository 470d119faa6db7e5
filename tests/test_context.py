"""Who applies ops: the interpreter that is installed; and what the layers below eager mode know of tapes and traces."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import tracejit as tj
from tracejit import context, ops
from tracejit.ir import OPS, Graph, dispatch, make
from tracejit.ir.op import registered
from tracejit.ir.types import TensorType, float32
from tracejit.tracing.trace import Trace


class Recorder:
    """An interpreter that applies nothing and says what it was asked for."""

    tensor_type = operand_type = str

    def lift(self, name, operands):
        return tuple(map(str, operands))

    def apply(self, op, operands, attrs):
        return f"{op.name}({', '.join(operands)}{attrs or ''})"


@pytest.fixture
def recorder():
    before = dispatch.interpreter
    dispatch.install(Recorder())
    yield
    dispatch.install(before)


def test_another_interpreter_applies_every_kind_of_op(recorder):
    assert ops.exp("x") == "exp(x)"
    assert ops.exp(1) == "exp(1)"
    assert ops.reshape("x", shape=(2,)) == "reshape(x{'shape': (2,)})"
    assert ops.identity("x") == "identity(x)"
    assert ops.lift("f", (1, "y")) == ("1", "y")


def test_nodes_need_no_interpreter(recorder):
    x = make(ops.parameter, type=TensorType((2,), float32), name="x")
    assert ops.exp(x).op is ops.exp
    assert ops.add(x, 1.0).op is ops.add
    assert Graph("g", [x], [ops.reshape(ops.neg(x), shape=(2, 1))]).results[0].shape == (2, 1)


def test_eager_mode_is_what_is_installed():
    assert dispatch.interpreter.tensor_type is tj.Tensor
    assert issubclass(tj.Variable, dispatch.interpreter.operand_type)
    np.testing.assert_array_equal(dispatch.interpreter.apply(ops.neg, (tj.constant([1.0]),), {}).numpy(), [-1.0])


@pytest.mark.parametrize(("protocol", "implementation"), [("RecordingTape", tj.GradientTape), ("OpenTrace", Trace)])
def test_what_is_said_of_tapes_and_traces_is_there(protocol, implementation):
    made = implementation() if implementation is tj.GradientTape else implementation("f", False)
    said = vars(getattr(context, protocol))
    names = [name for name in (*said, *said.get("__annotations__", ())) if not name.startswith("_")]
    assert len(names) > 4
    assert [name for name in names if not hasattr(made, name)] == []


def test_the_names_that_rules_give_to_ops_are_ops():
    """What a rule takes from the registry is looked up when it runs: a name that is none would be found as late."""
    used = set()
    for path in Path(ops.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "tracejit.ir.op"]
        if any((alias.name, alias.asname) == ("registered", "ops") for node in imported for alias in node.names):
            found = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
            used |= {node.attr for node in found if isinstance(node.value, ast.Name) and node.value.id == "ops"}
    assert len(used) > 15
    assert used <= set(OPS)
    assert registered.add is ops.add
