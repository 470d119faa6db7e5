"""TensorFlow's tj.config, as far as tracejit has it."""

from tracejit.llvm.machine import threads as _threads

__all__ = ["threading"]


def __dir__() -> list[str]:
    return __all__


class _Threading:
    """How many threads are used."""

    def __init__(self) -> None:
        self._inter_op = 0

    def set_intra_op_parallelism_threads(self, num_threads: int) -> None:
        """Let large kernels be shared by `num_threads` threads, the calling one included; 0 lets the system pick.

        At once, also for functions that are compiled already; results do not depend on it. The system picks what
        TRACEJIT_NUM_THREADS says, else the cores on which the process may run, as far as its control group lets it use them.
        Matrix products that NumPy's BLAS computes have that one's threads. TypeError or ValueError for what is no number of
        threads.
        """
        _threads.request(num_threads)

    def get_intra_op_parallelism_threads(self) -> int:
        """What was set, 0 before."""
        return _threads.requested()

    def set_inter_op_parallelism_threads(self, num_threads: int) -> None:
        """Changes nothing but what `get_inter_op_parallelism_threads` gives: the kernels of a function run one after the
        other. TypeError or ValueError for what is no number of threads."""
        self._inter_op = _threads.checked(num_threads, "the number of threads")

    def get_inter_op_parallelism_threads(self) -> int:
        """What was set, 0 before."""
        return self._inter_op


threading = _Threading()
