"""Looking at what a function became: its stages as files, its kernels and memory as a report, their time as a profile."""

from tracejit.inspect.dump import dump
from tracejit.inspect.profile import KernelTime, Profile, profile
from tracejit.inspect.report import report

__all__ = ["KernelTime", "Profile", "dump", "profile", "report"]


def __dir__() -> list[str]:
    return __all__
