"""Numbers on the lanes of registers: arithmetic, half dtypes, elementary functions as polynomials."""
