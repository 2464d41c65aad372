"""The ``headrace`` command; it starts the other parts as commands and speaks to them over HTTP."""
