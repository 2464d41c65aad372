"""Data sets: immutable, content-addressed, labelled examples with their splits."""
