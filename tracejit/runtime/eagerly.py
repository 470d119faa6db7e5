"""The switch that runs traced functions as plain Python, to debug them; what of a process's calls goes on in its child."""

from __future__ import annotations

import os

from tracejit.context import context, interpreted, interpreting

_SWITCH = "run_functions_eagerly"  # its entry in `interpreting`


def run_functions_eagerly(run_eagerly: bool) -> None:
    """Let every traced function run as plain Python from now on (to debug it), or compiled again."""
    if run_eagerly and _SWITCH not in interpreting:
        interpreting[_SWITCH] = None
        interpreted.value = interpreted.value + 1
    elif not run_eagerly and _SWITCH in interpreting:
        del interpreting[_SWITCH]
        interpreted.value = interpreted.value - 1


def functions_run_eagerly() -> bool:
    """Whether they do."""
    return _SWITCH in interpreting


def _in_child() -> None:
    """Of the threads of the parent, only the one that forked is in the child."""
    own = {tape.entry for tape in context.tapes} | {context.trace, _SWITCH}
    for entry in [entry for entry in interpreting if entry not in own]:
        del interpreting[entry]
    interpreted.value = len(interpreting)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
