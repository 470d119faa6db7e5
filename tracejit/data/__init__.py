"""The handwritten digits on which the demo trains."""
