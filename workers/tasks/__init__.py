"""Thin Celery tasks, one a file: they know Celery and the process's connections, and call an engine."""
