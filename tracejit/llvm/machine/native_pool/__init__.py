"""The threads that share a large kernel, in the native subset: code of their own, which needs no interpreter.

A kernel of `units` units is called as `i32 function(ptr arguments, i64 first, i64 last)`, once a share of them. Thread i has
always share i, so that what lies in its processor's cache is what it worked on before. Which unit lies in which share depends
on the number of threads; what a unit computes must not.

The threads are made when they are first needed, by the code itself: Python knows nothing of them, and none of them ever runs
Python. `workers` is what they do; `system` declares what that takes from the C library and from the processor, and a module a
processor has the latter.
"""
