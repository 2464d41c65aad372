"""What a worker says by its exit status: that its watchdog ended it, and that nothing is wrong with the program."""

WATCHDOG_STATUS = 70
"""Exit status of a process whose computation passed its time limit (``EX_SOFTWARE``)."""
