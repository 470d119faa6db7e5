"""What is decided before anything is written: order, buffers, what is in place, blocking."""
