"""The threads that share a large kernel: code of its own, compiled once a machine and loaded once a process.

A kernel of `units` units is called as `i32 function(ptr arguments, i64 first, i64 last)`, once a share of them. Thread i has
always share i, so that what lies in its processor's cache is what it worked on before. Which unit lies in which share depends
on the number of threads; what a unit computes must not.

The threads are made when they are first needed, by the code itself, which needs no interpreter for it: Python knows nothing of
them, and none of them ever runs Python. The caller is thread 0. Another caller, meanwhile, runs its kernel alone. Each of the
others has a slot with a word, which says what becomes of its share:

    awake    -> posted    the caller has a share for it            asleep -> posted   the same, and wakes it
    posted   -> running   it has begun                             posted -> awake    the caller was first, and does it
    running  -> awake     it has done it                           waited -> awake    the same, and wakes the caller
    awake    -> asleep    nothing came for a while                 running -> waited  the caller sleeps until it is done

On other systems than Linux, and on processors on which it has not been tried, one thread does all.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
from typing import Any

from tracejit.llvm.machine import cache, engine
from tracejit.locks import Lock

# `i32 (ptr function, ptr arguments, i64 units)`: the statuses of all shares, or-ed.
PARALLEL = "tracejit_parallel"
# The most threads.
MOST = 256
_STATE = "tracejit_pool"
# Bytes of a slot and of what is before the slots: two lines of a cache, since processors fetch them by pairs.
_SLOT = 128
# How long a thread looks at a word before it sleeps. A thread that is awake begins at once, one that sleeps after 50 µs and
# more; but one that only looks keeps others from its processor.
_SPIN_NANOSECONDS = 50_000
# How often it looks before it looks at the clock.
_LOOKS = 16
# How many processors a set of them has room for.
_PROCESSORS = 1024
_AWAKE, _ASLEEP, _POSTED, _RUNNING, _WAITED = range(5)
# All signals are other threads', which Python knows, except for those that a thread brings on itself.
_OWN_SIGNALS = sum(1 << (number - 1) for number in (4, 5, 6, 7, 8, 11, 31))

_ALONE = f"""
@{_STATE} = global i64 0

define i32 @{PARALLEL}(ptr %function, ptr %arguments, i64 %units) nounwind {{
  %status = call i32 %function(ptr %arguments, i64 0, i64 %units)
  ret i32 %status
}}
"""

_TEXT = f"""
%Slot = type {{ i32, i32, ptr, ptr, i64, i64, i64, i64 }}
; how many threads may be used, how many there are besides the callers, whether one is being helped; the slots
@{_STATE} = global [{MOST * _SLOT} x i8] zeroinitializer, align {_SLOT}
@signals = private constant [16 x i64] [i64 {~_OWN_SIGNALS}, {", ".join(["i64 -1"] * 15)}]

declare i64 @syscall(i64, ...)
declare i32 @clock_gettime(i32, ptr)
declare i32 @sched_getcpu()
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(i64)
declare i32 @pthread_sigmask(i32, ptr, ptr)

define internal i64 @now() nounwind {{
  %time = alloca [2 x i64]
  %done = call i32 @clock_gettime(i32 1, ptr %time)
  %fraction = getelementptr i64, ptr %time, i64 1
  %s = load i64, ptr %time
  %ns = load i64, ptr %fraction
  %whole = mul i64 %s, 1000000000
  %all = add i64 %whole, %ns
  ret i64 %all
}}

define internal void @wake(ptr %word) nounwind {{
  %done = call i64 (i64, ...) @syscall(i64 FUTEX, ptr %word, i32 129, i32 1, ptr null, ptr null, i32 0)
  ret void
}}

