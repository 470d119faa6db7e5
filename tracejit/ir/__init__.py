"""The one structure in the middle: types, nodes, graphs, their text form, their verifier and their reference interpreter."""

from tracejit.ir.graph import Graph, Node, make, reachable, rebuild
from tracejit.ir.interpret import interpret
from tracejit.ir.location import Location
from tracejit.ir.op import OPS, Effects, Op, find_op
from tracejit.ir.text import parse
from tracejit.ir.types import DType, TensorType, TupleType
from tracejit.ir.verify import verify

__all__ = [
    "OPS", "DType", "Effects", "Graph", "Location", "Node", "Op", "TensorType", "TupleType",
    "find_op", "interpret", "make", "parse", "reachable", "rebuild", "verify",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__
