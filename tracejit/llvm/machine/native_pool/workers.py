"""The threads that share a kernel with its caller, in the native subset.

The caller is thread 0. Another caller, meanwhile, runs its kernel alone. Each of the others has a slot with a word, which says
what becomes of its share:

    awake    -> posted    the caller has a share for it            asleep -> posted   the same, and wakes it
    posted   -> running   it has begun                             posted -> awake    the caller was first, and does it
    running  -> awake     it has done it                           waited -> awake    the same, and wakes the caller
    awake    -> asleep    nothing came for a while                 running -> waited  the caller sleeps until it is done
"""

from __future__ import annotations

from collections.abc import Callable

from tracejit.llvm.machine.native_pool.system import (
    clock_gettime,
    futex,
    get_affinity,
    get_mode,
    pause,
    pthread_create,
    pthread_detach,
    pthread_sigmask,
    sched_getcpu,
    set_affinity,
    set_mode,
    this_thread,
)
from tracejit.llvm.machine.native_subset.language import (
    Array,
    Struct,
    address,
    array,
    atomic_load,
    atomic_store,
    compare_exchange,
    exchange,
    i32,
    i64,
    memory,
    null,
    ptr,
)

AWAKE, ASLEEP, POSTED, RUNNING, WAITED = range(5)
# The most threads, the caller's included.
MOST = 256
# How long a thread looks at a word before it sleeps. A thread that is awake begins at once, one that sleeps after 50 µs and
# more; but one that only looks keeps others from its processor.
SPIN_NANOSECONDS = 50_000
# How often it looks before it looks at the clock.
LOOKS = 16
# What a set of processors has room for, and takes.
PROCESSORS = 1024
SET_WORDS, SET_BYTES = PROCESSORS // 64, PROCESSORS // 8
# All signals are other threads', which Python knows, except for those that a thread brings on itself.
SIGNAL_WORDS = 16
OTHER_SIGNALS = ~sum(1 << (number - 1) for number in (4, 5, 6, 7, 8, 11, 31))
SIG_SETMASK = 2
CLOCK_MONOTONIC = 1
FUTEX_WAIT, FUTEX_WAKE = 128, 129  # of this process alone


class Pool(Struct, size=128):
    """How many threads may be used, how many there are besides the callers, whether one is being helped. It and each slot have
    two lines of a cache for themselves, since processors fetch them by pairs."""

    size: i64
    threads: i64
    helping: i64


class Slot(Struct, size=128):
    """A thread's share: of which kernel, from where to where, in which mode to compute, and what it gave."""

    state: i32
    status: i32
    function: Callable[[ptr, i64, i64], i32]
    arguments: ptr
    first: i64
    last: i64
    mode: i64
    thread: i64


pool = memory(Pool)
slots = memory(Slot, MOST)  # by the number of the thread


def now() -> i64:
    time = array(i64, 2)
    clock_gettime(CLOCK_MONOTONIC, time)
    return time[0] * 1_000_000_000 + time[1]


def wake(word: Array[i32]) -> None:
    futex(word, FUTEX_WAKE, 1)


def wait(word: Array[i32], state: i32, dozing: i32) -> None:
    """Return when the word is no longer `state`, nor `dozing`, which stands for it after some time."""
    began = 0
    while True:
        looks = 0
        while looks < LOOKS:
            if atomic_load(word, "acquire") != state:
                return
            pause()
            looks += 1
        time = now()
        if began == 0:
            began = time
        if time - began >= SPIN_NANOSECONDS:
            break
    if compare_exchange(word, state, dozing) != state:
        return
    while True:
        futex(word, FUTEX_WAIT, dozing)
        if atomic_load(word, "acquire") != dozing:
            return


def part(slot: Slot) -> None:
    """Keep a thread that is about to be woken off the processor of the caller, which is not going to leave it: a system that
    means well would wake it there. Where they share the only one, this fails and changes nothing."""
    processors = array(i64, SET_WORDS)
    i = 0
    while i < SET_WORDS:
        processors[i] = 0
        i += 1
    get_affinity(0, SET_BYTES, processors)
    here = i64(sched_getcpu())
    if here >= 0 and here < PROCESSORS:
        processors[here >> 6] = processors[here >> 6] & ((1 << (here & 63)) ^ -1)
        set_affinity(slot.thread, SET_BYTES, processors)


def share(slot: Slot) -> i32:
    status = slot.function(slot.arguments, slot.first, slot.last)
    slot.status = status
    return status


def worker(argument: ptr) -> ptr:
    slot = Slot(argument)
    word = address(slot.state)
    slot.thread = this_thread()
    while True:
        wait(word, AWAKE, ASLEEP)
        if compare_exchange(word, POSTED, RUNNING) == POSTED:
            set_mode(address(slot.mode))
            share(slot)
            if exchange(word, AWAKE) == WAITED:
                wake(word)


def start(needed: i64) -> i64:
    """Make threads until there are as many as are needed, or as can be made; how many there are."""
    signals = array(i64, SIGNAL_WORDS)
    signals[0] = OTHER_SIGNALS
    i = 1
    while i < SIGNAL_WORDS:
        signals[i] = -1
        i += 1
    before = array(i64, SIGNAL_WORDS)
    pthread_sigmask(SIG_SETMASK, signals, before)
    thread = 0
    while pool.threads < needed:
        number = pool.threads + 1
        if pthread_create(address(thread), null, worker, slots + number) != 0:
            break
        pthread_detach(thread)
        pool.threads = number
    pthread_sigmask(SIG_SETMASK, before, null)
    return pool.threads


def tracejit_parallel(function: Callable[[ptr, i64, i64], i32], arguments: ptr, units: i64) -> i32:
    """Run a kernel: the statuses of all shares, or-ed."""
    wanted = atomic_load(address(pool.size), "monotonic")
    if units < wanted:
        wanted = units
    if wanted <= 1 or compare_exchange(address(pool.helping), 0, 1) != 0:
        return function(arguments, 0, units)
    others = wanted - 1
    if pool.threads < others:
        others = start(others)
    threads = others + 1
    number = 1
    while number <= others:
        slot = slots + number
        slot.function = function
        slot.arguments = arguments
        slot.first = units * number // threads
        slot.last = units * (number + 1) // threads
        get_mode(address(slot.mode))
        if exchange(address(slot.state), POSTED) == ASLEEP:
            part(slot)
            wake(address(slot.state))
        number += 1
    status = function(arguments, 0, units // threads)
    number = others  # from the last on: it was told the latest
    while number > 0:
        slot = slots + number
        if compare_exchange(address(slot.state), POSTED, AWAKE) == POSTED:
            share(slot)
        number -= 1
    number = 1
    while number <= others:
        slot = slots + number
        wait(address(slot.state), RUNNING, WAITED)
        status |= slot.status
        number += 1
    atomic_store(address(pool.helping), 0, "release")
    return status