; returns when the word is no longer %state, nor %dozing, which stands for it after some time
define internal void @wait(ptr %word, i32 %state, i32 %dozing) nounwind {{
  br label %round
round:
  %start = phi i64 [ 0, %0 ], [ %began, %clock ]
  br label %look
look:
  %looks = phi i32 [ 0, %round ], [ %more, %again ]
  %seen = load atomic i32, ptr %word acquire, align 4
  %same = icmp eq i32 %seen, %state
  br i1 %same, label %again, label %over
again:
  call void PAUSE
  %more = add i32 %looks, 1
  %few = icmp slt i32 %more, {_LOOKS}
  br i1 %few, label %look, label %clock
clock:
  %time = call i64 @now()
  %unset = icmp eq i64 %start, 0
  %began = select i1 %unset, i64 %time, i64 %start
  %spent = sub i64 %time, %began
  %early = icmp slt i64 %spent, {_SPIN_NANOSECONDS}
  br i1 %early, label %round, label %doze
doze:
  %pair = cmpxchg ptr %word, i32 %state, i32 %dozing seq_cst seq_cst
  %dozes = extractvalue {{ i32, i1 }} %pair, 1
  br i1 %dozes, label %sleep, label %over
sleep:
  %done = call i64 (i64, ...) @syscall(i64 FUTEX, ptr %word, i32 128, i32 %dozing, ptr null, ptr null, i32 0)
  %left = load atomic i32, ptr %word acquire, align 4
  %still = icmp eq i32 %left, %dozing
  br i1 %still, label %sleep, label %over
over:
  ret void
}}

