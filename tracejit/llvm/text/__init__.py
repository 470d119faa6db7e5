"""LLVM IR as text: types, one function, memory. It knows no op and no kernel."""
