"""The threads that share a large kernel: code of its own, compiled once a machine and loaded once a process.

A kernel of `units` units is called as `i32 function(ptr arguments, i64 first, i64 last)`, once a share of them. Which unit lies
in which share depends on the number of threads, what a unit computes must not.
"""

from __future__ import annotations

import functools
from typing import Any

from tracejit.llvm import cache, engine

# `i32 (ptr function, ptr arguments, i64 units)`: the statuses of all shares, or-ed.
PARALLEL = "tracejit_parallel"

_ALONE = f"""
define i32 @{PARALLEL}(ptr %function, ptr %arguments, i64 %units) nounwind {{
  %status = call i32 %function(ptr %arguments, i64 0, i64 %units)
  ret i32 %status
}}
"""


@functools.cache
def _loaded() -> tuple[dict[str, int], Any]:
    key = cache.key("pool", _ALONE)
    found = cache.get(key)
    code = found.code
    if found.header != {}:
        code = engine.compile_text(_ALONE)
        cache.put(key, {}, code)
    return engine.load_object(code, [PARALLEL], {})


def symbols() -> dict[str, int]:
    """The names under which generated code calls the pool, and their addresses here."""
    return _loaded()[0]
