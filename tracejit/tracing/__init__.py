"""From a call of a Python function to a graph: the key of the call, what was captured, the nodes."""
