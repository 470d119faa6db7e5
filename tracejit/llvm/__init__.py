"""From a graph to machine code: the only package that writes LLVM IR."""
