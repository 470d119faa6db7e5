"""Compiled functions where processes come and go: fork, threads at exit, an interrupt between calls."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

import tracejit as tj

PROGRAM = """
import threading, time
import tracejit as tj

v = tj.Variable(0.0)

@tj.function
def step(x):
    v.assign_add(x)
    return v * 2.0
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run PROGRAM and then `program` in an interpreter of its own."""
    source = PROGRAM + textwrap.dedent(program)
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_calls_what_its_parent_compiled_and_compiles_anew() -> None:
    done = run(
        """
        import os, sys
        one = tj.constant(1.0)
        assert float(step(one)) == 2.0
        child = os.fork()
        if child == 0:
            again = tj.function(lambda x: tj.exp(x) + 1.0)
            right = float(step(one)) == 4.0 and float(again(tj.constant(0.0))) == 2.0 and v.numpy() == 2.0
            os._exit(0 if right else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert v.numpy() == 1.0  # the child's variable is its own
        assert float(step(one)) == 4.0
        print("right")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


def test_the_interpreter_exits_while_threads_still_call() -> None:
    done = run(
        """
        def work():
            while True:
                step(one)

        one = tj.constant(1.0)
        step(one)
        for _ in range(3):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.3)
        print("leaving")
        """
    )
    assert (done.returncode, done.stdout) == (0, "leaving\n")


def test_an_interrupt_leaves_a_whole_number_of_steps() -> None:
    """SIGINT comes between two calls or at the end of one: what a step does to its variables is done wholly or not at all."""
    first, second = tj.Variable(0.0), tj.Variable(0.0)

    @tj.function
    def step(x):
        first.assign_add(x)
        second.assign_sub(x)
        return first + second

    one = tj.constant(1.0)
    step(one)
    previous = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            while True:
                step(one)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert first.numpy() == -second.numpy() > 1
    assert float(step(one)) == 0