; keeps the thread of %slot, which is about to be woken, off the processor of the caller, which is not going to leave it: a
; system that means well would wake it there. Where they share the only one, this fails and changes nothing
define internal void @part(ptr %slot) nounwind {{
  %mask = alloca [{_PROCESSORS // 64} x i64]
  store [{_PROCESSORS // 64} x i64] zeroinitializer, ptr %mask
  %size = call i64 (i64, ...) @syscall(i64 GET_AFFINITY, i64 0, i64 {_PROCESSORS // 8}, ptr %mask)
  %here = call i32 @sched_getcpu()
  %known = icmp ult i32 %here, {_PROCESSORS}
  br i1 %known, label %clear, label %over
clear:
  %number = lshr i32 %here, 3
  %place = getelementptr i8, ptr %mask, i32 %number
  %bits = load i8, ptr %place
  %short = trunc i32 %here to i8
  %within = and i8 %short, 7
  %bit = shl i8 1, %within
  %others = xor i8 %bit, -1
  %left = and i8 %bits, %others
  store i8 %left, ptr %place
  %t = getelementptr %Slot, ptr %slot, i64 0, i32 7
  %thread = load i64, ptr %t
  %done = call i64 (i64, ...) @syscall(i64 SET_AFFINITY, i64 %thread, i64 {_PROCESSORS // 8}, ptr %mask)
  br label %over
over:
  ret void
}}

define internal i32 @share(ptr %slot) nounwind {{
  %f = getelementptr %Slot, ptr %slot, i64 0, i32 2
  %a = getelementptr %Slot, ptr %slot, i64 0, i32 3
  %b = getelementptr %Slot, ptr %slot, i64 0, i32 4
  %e = getelementptr %Slot, ptr %slot, i64 0, i32 5
  %function = load ptr, ptr %f
  %arguments = load ptr, ptr %a
  %first = load i64, ptr %b
  %last = load i64, ptr %e
  %got = call i32 %function(ptr %arguments, i64 %first, i64 %last)
  %s = getelementptr %Slot, ptr %slot, i64 0, i32 1
  store i32 %got, ptr %s
  ret i32 %got
}}

define internal ptr @worker(ptr %slot) nounwind {{
  %mode = getelementptr %Slot, ptr %slot, i64 0, i32 6
  %t = getelementptr %Slot, ptr %slot, i64 0, i32 7
  %self = call i64 (i64, ...) @syscall(i64 GET_THREAD)
  store i64 %self, ptr %t
  br label %next
next:
  call void @wait(ptr %slot, i32 {_AWAKE}, i32 {_ASLEEP})
  %pair = cmpxchg ptr %slot, i32 {_POSTED}, i32 {_RUNNING} seq_cst seq_cst
  %mine = extractvalue {{ i32, i1 }} %pair, 1
  br i1 %mine, label %run, label %next
run:
  call void @set_mode(ptr %mode)
  %status = call i32 @share(ptr %slot)
  %was = atomicrmw xchg ptr %slot, i32 {_AWAKE} seq_cst
  %waited = icmp eq i32 %was, {_WAITED}
  br i1 %waited, label %tell, label %next
tell:
  call void @wake(ptr %slot)
  br label %next
}}

; makes threads until there are %needed, or as many as can be made
define internal i64 @start(i64 %needed) nounwind {{
  %there = getelementptr i64, ptr @{_STATE}, i64 1
  %thread = alloca i64
  %before = alloca [16 x i64]
  %blocked = call i32 @pthread_sigmask(i32 2, ptr @signals, ptr %before)
  br label %next
next:
  %count = load i64, ptr %there
  %enough = icmp sge i64 %count, %needed
  br i1 %enough, label %over, label %make
make:
  %number = add i64 %count, 1
  %slot = getelementptr [{_SLOT} x i8], ptr @{_STATE}, i64 %number
  %failed = call i32 @pthread_create(ptr %thread, ptr null, ptr @worker, ptr %slot)
  %made = icmp eq i32 %failed, 0
  br i1 %made, label %keep, label %over
keep:
  %name = load i64, ptr %thread
  %done = call i32 @pthread_detach(i64 %name)
  store i64 %number, ptr %there
  br label %next
over:
  %restored = call i32 @pthread_sigmask(i32 2, ptr %before, ptr null)
  ret i64 %count
}}

define i32 @{PARALLEL}(ptr %function, ptr %arguments, i64 %units) nounwind {{
  %size = load atomic i64, ptr @{_STATE} monotonic, align 8
  %few = icmp slt i64 %units, %size
  %wanted = select i1 %few, i64 %units, i64 %size
  %many = icmp sgt i64 %wanted, 1
  br i1 %many, label %try, label %alone
alone:
  %all = call i32 %function(ptr %arguments, i64 0, i64 %units)
  ret i32 %all
try:
  %lock = getelementptr i64, ptr @{_STATE}, i64 2
  %pair = cmpxchg ptr %lock, i64 0, i64 1 seq_cst seq_cst
  %won = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %won, label %count, label %alone
count:
  %others = sub i64 %wanted, 1
  %place = getelementptr i64, ptr @{_STATE}, i64 1
  %now = load i64, ptr %place
  %lacks = icmp slt i64 %now, %others
  br i1 %lacks, label %start, label %divide
start:
  %made = call i64 @start(i64 %others)
  br label %divide
divide:
  %there = phi i64 [ %others, %count ], [ %made, %start ]
  %threads = add i64 %there, 1
  %some = icmp sgt i64 %there, 0
  br i1 %some, label %post, label %own
post:
  %number = phi i64 [ 1, %divide ], [ %behind, %posted ]
  %behind = add i64 %number, 1
  %slot = getelementptr [{_SLOT} x i8], ptr @{_STATE}, i64 %number
  %f = getelementptr %Slot, ptr %slot, i64 0, i32 2
  %a = getelementptr %Slot, ptr %slot, i64 0, i32 3
  %b = getelementptr %Slot, ptr %slot, i64 0, i32 4
  %e = getelementptr %Slot, ptr %slot, i64 0, i32 5
  %m = getelementptr %Slot, ptr %slot, i64 0, i32 6
  %low = mul i64 %units, %number
  %high = mul i64 %units, %behind
  %first = udiv i64 %low, %threads
  %last = udiv i64 %high, %threads
  store ptr %function, ptr %f
  store ptr %arguments, ptr %a
  store i64 %first, ptr %b
  store i64 %last, ptr %e
  call void @get_mode(ptr %m)
  %was = atomicrmw xchg ptr %slot, i32 {_POSTED} seq_cst
  %slept = icmp eq i32 %was, {_ASLEEP}
  br i1 %slept, label %wake, label %posted
wake:
  call void @part(ptr %slot)
  call void @wake(ptr %slot)
  br label %posted
posted:
  %further = icmp slt i64 %number, %there
  br i1 %further, label %post, label %own
own:
  %end = udiv i64 %units, %threads
  %status = call i32 %function(ptr %arguments, i64 0, i64 %end)
  br i1 %some, label %take, label %over
; from the last on: it was told the latest
take:
  %candidate = phi i64 [ %there, %own ], [ %before, %taken ]
  %before = sub i64 %candidate, 1
  %its = getelementptr [{_SLOT} x i8], ptr @{_STATE}, i64 %candidate
  %claim = cmpxchg ptr %its, i32 {_POSTED}, i32 {_AWAKE} seq_cst seq_cst
  %late = extractvalue {{ i32, i1 }} %claim, 1
  br i1 %late, label %help, label %taken
help:
  %helped = call i32 @share(ptr %its)
  br label %taken
taken:
  %unseen = icmp sgt i64 %before, 0
  br i1 %unseen, label %take, label %collect
collect:
  %done = phi i64 [ 1, %taken ], [ %following, %collect ]
  %so_far = phi i32 [ %status, %taken ], [ %total, %collect ]
  %following = add i64 %done, 1
  %one = getelementptr [{_SLOT} x i8], ptr @{_STATE}, i64 %done
  call void @wait(ptr %one, i32 {_RUNNING}, i32 {_WAITED})
  %s = getelementptr %Slot, ptr %one, i64 0, i32 1
  %got = load i32, ptr %s
  %total = or i32 %so_far, %got
  %rest = icmp slt i64 %done, %there
  br i1 %rest, label %collect, label %over
over:
  %result = phi i32 [ %status, %own ], [ %total, %collect ]
  store atomic i64 0, ptr %lock release, align 8
  ret i32 %result
}}
"""

# Of each processor: the numbers of system calls, what lets a loop wait for memory, and how a thread takes over the caller's
# mode of rounding and of denormal numbers.
_MACHINES = {
    "x86_64": (
        {"FUTEX": 202, "GET_AFFINITY": 204, "SET_AFFINITY": 203, "GET_THREAD": 186},
        "@llvm.x86.sse2.pause()",
        """
declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)

define internal void @get_mode(ptr %place) nounwind {
  call void @llvm.x86.sse.stmxcsr(ptr %place)
  ret void
}

define internal void @set_mode(ptr %place) nounwind {
  call void @llvm.x86.sse.ldmxcsr(ptr %place)
  ret void
}
""",
    ),
    "aarch64": (
        {"FUTEX": 98, "GET_AFFINITY": 123, "SET_AFFINITY": 122, "GET_THREAD": 178},
        "@llvm.aarch64.hint(i32 1)",
        """
declare void @llvm.aarch64.hint(i32)
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)

define internal void @get_mode(ptr %place) nounwind {
  %mode = call i64 @llvm.aarch64.get.fpcr()
  store i64 %mode, ptr %place
  ret void
}

define internal void @set_mode(ptr %place) nounwind {
  %mode = load i64, ptr %place
  call void @llvm.aarch64.set.fpcr(i64 %mode)
  ret void
}
""",
    ),
}


def text(system: str, machine: str, bits: int) -> str:
    """The pool's code for a system and its processor, as LLVM's assembly."""
    if system != "linux" or machine not in _MACHINES or bits != 64:
        return _ALONE
    calls, pause, modes = _MACHINES[machine]
    code = _TEXT.replace("PAUSE", pause)
    for name, number in calls.items():
        code = code.replace(name, str(number))
    return code + modes


def _own_text() -> str:
    return text(sys.platform, platform.machine(), 8 * struct.calcsize("P"))


def divides() -> bool:
    """Whether it uses more than one thread on this system."""
    return _own_text() is not _ALONE


# Kept for ever: the threads are in this code until the process ends, and it is one for all who are linked to it.
_pool: tuple[dict[str, int], Any] | None = None
_loading = Lock()


def _loaded() -> dict[str, int]:
    global _pool
    with _loading:
        if _pool is None:
            _pool = _load()
        return _pool[0]


def _load() -> tuple[dict[str, int], Any]:
    written = _own_text()
    key = cache.key("pool", written)
    found = cache.get(key)
    code = found.code
    if found.header != {}:
        code = engine.compile_text(written, level=0)  # as fast as with level 2, in a quarter of the time
        cache.put(key, {}, code)
    return engine.load_object(code, [PARALLEL, _STATE], {})


def symbols() -> dict[str, int]:
    """The name under which generated code calls the pool, and its address here."""
    return {PARALLEL: _loaded()[PARALLEL]}


def set_size(size: int) -> None:
    """From now on kernels are shared by up to `size` threads, 1 to MOST, the caller's included."""
    ctypes.c_int64.from_address(_loaded()[_STATE]).value = size


def forget_threads() -> None:
    """To be called in a forked child, which has none of its parent's threads: they are made again when they are needed."""
    if divides() and _pool is not None:
        size = ctypes.sizeof(ctypes.c_int64)
        ctypes.memset(_pool[0][_STATE] + size, 0, MOST * _SLOT - size)
