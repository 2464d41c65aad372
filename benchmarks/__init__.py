"""Measures the service beside the bare work it does; see README.md."""
