"""From text to code that runs: LLVM, the object cache, the BLAS, the pool of threads."""
