"""The call path as native code: what it compares, calls and returns, and the memory that it reads."""
