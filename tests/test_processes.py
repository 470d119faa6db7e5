"""Compiled functions where processes come and go: fork, threads at exit, an interrupt between calls."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import tracejit as tj

PROGRAM = """
import threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of a fork beside threads, be they a library's: it is what is tested
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


# A variable of many equal elements, and a step that takes milliseconds to add 1 to them.
LONG = """
import os, sys, signal, numpy as np
from tracejit.runtime.native import loader as native

large = tj.Variable(np.zeros(1_000_000, np.float32))

@tj.function
def long_step():
    large.assign(tj.exp(tj.sin(large) * 0.0) + large)

for _ in range(3):
    long_step()
assert long_step.compiled().long
one = tj.constant(1.0)
for _ in range(3):
    step(one)

def forever(body):
    def run():
        while True:
            body()
    threading.Thread(target=run, daemon=True).start()
"""


def run_long(program: str) -> subprocess.CompletedProcess[str]:
    return run(LONG + textwrap.dedent(program))


def assert_right(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


FORKING = """
for _ in range(10):
    time.sleep(0.003)
    child = os.fork()
    if child == 0:
        found = large.numpy()
        right = bool((found == found[0]).all())
        long_step()
        right = right and bool((large.numpy() == found[0] + 1).all())
        large.assign(found)
        before = float(v)
        right = right and float(step(one)) == 2 * (before + 1) and float(v) == before + 1
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("right")
"""


@pytest.mark.thin(4)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize(
    "busy", ["long_step(), time.sleep(0.002)", "step(one)", "v.assign_add(1.0)", "large.numpy(), time.sleep(0.002)"]
)
def test_a_child_that_is_forked_while_another_thread_is_at_it_reads_updates_and_calls(busy: str) -> None:
    assert_right(run_long(f"forever(lambda: ({busy}))\n{FORKING}"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_process_forks_although_a_thread_updates_all_the_time() -> None:
    assert_right(run_long(f"forever(long_step)\nsignal.alarm(60)\n{FORKING}"))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_processes_maps_a_traced_function(method: str, tmp_path: Path) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"the system has no {method}")
    program = f"""
    import multiprocessing
    import tracejit as tj

    w = tj.Variable(2.0)

    @tj.function
    def step(x):
        w.assign_add(1.0)
        return x * w

    def call(number):
        assert float(w) >= 2.0
        before = float(w)
        return float(step(tj.constant(float(number)))) == number * (before + 1.0)

    if __name__ == "__main__":
        for _ in range(3):
            step(tj.constant(1.0))
        with multiprocessing.get_context("{method}").Pool(2) as pool:
            assert pool.map(call, range(20)) == [True] * 20
        print("right")
    """
    path = tmp_path / "pool.py"
    path.write_text(textwrap.dedent(program))
    assert_right(subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=120, cwd=tmp_path))


@pytest.mark.slow
def test_the_interpreter_exits_in_the_midst_of_long_steps() -> None:
    program = LONG + textwrap.dedent(
        """
        for body in (long_step, lambda: step(one), lambda: large.numpy()):
            forever(body)
        number = int(sys.argv[1])
        time.sleep(0.01 + 0.003 * number)
        print("right", flush=True)
        if number % 3 == 1:
            sys.exit()
        if number % 3 == 2:
            raise SystemExit(0)
        """
    )
    command = [sys.executable, "-c", PROGRAM + program]
    started = [
        subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in range(10)
    ]
    found = [(process.communicate(timeout=60), process.returncode) for process in started]
    assert found == [(("right\n", ""), 0)] * 10


def test_a_signal_handler_that_calls_never_waits_for_the_thread_that_it_interrupts() -> None:
    """It comes while a step tells threads that wait for a variable, or while a thread itself waits."""
    program = """
    def handle(*_):
        found = large.numpy()
        assert (found == found[0]).all()
        long_step()
        signal.setitimer(signal.ITIMER_REAL, 0.001)

    def work():
        large.numpy()
        long_step()

    large = tj.Variable(np.zeros(200_000, np.float32))
    for _ in range(3):
        long_step()
    forever(work)
    forever(work)
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0005)
    watch = threading.Timer(60, lambda: os._exit(3))
    watch.start()
    end = time.monotonic() + 1
    while time.monotonic() < end:
        long_step()
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    watch.cancel()
    print("right", flush=True)
    """
    assert_right(run_long(program))


# What would take the interpreter down with it if it went wrong.
RACES = {
    "what is watched changes": """
    k = [2.0]
    f = tj.function(lambda x: x * k[0])

    def change():
        k[0] = float("2.0")
        time.sleep(1e-5)

    def call():
        assert float(f(one)) == 2.0
    """,
    "ways to call are learned": """
    many = [tj.ones([size]) for size in (1, 2)]

    def make():
        return tj.function(lambda x, y=None, z=None: x * 2.0)

    f = make()

    def change():
        global f
        f = make()
        time.sleep(0.01)

    def call():
        g = f
        for x in many:
            for named in ({}, {"y": None}, {"z": None}, {"y": None, "z": None}, {"z": None, "y": None}):
                assert float(g(x, **named)[0]) == 2.0
    """,
    "traces are dropped": """
    import warnings
    warnings.simplefilter("ignore")
    k = [0.0]
    f = tj.function(lambda x: x * 0.0 + k[0])

    def change():
        k[0] = (k[0] + 1.0) % 12.0

    def call():
        assert float(f(one)) in range(12)
    """,
}


@pytest.mark.thin(3)
@pytest.mark.parametrize("race", RACES)
def test_threads_call_while(race: str) -> None:
    program = textwrap.dedent(RACES[race]) + textwrap.dedent(
        """
        for _ in range(3):
            call()
        end = time.monotonic() + 1.5
        failed = []
        def repeat(body):
            def run():
                try:
                    while time.monotonic() < end:
                        body()
                except BaseException as error:
                    failed.append(repr(error))
            return run
        sys.setswitchinterval(1e-6)
        threads = [threading.Thread(target=repeat(body)) for body in (change, call, call, call, call)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(failed or "right")
        """
    )
    assert_right(run_long(program))


def test_instances_that_are_equal_have_traces_of_their_own() -> None:
    program = """
    import gc

    class Named:
        def __init__(self, name, scale):
            self.name, self.scale = name, scale

        def __eq__(self, other):
            return self.name == other.name

        def __hash__(self):
            return hash(self.name)

        @tj.function
        def step(self, x):
            return x * self.scale

    a, b = Named("same", 2.0), Named("same", 3.0)
    found = [float(each.step(one)) for each in (a, b) * 3]
    del a
    gc.collect()
    others = [bytearray(size) for size in range(1000)]  # what was a's may be used for something else
    found += [float(b.step(one)) for _ in range(3)]
    print("right" if found == [2.0, 3.0] * 3 + [3.0] * 3 else found)
    """
    assert_right(run_long(program))


REFERENCES = """
import gc
from array import array
key, scale, one_more = "a key", tj.constant(2.0), np.ones(1, np.float32)
w, other, config = tj.Variable(0.0), tj.Variable(0.0), {"k": 2.5}

@tj.function
def known(x, y=1.0, *rest, **named):
    return [x * scale + one_more, {key: y * w, "deep": (None, x, (w * config["k"],))}]

class Model:
    def __init__(self):
        self.scale = 2.0
    @tj.function
    def call(self, x):
        w.assign_add(x * self.scale)

@tj.function
def gathered(x, i):
    return tj.gather(x, i)

def failing():
    try:
        gathered(row, far)
    except tj.errors.IndexOutOfRangeError:
        return
    raise AssertionError

def missing():
    known(one)
    known(row)
    config["k"] = 3.5 if config["k"] == 2.5 else 2.5
    known(one)

model, far, row, near = Model(), tj.constant(7), tj.constant([1.0, 2.0]), tj.constant(1)
bound, given, number, many = model.call, np.ones((), np.float32), np.float32(3), {"k": [one, (None, True)], "a": 1000.5}
gathered(row, near), gathered(row, near), gathered(row, near)
def repeat(times, call):
    for _ in range(times):
        call()

calls = {
    "plain": (1_000_000, lambda: step(one)),
    "scalars": (20_000, lambda: known(number, 2.0, row, array)),
    "keywords": (20_000, lambda: known(y=one, x=one, other=many, key=key)),
    "method": (20_000, lambda: model.call(one)),
    "stored": (20_000, lambda: bound(x=one)),
    "failing": (500, failing),
    "missing": (200, missing),
    "variable": (20_000, lambda: step(other)),
}
watched = [
    key, scale, one_more, w, config, model, far, row, near, bound, given, number, many, many["k"], many["k"][1], one, v, known, step,
    gathered, gathered.python_function, Model, Model.call, tj.Tensor, tj.Variable, np.ndarray, np.float32, float, dict, list, tuple, None,
    True, False, config["k"], w._tensor.type, np.dtype(np.float32), np.dtype(np.uint8), type(known), type(bound), *range(-5, 256),
]

def state():
    gc.collect()
    return array("q", [sys.getrefcount(each) for each in watched]), sys.getallocatedblocks()

def left_behind(times, call):
    counts, blocks = state()
    repeat(times if native.unusable() is None else min(times, 2_000), call)
    counts_after, blocks_after = state()
    for each, before, after in zip(watched, counts, counts_after):
        if abs(after - before) > 20:
            yield f"{type(each).__name__} {str(each)[:20]} has {after - before} more"
    if abs(blocks_after - blocks) > 100:
        yield f"{blocks_after - blocks} more blocks"

for name, (times, call) in calls.items():
    repeat(100, call)
    # What calls leave behind they leave each time; what is made once, such as by Python's own caches, is not.
    if list(left_behind(times, call)) and (found := list(left_behind(times, call))):
        print(name, *found, sep=": ")
print("right")
"""


def test_no_call_leaves_a_reference_or_memory_behind() -> None:
    assert_right(run_long("import warnings; warnings.simplefilter('ignore')\n" + REFERENCES))


EVERYTHING = """
class Model:
    scale = 2.0
    @tj.function
    def call(self, x, *, times=1.0):
        return {"b": x * self.scale * times, "a": (None, [v * 1.0])}

model = Model()
v.assign(3.0)
for number in (1.0, 2.0, 3.0):
    found = [model.call(tj.constant(number), times=k) for k in (1.0, 2.0) for _ in range(3)]
    assert [float(each["b"]) for each in found] == [2.0 * number] * 3 + [4.0 * number] * 3
    assert float(found[0]["a"][1][0]) == 3.0
Model.scale = 3.0
assert float(model.call(one)["b"]) == 3.0
before = float(v)
assert float(step(one)) == 2 * (before + 1)
assert step.explain().splitlines()[-1] == f"  calls go through Python: {WHY}"
print("right")
"""


def test_calls_go_through_python_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEJIT_DISPATCH", "python")
    assert_right(run_long("WHY = 'TRACEJIT_DISPATCH=python'\n" + EVERYTHING))


def test_calls_go_through_python_where_objects_are_laid_out_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACEJIT_DISPATCH", raising=False)
    program = """
    from tracejit.runtime.native import layout

    def check():
        raise LookupError("a list's items: not where it is expected")

    layout.check = check
    WHY = "a list's items: not where it is expected"
    """
    source = textwrap.dedent(program) + PROGRAM + LONG + EVERYTHING
    assert_right(subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120))


