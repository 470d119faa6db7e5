"""Looking at what a function became: all of its stages as files, and a report of its kernels and memory."""

from tracejit.inspect.dump import dump
from tracejit.inspect.report import report

__all__ = ["dump", "report"]
