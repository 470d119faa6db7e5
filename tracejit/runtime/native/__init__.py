"""The call path as native code: what it compares, calls and returns, and the memory that it reads.

A traced function's inline cache has entries, each one way to call one trace, which are compared with the call one after the
other; a call that fits none goes to Python, which makes an entry of it the second time that it finds a trace. Rules that keep
it safe:

- From the first comparison to the machine code nothing is called that could run Python code or let go of the interpreter's
  lock. So what was compared still holds, and borrowed references are enough. The one exception, a new result, begins from the
  first entry.
- An entry and what it leads to is kept by Python lists; the dispatcher keeps the entry alive while it calls out. What Python
  changes in the memory it changes by one write.
- A guard check is behind those that lead to it, so that its object is known to be there. What it compares is kept, or, where
  that could keep an object alive to which the trace belongs, forgotten when it goes: else a new object at the old address would
  be taken for it.
- A dict's version spares looking its names up; where it has changed, the names that count are looked up, so other names cost
  little.
- Results are tensors of a pool, used again when nobody refers to the tensor, its array or that one's memory. A scalar result
  costs no allocation.
- A run that is estimated at more than 100 µs lets go of the interpreter's lock. The variables that it updates are held
  meanwhile (tracejit.variable): who wants them goes to Python and waits there. Arrays that it reads are referred to, which
  makes another function that updates them copy first.
"""
