"""A writer for each kind of kernel, and the table that finds the one of an op."""
