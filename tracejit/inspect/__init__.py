"""Looking at what a function became: all of its stages as files, a report of its kernels and memory, a profile of their time."""

from tracejit.inspect.dump import dump
from tracejit.inspect.profile import Kernel, Profile, profile
from tracejit.inspect.report import report

__all__ = ["Kernel", "Profile", "dump", "profile", "report"]