# Children that compile and load what is new to them, while their parent's threads do. One that hangs is ended by its alarm.
BUSY_FORKS = """
import os, signal, sys, itertools
numbers = itertools.count(1)

def compile_one(number):
    f = tj.function(lambda x: tj.exp(x) * float(number) + tj.sin(x @ x))
    found = f(tj.zeros([3, 3])).numpy()
    assert (found == number).all(), found

BUSY = {
    "compile": lambda: compile_one(next(numbers)),
    "load": lambda: compile_one(1),
    "import": lambda: (compile_one(next(numbers)), time.sleep(60)),
}

def work():
    while True:
        BUSY[what]()

what, delay, count = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
time.sleep(delay)
wrong = 0
for _ in range(count):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        compile_one(next(numbers) + os.getpid())
        os._exit(0)
    wrong += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    time.sleep(0.003)
print(wrong, flush=True)
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("what", ["compile", "load", "import"])
def test_a_child_compiles_that_is_forked_while_other_threads_are_at_it(what: str) -> None:
    # A process imports what compiles once: several processes, which fork at different times.
    for number in range(6 if what == "import" else 1):
        arguments = [what, str(number * 0.02), "8" if what == "import" else "30"]
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM + BUSY_FORKS, *arguments], capture_output=True, text=True, timeout=120
        )
        assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.slow
def test_a_trace_that_is_dropped_leaves_no_memory_behind() -> None:
    program = """
    import gc, resource

    def resident():
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def make(times):
        for number in range(times):
            f = tj.function(lambda x: x * 2.0)
            assert float(f(one)) == 2.0

    make(500)
    before = resident()
    make(2000)
    grown = (resident() - before) / 2000
    print("right" if grown < 1000 else f"{grown:.0f} bytes a trace")
    """
    if not Path("/proc/self/statm").exists():
        pytest.skip("the system does not tell how much memory a process has")
    assert_right(run_long(program))


@pytest.mark.slow
def test_what_shares_a_jit_with_dropped_traces_goes_on() -> None:
    program = """
    def make(number):
        return tj.function(lambda x: x * float(number))

    kept = []
    for number in range(100):
        f = make(number)
        f(one)
        if number % 7 == 0:
            kept.append((number, f))
        if number % 31 == 0:
            kept.reverse()
            del kept[::3]
    assert all(float(f(one)) == number for number, f in kept)
    print("right")
    """
    assert_right(run_long(program))


@pytest.mark.slow
def test_the_interpreter_exits_while_other_threads_compile() -> None:
    """LLVM's own data go as the process exits: nobody may be at it then."""
    program = """
    import sys
    from tracejit.llvm.machine.codegen import objects_of

    f = tj.function(lambda x: tj.sin(tj.tanh(x) * tj.exp(x)) + tj.erf(x) @ x)
    text = f.ir(tj.zeros([20, 20]), stage="llvm")

    def work():
        while True:
            objects_of([text], 2, 2)

    objects_of([text], 2, 2)
    for _ in range(2):
        threading.Thread(target=work, daemon=True).start()
    time.sleep(0.02 * int(sys.argv[1]))
    print("right")
    """
    command = [sys.executable, "-c", PROGRAM + textwrap.dedent(program)]
    for number in range(4):
        assert_right(subprocess.run([*command, str(number)], capture_output=True, text=True, timeout=120))
